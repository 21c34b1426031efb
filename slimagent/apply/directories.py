"""Reach what is below a root directory one component at a time, following no link.

Anybody who can write in the tree could replace a directory by a link, and a whole path would then lead the kernel out
of the root. So each directory is opened from the one that holds it, with O_NOFOLLOW (open(2)).
"""

from __future__ import annotations

import errno
import os

from slimagent.errors import RefusedError, SlimagentError, UnavailableError
from slimagent.paths.algebra import to_text

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_OTHER_KIND = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR)

DEPTH = 64  # open descriptors: a tree may be deeper than the number of files that a process may open


class Directories:
    """Descriptors of directories below the directory `root`. Cheap if paths come in inventory order.

    A returned descriptor is valid until the next call. Methods raise OSError as the kernel does: ELOOP or ENOTDIR where
    a directory has become something else. Use as a context manager.
    """

    def __init__(self, root: bytes) -> None:
        self._open: list[tuple[bytes, int]] = [(b"", os.open(root, _FLAGS))]

    def __enter__(self) -> Directories:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._open:
            os.close(each[1])
        self._open.clear()

    @property
    def root(self) -> int:
        """The descriptor of the root itself."""
        return self._open[0][1]

    def directory(self, path: bytes) -> int:
        """The directory at `path`, which is absolute below the root."""
        return self._reach(b"" if path == b"/" else path)

    def holding(self, path: bytes) -> tuple[int, bytes]:
        """The directory that holds `path`, and its name there. The root is `.` in itself."""
        cut = path.rindex(b"/")
        return self._reach(path[:cut]), path[cut + 1 :] or b"."

    def _reach(self, path: bytes) -> int:
        known, descriptor = self._open[-1]
        if known == path:
            return descriptor
        while not path.startswith(self._open[-1][0] + b"/"):
            if self._open[-1][0] == path:
                return self._open[-1][1]
            os.close(self._open.pop()[1])
        known, descriptor = self._open[-1]
        for component in path[len(known) + 1 :].split(b"/"):
            descriptor = os.open(component, _FLAGS | os.O_NOFOLLOW, dir_fd=descriptor)
            known += b"/" + component
            self._open.append((known, descriptor))
            if len(self._open) > DEPTH:
                os.close(self._open.pop(-2)[1])
        return descriptor


def changed(path: bytes, how: str) -> RefusedError:
    """The error for a path that is no longer what the inventory says."""
    return RefusedError(f"{to_text(path)} {how} while it was being exported", "stop what writes to it and try again")


def unreadable(path: bytes, error: OSError) -> SlimagentError:
    """The error for a path of the inventory that could not be read."""
    if isinstance(error, FileNotFoundError):
        return changed(path, "vanished")
    if error.errno in _OTHER_KIND:
        return changed(path, "changed its kind")
    return refused("read", path, error)


def refused(what: str, path: bytes, error: OSError) -> UnavailableError:
    """The error for what the operating system did not let us do with a path."""
    is_permission = error.errno in (errno.EACCES, errno.EPERM)
    hint = "run as root" if is_permission else "remove the cause and run the same command again"
    return UnavailableError(f"cannot {what} {to_text(path)}: {error.strerror}", hint)
