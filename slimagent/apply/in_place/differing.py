"""Make an image differ in chosen paths: remove them, or give them other bytes. For a container that is thrown away."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Collection, Iterable

from slimagent.apply.directories import Directories, refused
from slimagent.linux.descriptors import closing
from slimagent.model.search import Difference, Form
from slimagent.paths.algebra import parent, sort_key, within_any

_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_STAYS = (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.ELOOP)  # it holds something, is a mount point or a link
_WRITING_REMOVES = "security.capability"  # a kernel drops it from a file that is written to


def make_differ(root: bytes, differences: Iterable[Difference], blobs: str, beyond: Collection[bytes]) -> int:
    """Give paths below `root` what the slim image has there, and return how many now have it.

    `blobs` is the directory with the bytes. What is at or below a path of `beyond` stays as it is: another file system
    is mounted there. A directory goes only if it is empty then. All that stays keeps its owner, mode, attributes and
    times. Follows no link. Raises UnavailableError.
    """
    wanted = sorted(
        (each for each in differences if not within_any(each.path, beyond)), key=lambda each: sort_key(each.path)
    )
    with _Making(root, blobs) as making:
        done = sum(making.give(each) for each in wanted if each.form is not Form.NOTHING)
        # From the last path up: what a directory holds goes before it.
        return done + sum(making.remove(each.path) for each in reversed(wanted) if each.form is Form.NOTHING)


class _Making:
    """Changes paths, and dates the directories that hold them back at the end."""

    def __init__(self, root: bytes, blobs: str) -> None:
        self._directories = Directories(root)
        self._blobs = blobs
        self._times: dict[bytes, tuple[int, int]] = {}

    def __enter__(self) -> _Making:
        return self

    def __exit__(self, *_: object) -> None:
        with self._directories:
            for path in sorted(self._times, key=sort_key):
                with contextlib.suppress(OSError):  # it went itself
                    os.utime(self._directories.directory(path), ns=self._times[path])

    def _holding(self, path: bytes) -> tuple[int, bytes]:
        descriptor, name = self._directories.holding(path)
        holder = parent(path)
        if holder not in self._times:
            status = os.fstat(descriptor)
            self._times[holder] = status.st_atime_ns, status.st_mtime_ns
        return descriptor, name

    def remove(self, path: bytes) -> bool:
        """Remove a path. Whether it is gone now."""
        try:
            directory, name = self._holding(path)
            if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                os.rmdir(name, dir_fd=directory)
            else:
                os.unlink(name, dir_fd=directory)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError as error:
            if error.errno in _STAYS:
                return False
            raise refused("remove", path, error) from None
        return True

    def give(self, each: Difference) -> bool:
        """Give a path what the slim image has there. Whether it has it now."""
        try:
            directory, name = self._holding(each.path)
            if each.form is Form.BYTES:
                return self._fill(directory, name, each.blob)
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                    return each.form is Form.DIRECTORY
                os.unlink(name, dir_fd=directory)
            self._make(directory, name, each)
        except (FileNotFoundError, NotADirectoryError):  # its directory is not in this image
            return False
        except OSError as error:
            if error.errno in _STAYS:
                return False
            raise refused("change", each.path, error) from None
        return True

    def _fill(self, directory: int, name: bytes, blob: str) -> bool:
        """Give a regular file other bytes, and nothing else."""
        if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            return False
        with closing(os.open(name, _WRITE, dir_fd=directory)) as descriptor:
            status, rights = os.fstat(descriptor), _rights(descriptor)
            os.ftruncate(descriptor, 0)
            self._copy(blob, descriptor)
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
            if rights is not None:
                os.setxattr(descriptor, _WRITING_REMOVES, rights)
            os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
        return True

    def _make(self, directory: int, name: bytes, each: Difference) -> None:
        if each.form is Form.LINK:
            os.symlink(each.target, name, dir_fd=directory)
        elif each.form is Form.DIRECTORY:
            os.mkdir(name, dir_fd=directory)
        else:
            with closing(os.open(name, _MAKE, 0o600, dir_fd=directory)) as descriptor:
                self._copy(each.blob, descriptor)
        os.chown(name, each.uid, each.gid, dir_fd=directory, follow_symlinks=False)
        if each.form is not Form.LINK:
            os.chmod(name, each.mode, dir_fd=directory)
        os.utime(name, ns=(each.mtime_ns, each.mtime_ns), dir_fd=directory, follow_symlinks=False)

    def _copy(self, blob: str, descriptor: int) -> None:
        with open(os.path.join(self._blobs, blob), "rb") as source, os.fdopen(os.dup(descriptor), "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)


def _rights(descriptor: int) -> bytes | None:
    """The file capabilities of an open file, None if it has none."""
    try:
        return os.getxattr(descriptor, _WRITING_REMOVES)
    except OSError:
        return None
