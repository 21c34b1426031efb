"""Remove the agent's own folder from an image that it has slimmed: the last thing that it does there."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Collection

from slimagent.errors import RefusedError
from slimagent.files import explained
from slimagent.paths import parent, to_text, within

# All that an agent has in its directory: of a bundle, or of `make agent` with a Python of its own (see entrypoint.sh).
_PARTS = {b"bin", b"bundle.json", b"entrypoint.sh", b"lib", b"python", b"start.py", b".venv", b"venv"}


def require_removable(folder: bytes, files: Collection[bytes]) -> None:
    """Say at once if the agent's directory cannot be removed. `files` are absolute paths of what we read and write.

    Raises RefusedError for one that is no part of the image, that holds what is not, or anything but the agent and
    these files, UnavailableError for one that we may not remove.
    """
    others = {os.path.join(folder, name) for name in os.listdir(folder) if name not in _PARTS} - set(files)
    if others:
        raise RefusedError(
            f"the agent's directory holds what is not the agent's: {to_text(min(others))}",
            "move it elsewhere, or leave out --remove-agent",
        )
    with open("/proc/self/mountinfo", "rb") as file:  # proc(5): the fifth field, with blanks as octal escapes
        points = [_unescaped(line.split(b" ")[4]) for line in file]
    if any(within(point, folder) for point in points):
        raise RefusedError(
            f"the agent's folder {to_text(folder)} is mounted, or something in it is: it is no part of the image",
            "leave out --remove-agent: there is nothing to remove",
        )
    if not os.access(parent(folder), os.W_OK | os.X_OK):
        raise explained(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), folder)


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8) & 0xFF]), field)


def remove_folder(folder: bytes) -> None:
    """Remove a folder with all that is in it; the folder that holds it keeps its time. Raises UnavailableError.

    The programs that run from it go on: what a process has open or mapped stays until it ends (unlink(2)).
    """
    holder = parent(folder)
    status = os.stat(holder)
    try:
        shutil.rmtree(folder)
        os.utime(holder, ns=(status.st_atime_ns, status.st_mtime_ns))
    except OSError as error:
        raise explained(error, folder) from None
