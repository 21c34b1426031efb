"""Read files safely from a directory that a container wrote to: it follows no link, and works at any depth."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from slimagent.errors import RefusedError

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
LARGEST = 1 << 30  # bytes: more than the documents of any image need
_CHUNK = 1 << 20


def open_inside(root: str | bytes, name: str, limit: int = LARGEST) -> int:
    """Open a regular file below a directory for reading, without following a link. Returns its descriptor.

    Raises RefusedError if it is not a regular file or is larger than `limit` bytes, and OSError (FileNotFoundError if
    it does not exist).
    """
    *above, last = name.split("/")
    with contextlib.ExitStack() as rest:
        at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        rest.callback(os.close, at)
        for each in above:
            _require(stat.S_ISDIR(os.stat(each, dir_fd=at, follow_symlinks=False).st_mode), name, "below a directory")
            at = os.open(each, DIRECTORY, dir_fd=at)
            rest.callback(os.close, at)
        _require(stat.S_ISREG(os.stat(last, dir_fd=at, follow_symlinks=False).st_mode), name, "a regular file")
        descriptor = os.open(last, _FILE, dir_fd=at)
    try:
        status = os.fstat(descriptor)
        _require(stat.S_ISREG(status.st_mode), name, "a regular file")  # it may have been replaced
        _require(status.st_size <= limit, name, f"a file of at most {limit} bytes")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_inside(root: str | bytes, name: str, limit: int = LARGEST) -> bytes:
    """Read a regular file below a directory. Raises the errors of `open_inside`."""
    return b"".join(pieces(open_inside(root, name, limit), name, limit))


def tail_inside(root: str | bytes, name: str, size: int) -> bytes:
    """Read the last bytes of a regular file below a directory. Raises the errors of `open_inside`."""
    descriptor = open_inside(root, name)
    try:
        return os.pread(descriptor, size, max(0, os.fstat(descriptor).st_size - size))
    finally:
        os.close(descriptor)


def pieces(descriptor: int, name: str, limit: int) -> Iterator[bytes]:
    """Read an open file in pieces, and close it at the end. Raises RefusedError if it has more than `limit` bytes."""
    done = 0
    try:
        while piece := os.read(descriptor, _CHUNK):
            done += len(piece)
            _require(done <= limit, name, f"a file of at most {limit} bytes")  # it may grow while we read it
            yield piece
    finally:
        os.close(descriptor)


def _require(is_so: bool, name: str, what: str) -> None:
    if not is_so:
        raise RefusedError(f"{name} is not {what}", "slimagent never follows a link, and reads no pipe or device")
