"""The door to disk: read whole, write whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator

from slimagent.errors import DocumentError, SlimagentError, UnavailableError
from slimagent.paths import to_text


def read(path: str | bytes) -> bytes:
    """The bytes of a document. Raises DocumentError if there is none or it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise DocumentError(
            f"cannot read {_shown(path)}: {error.strerror}", "check the path and its permissions"
        ) from None


def digest(data: bytes) -> str:
    """The SHA-256 of a document's bytes, in hexadecimal: how one document names another."""
    return hashlib.sha256(data).hexdigest()


def write(path: str | bytes, data: bytes) -> None:
    """Write a document whole: into a temporary file beside it, then renamed over it."""
    with replacing(path) as descriptor:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]


@contextlib.contextmanager
def replacing(path: str | bytes, mode: int = 0o644) -> Iterator[int]:
    """A descriptor whose file takes the place of `path` when the block ends well, and vanishes when it does not.

    Raises UnavailableError when the disk is full or the folder cannot be written.
    """
    target = os.fsencode(path)
    folder, base = os.path.split(target)
    temporary = os.path.join(folder, b".%s.%d.partial" % (base[:200], os.getpid()))
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    except OSError as error:
        raise explained(error, target) from None
    try:
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        os.rename(temporary, target)
    except OSError as error:
        _discard(temporary)
        raise explained(error, target) from None
    except BaseException:
        _discard(temporary)
        raise


def _discard(path: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def explained(error: OSError, path: str | bytes) -> SlimagentError:
    """An error of the disk as one of ours, with the hint that fits it."""
    hints = {
        errno.ENOSPC: "free some space or choose another target",
        errno.EDQUOT: "raise the quota or choose another target",
        errno.EACCES: "run as a user who may write there, or choose another target",
        errno.EPERM: "run as root, or choose another target",
        errno.EROFS: "choose a target on a writable file system",
        errno.ENOENT: "create the folder first",
        errno.ENOTDIR: "a folder is expected there",
    }
    where = error.filename if error.filename is not None else path
    hint = hints.get(error.errno or 0, "see the error of the operating system above")
    return UnavailableError(f"cannot write {_shown(where)}: {error.strerror}", hint)


def make_folder(path: str | bytes) -> None:
    """Make a folder and its parents. Raises UnavailableError where that fails."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise explained(error, path) from None


def _shown(path: object) -> str:
    return to_text(os.fsencode(path)) if isinstance(path, (str, bytes)) else str(path)
