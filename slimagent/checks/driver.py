"""How a check listens to a program of ours that runs in an interpreter of the image and writes a JSON object a line."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable
from typing import IO, Any

from slimagent.checks.output import last_lines

_LONGEST_LINE = 1 << 20  # bytes of a line that has no end yet
_LOOK_EVERY = 1.0  # seconds


def listen(
    stream: IO[bytes] | None,
    deadline: float,
    take: Callable[[dict[str, Any]], bool],
    look: Callable[[], None] = lambda: None,
) -> bool:
    """Give `take` each object until it says True, that this was the last; False if `time.monotonic()` came first.

    The end of the output is an end too. `look` is called about every second. The stream is closed at the end.
    """
    if stream is None:
        return True
    rest, next_look = b"", time.monotonic() + _LOOK_EVERY
    with stream:
        poll = select.poll()
        poll.register(stream, select.POLLIN)
        while True:
            left = deadline - time.monotonic()
            ready = poll.poll(max(0.0, min(left, _LOOK_EVERY)) * 1000)
            if time.monotonic() >= next_look:
                look()
                next_look = time.monotonic() + _LOOK_EVERY
            if ready:
                data = os.read(stream.fileno(), 65536)
                if not data:
                    return True
                *lines, rest = (rest + data).split(b"\n")
                rest = rest[-_LONGEST_LINE:]
                if any(take(value) for value in map(parsed, lines) if value is not None):
                    return True
            if left <= 0:
                return False


def parsed(line: bytes) -> dict[str, Any] | None:
    """The object of a line. None if it is not the driver's: what an image runs at an interpreter's start can print."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def shown(value: object) -> str:
    """A value that a driver sent, as one printable line; empty if it is no text."""
    return last_lines(value.encode("utf-8", "replace"), 1).strip() if isinstance(value, str) else ""
