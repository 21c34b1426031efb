"""A folder of its own for a program that a check starts."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator

from slimagent.model import User


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
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):  # an ordinary user cannot empty a folder that was made read-only
        for here, _, _ in os.walk(folder):
            with contextlib.suppress(OSError):
                os.chmod(here, stat.S_IRWXU)
        shutil.rmtree(folder, ignore_errors=True)
