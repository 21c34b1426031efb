"""Remove the agent's own folder from an image that it has slimmed: the last thing that it does there."""

from __future__ import annotations

import errno
import os
import re
import shutil

from slimagent.errors import RefusedError, UsageError
from slimagent.files import explained
from slimagent.paths import parent, to_text, within


def own_folder() -> bytes:
    """The folder of the agent that entrypoint.sh, or a bundle, started. Raises UsageError if none of them did."""
    home = os.environ.get("SLIMAGENT_HOME")
    if not home:
        raise UsageError("this slimagent is installed and has no folder of its own", "start an agent's entrypoint.sh")
    return os.path.realpath(os.fsencode(home))


def require_removable(folder: bytes) -> None:
    """Say at once if a folder cannot be removed.

    Raises RefusedError for one that is no part of the image, or holds what is not, UnavailableError for one that we
    may not remove.
    """
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
