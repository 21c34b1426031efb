"""Marks: a process and all its descendants share an inherited mark.

A daemon leaves its parents and its session, but keeps what it inherited. So we start each command with a hard limit on
real-time scheduling (RLIMIT_RTTIME of getrlimit(2), in microseconds) a little below ours. If ours is infinite, that is
146,000 years or more: no program notices it, and everybody may read it in /proc/PID/limits.

Marks are nested ranges. Count a mark down from the highest limit: its low zero bits give the size of the range in
which its inner marks lie. The first mark is random, so that agents that run side by side differ. An agent within a
family, and each of its commands, has a mark within that family's.
"""

from __future__ import annotations

import itertools
import re
import resource
import secrets

_HIGHEST = (1 << 63) - 1  # nearly infinite
_SPANS = (1 << 32, 1 << 24, 1 << 16, 1 << 8)  # microseconds: of the first mark, of one within it, and so on
_PARTS = 1 << 8
_LOTS = 1 << 30
LOWEST = _HIGHEST - _LOTS * _SPANS[0]  # a limit below is not a mark: a program chose it
_LIMIT = re.compile(rb"^Max realtime timeout +\S+ +(\S+)", re.MULTILINE)
_numbers = itertools.count(secrets.randbelow(_PARTS))


def drawn() -> int:
    """Draw a new mark, within our own if we have one."""
    ours = resource.getrlimit(resource.RLIMIT_RTTIME)[1]
    return _HIGHEST - _SPANS[0] * secrets.randbelow(_LOTS) if ours == resource.RLIM_INFINITY else within(ours)


def within(mark: int) -> int:
    """Make a mark within another; 255 calls give different ones. The smallest range holds only itself."""
    if mark <= LOWEST:
        return max(mark - 1, 0)
    return mark - _span(mark) // _PARTS * (1 + next(_numbers) % (_PARTS - 1))


def holds(mark: int, limit: int) -> bool:
    """Whether a limit is this mark or lies within it."""
    return mark - _span(mark) < limit <= mark and limit >= 0


def limit(process: int) -> int | None:
    """The limit of a process, alive or a zombie: RLIM_INFINITY if it has none, None if it is gone."""
    try:
        return resource.prlimit(process, resource.RLIMIT_RTTIME)[1]
    except ProcessLookupError:
        return None
    except PermissionError:  # another user's process: only the file is readable
        try:
            with open(f"/proc/{process}/limits", "rb") as file:
                found = _LIMIT.search(file.read())
        except (FileNotFoundError, ProcessLookupError):
            return None
        return resource.RLIM_INFINITY if found is None or found[1] == b"unlimited" else int(found[1])


def give(mark: int) -> None:
    """Mark this process and all that it will start."""
    resource.setrlimit(resource.RLIMIT_RTTIME, (mark, mark))


def _span(mark: int) -> int:
    if mark <= LOWEST:
        return mark + 1
    return next((span for span in _SPANS if (_HIGHEST - mark) % span == 0), 1)
