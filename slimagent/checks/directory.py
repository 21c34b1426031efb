"""A temporary directory for a program that a check starts, and safe reads of what programs leave in one."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator

from slimagent.linux.removal import remove_tree
from slimagent.model.user import User


@contextlib.contextmanager
def temporary_directory(user: User | None) -> Iterator[str]:
    """A fresh directory that `user` owns (None: we do). It is removed with everything in it when the block ends."""
    directory = tempfile.mkdtemp(prefix="slimagent-")
    try:
        give(directory, user)
        yield directory
    finally:
        with contextlib.suppress(OSError):  # e.g. a mount in it: the rest is removed
            remove_tree(directory)


def give(path: str, user: User | None) -> None:
    """Make a file or directory the user's own (None: it stays ours). Raises OSError."""
    if user is not None:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)


def start_of(path: str, most: int) -> str:
    """The first `most` bytes of a regular file as text; empty if there is none. Follows no link, never waits."""
    return _read(path, most).decode("utf-8", "replace")


def end_of(path: str, most: int, owner: int) -> bytes:
    """The last `most` bytes of a regular file of that owner; empty if there is none. Follows no link, never waits."""
    return _read(path, most, owner)


def _read(path: str, most: int, owner: int | None = None) -> bytes:
    """The first bytes of a regular file, or, of an owner's, the last ones."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError):
        return b""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or owner not in (None, status.st_uid):
            return b""
        return os.pread(descriptor, most, 0 if owner is None else max(0, status.st_size - most))
    except OSError:
        return b""
    finally:
        os.close(descriptor)
