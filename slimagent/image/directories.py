"""Directories that a container wrote into: nothing in them is trusted, no link is followed, no depth is too much."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from slimagent.errors import RefusedError

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
LARGEST = 1 << 30  # bytes: more than the documents of any image have
_CHUNK = 1 << 20


def open_inside(root: str | bytes, name: str, limit: int = LARGEST) -> int:
    """A descriptor of a regular file below a directory, opened for reading without following a link on the way.

    Raises RefusedError for what is not a regular file, or is larger than `limit` bytes, and OSError, FileNotFoundError
    among it.
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
        _require(stat.S_ISREG(status.st_mode), name, "a regular file")  # it may be another one by now
        _require(status.st_size <= limit, name, f"a file of at most {limit} bytes")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_inside(root: str | bytes, name: str, limit: int = LARGEST) -> bytes:
    """The bytes of a regular file below a directory. Raises as `open_inside` does."""
    return b"".join(pieces(open_inside(root, name, limit), name, limit))


def tail_inside(root: str | bytes, name: str, size: int) -> bytes:
    """The last bytes of a regular file below a directory. Raises as `open_inside` does."""
    descriptor = open_inside(root, name)
    try:
        return os.pread(descriptor, size, max(0, os.fstat(descriptor).st_size - size))
    finally:
        os.close(descriptor)


def pieces(descriptor: int, name: str, limit: int) -> Iterator[bytes]:
    """The bytes of an open file, which is closed at the end. Raises RefusedError if there are more than `limit`."""
    done = 0
    try:
        while piece := os.read(descriptor, _CHUNK):
            done += len(piece)
            _require(done <= limit, name, f"a file of at most {limit} bytes")  # it grows while it is read
            yield piece
    finally:
        os.close(descriptor)


def _require(is_so: bool, name: str, what: str) -> None:
    if not is_so:
        raise RefusedError(f"{name} is not {what}", "a link, a pipe or a device is never followed or read")
