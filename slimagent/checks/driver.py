"""Read the answers of our drivers: programs that run in an interpreter of the image and write JSON, line by line."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import IO, Any

from slimagent.checks.answers import mapping, parsed
from slimagent.checks.output import last_lines

_LONGEST_LINE = 1 << 20  # bytes of an unfinished line
_LOOK_EVERY = 1.0  # seconds


def listen(
    stream: IO[bytes] | None,
    deadline: float,
    take: Callable[[dict[str, Any]], bool],
    look: Callable[[], None] = lambda: None,
) -> bool:
    """Pass each object to `take` until it returns True, or the output ends. False if the deadline came first.

    A line without an object counts as an empty one: what the image runs when an interpreter starts can print, too.
    `look` is called about every second. The stream is closed at the end.
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
                if any(take(mapping(parsed(line))) for line in lines):
                    return True
            if left <= 0:
                return False


def shown(value: object) -> str:
    """A value that a driver sent, as one printable line; empty if it is not text."""
    return last_lines(value.encode("utf-8", "replace"), 1).strip() if isinstance(value, str) else ""
