"""A temporary directory for a program that a check starts, and safe reads of what programs leave in one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from slimagent.linux.removal import remove_tree
from slimagent.model.user import User


@contextlib.contextmanager
def temporary_directory(user: User | None) -> Iterator[str]:
    """A fresh directory that `user` owns (None: we do). It is removed with everything in it when the block ends."""
    directory = tempfile.mkdtemp(prefix="slimagent-")
    try:
        if user is not None:
            os.chown(directory, user.uid, user.gid)
        yield directory
    finally:
        _remove(directory)


def _remove(directory: str) -> None:
    with contextlib.suppress(OSError):  # a mount in it, a disk that fails: what can go has gone
        remove_tree(directory)
