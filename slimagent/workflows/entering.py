"""Let other processes of a container be watched, too: those that `docker exec` starts.

They do not descend from the watched process. So each takes the filter by itself, and sends its listener through a Unix
socket that only root can reach. Then it becomes the command that `docker exec` named.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable

from slimagent.errors import UnavailableError
from slimagent.linux.command import Command
from slimagent.trace.first import turn_into
from slimagent.trace.seccomp.backend import take_filter

_PATIENCE = 10.0  # seconds: a command may come in before the watcher is ready
_PAUSE = 0.02  # seconds


def admit(path: str, adopt: Callable[[socket.socket], None]) -> None:
    """Pass on everybody who comes in at a socket, from now on. An earlier socket at `path` is replaced."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    door = socket.socket(socket.AF_UNIX)
    door.bind(path)
    os.chmod(path, 0o600)
    door.listen(128)

    def attend() -> None:
        while True:
            coming, _ = door.accept()
            with contextlib.suppress(RuntimeError):  # no thread can be started: it is refused when we close
                adopt(coming)

    threading.Thread(target=attend, name="door", daemon=True).start()


def enter(path: str, command: Command) -> None:
    """Become a command that is watched by the process behind the socket at `path`. Never returns.

    Raises UnavailableError if nobody watches.
    """
    theirs, until = socket.socket(socket.AF_UNIX), time.monotonic() + _PATIENCE
    while True:
        try:
            theirs.connect(path)
            break
        except OSError as error:
            if time.monotonic() >= until:
                raise UnavailableError(
                    f"nobody watches this container: {error.strerror}", "see what its log says: `docker logs`"
                ) from None
        time.sleep(_PAUSE)
    turn_into(command, lambda: take_filter(theirs))
