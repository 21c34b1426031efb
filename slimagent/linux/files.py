"""Read and write documents: whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator

from slimagent.errors import DocumentError, RefusedError, SlimagentError, UnavailableError
from slimagent.linux.descriptors import closing, write_all
from slimagent.linux.temporary import new_file
from slimagent.paths.algebra import to_text

MOST = 1 << 30  # bytes of a document
_CHUNK = 1 << 20  # bytes
# By these names a user passes what another program writes: `< FILE`, `<(COMMAND)` of a shell.
_STREAMS = (b"/dev/stdin", b"/dev/fd/", b"/proc/self/fd/")
_NO_WAIT = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def read(path: str | bytes) -> bytes:
    """Read a document of at most 1 GiB. Raises DocumentError if it is missing or cannot be read.

    It has to be a regular file: nobody may ever write to a FIFO, and a device may have no end. But what /dev/stdin and
    /dev/fd/N lead to is read to its end, whatever it is.
    """
    is_stream = os.fsencode(path).startswith(_STREAMS)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC if is_stream else _NO_WAIT)
        with closing(descriptor):
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not is_stream and not stat.S_ISREG(status.st_mode):
                raise DocumentError(
                    f"cannot read {_shown(path)}: not a regular file",
                    "name a file; to pass what another program writes: /dev/stdin",
                )
            data = _whole(descriptor, status.st_size)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        problem = error.strerror if isinstance(error, OSError) else error
        raise DocumentError(f"cannot read {_shown(path)}: {problem}", "check the path and its permissions") from None
    if data is None:
        raise DocumentError(
            f"cannot read {_shown(path)}: it is larger than 1 GiB", "name a file that slimagent wrote, or make it again"
        )
    return data


def _whole(descriptor: int, size: int) -> bytes | None:
    """What can be read of a descriptor, `size` bytes if it is known; None if it is more than MOST."""
    parts: list[bytes] = []
    total, count = 0, max(size + 1, _CHUNK)
    while size <= MOST and total <= MOST and (part := os.read(descriptor, count)):
        parts.append(part)
        total, count = total + len(part), _CHUNK
    if max(size, total) > MOST:
        return None
    return parts[0] if len(parts) == 1 else b"".join(parts)  # a file is one part: not copied


def digest(data: bytes) -> str:
    """The SHA-256 of a document in hexadecimal. Documents refer to each other by it."""
    return hashlib.sha256(data).hexdigest()


def write(path: str | bytes, data: bytes) -> None:
    """Write a document to a temporary file beside `path` and rename that over it.

    A device or a FIFO, e.g. /dev/stdout, is written to directly. Raises as `replacing` does.
    """
    with _passing(path) if _is_special(path) else replacing(path) as descriptor:
        write_all(descriptor, data)


def hand_over(made: int | bytes, directory: bytes) -> None:
    """As root, give a new file to the owner of its directory if allowed: they could not remove it otherwise.

    A container's root writes to a mounted directory this way. `made` is a descriptor or a path.
    """
    if os.geteuid() == 0:
        status = os.stat(directory or b".")
        if status.st_uid != 0:
            with contextlib.suppress(OSError):
                os.chown(made, status.st_uid, status.st_gid)


def _is_special(path: str | bytes) -> bool:
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except OSError:
        return False
    return kind not in (stat.S_IFREG, stat.S_IFDIR)


@contextlib.contextmanager
def _passing(path: str | bytes) -> Iterator[int]:
    try:
        # A FIFO without a reader is an error (ENXIO of fifo(7)); do not wait for one.
        with closing(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)) as descriptor:
            os.set_blocking(descriptor, True)
            yield descriptor
    except OSError as error:
        raise explained(error, path) from None


@contextlib.contextmanager
def replacing(path: str | bytes, *, is_new: bool = False) -> Iterator[int]:
    """Yield a descriptor of a file that replaces `path` when the block succeeds, and is removed when it fails.

    Raises UnavailableError if the disk is full, the directory is not writable, or `path` is a device or a FIFO. With
    `is_new` nothing is replaced: raises RefusedError if by the end of the block something has that name.
    """
    target = os.fsencode(path)
    if _is_special(target):
        raise UnavailableError(f"cannot write {to_text(target)}: it is not a regular file", "choose another target")
    directory = os.path.dirname(target)
    try:
        descriptor, temporary = new_file(directory, 0o644)
        lock = os.dup(descriptor)  # hold the lock until the rename: closing may fail before
    except OSError as error:
        raise explained(error, target) from None
    try:
        with closing(descriptor):
            yield descriptor
            hand_over(descriptor, directory)
        if is_new:
            _reserve(temporary, target)
        os.rename(temporary, target)
        if is_new:
            _discard(temporary)  # of two names of one file, rename(2) leaves both
    except OSError as error:
        _discard(temporary)
        raise explained(error, target) from None
    except BaseException:
        _discard(temporary)
        raise
    finally:
        os.close(lock)


def _reserve(made: bytes, target: bytes) -> None:
    """Take the name `target` for the file `made`. Raises RefusedError if something has it."""
    try:
        try:
            os.link(made, target)
        except FileExistsError:
            raise
        except OSError:  # the file system has no hard links: an empty file holds the name until the rename
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))
    except FileExistsError:
        raise RefusedError(
            f"{to_text(target)} exists now: something else made it meanwhile, and it was not replaced",
            "name another file, or move that one away",
        ) from None


def _discard(path: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def explained(error: OSError, path: str | bytes) -> SlimagentError:
    """Turn a disk error into one of ours, with a hint."""
    hints = {
        errno.ENOSPC: "free some space or choose another target",
        errno.EDQUOT: "raise the quota or choose another target",
        errno.EFBIG: "raise the limit on a file's size (ulimit -f), or choose a target on another file system",
        errno.EACCES: "run as a user who may write there, or choose another target",
        errno.EPERM: "run as root, or choose another target",
        errno.EROFS: "choose a target on a writable file system",
        errno.ENOENT: "create the directory first",
        errno.ENOTDIR: "a directory is expected there",
        errno.ENXIO: "start a program that reads from it, or name a file",
        errno.EISDIR: "a directory is there: name a file",
    }
    where = error.filename if error.filename is not None else path
    hint = hints.get(error.errno or 0, "choose another target")
    return UnavailableError(f"cannot write {_shown(where)}: {error.strerror}", hint)


@contextlib.contextmanager
def explaining(path: str | bytes) -> Iterator[None]:
    """Raise what `explained` makes of an OSError of the block."""
    try:
        yield
    except OSError as error:
        raise explained(error, path) from None


def make_directory(path: str | bytes) -> None:
    """Make a directory and its parents. Raises UnavailableError."""
    try:
        with explaining(path):
            os.makedirs(path, exist_ok=True)
    except UnavailableError:
        if os.path.lexists(path) and not os.path.isdir(path):
            raise UnavailableError(
                f"cannot make the directory {_shown(path)}: a file is there", "name a directory, or move the file away"
            ) from None
        raise


def _shown(path: object) -> str:
    return to_text(os.fsencode(path)) if isinstance(path, (str, bytes)) else str(path)
