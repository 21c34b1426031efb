"""A folder of its own for a program that a check starts."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from slimagent.linux.removal import remove_tree
from slimagent.model.user import User


@contextlib.contextmanager
def temporary_folder(user: User | None) -> Iterator[str]:
    """A fresh folder of `user` (None: of us) below tempfile.gettempdir(), gone with all in it when the block ends."""
    folder = tempfile.mkdtemp(prefix="slimagent-")
    try:
        if user is not None:
            os.chown(folder, user.uid, user.gid)
        yield folder
    finally:
        _remove(folder)


def _remove(folder: str) -> None:
    with contextlib.suppress(OSError):  # a mount in it, a disk that fails: what can go has gone
        remove_tree(folder)
