"""What a process and all that descends from it have in common, wherever they went: a mark that is inherited.

A daemon leaves its parents and its session; what it inherits stays. So each command is started with a hard limit on
real-time scheduling (RLIMIT_RTTIME of getrlimit(2), in microseconds) a little below ours. Where ours is infinite it is
some 146,000 years and more: no program notices, and everybody may read it in /proc/PID/limits.

Marks are ranges within ranges: the low bits of a mark that are zero, counted down from the highest limit, say how far
the range goes in which those lie that were made within it. The first is drawn by lot, to tell apart the families of
agents that run beside each other; an agent within a family, and each of its commands, has one within that family's.
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
LOWEST = _HIGHEST - _LOTS * _SPANS[0]  # what is below is no mark: a program has a limit of its own choice
_LIMIT = re.compile(rb"^Max realtime timeout +\S+ +(\S+)", re.MULTILINE)
_numbers = itertools.count(secrets.randbelow(_PARTS))


def drawn() -> int:
    """A mark that nobody has yet, within our own if we have one."""
    ours = resource.getrlimit(resource.RLIMIT_RTTIME)[1]
    return _HIGHEST - _SPANS[0] * secrets.randbelow(_LOTS) if ours == resource.RLIM_INFINITY else within(ours)


def within(mark: int) -> int:
    """A mark within another: another one for each of 255 calls. Within the smallest range there is only that one."""
    if mark <= LOWEST:
        return max(mark - 1, 0)
    return mark - _span(mark) // _PARTS * (1 + next(_numbers) % (_PARTS - 1))


def holds(mark: int, limit: int) -> bool:
    """Whether a limit is a mark, or lies within it."""
    return mark - _span(mark) < limit <= mark and limit >= 0


def limit(process: int) -> int | None:
    """The limit of a process, alive or a zombie: a mark or not, RLIM_INFINITY for none. None if the process is gone."""
    try:
        return resource.prlimit(process, resource.RLIMIT_RTTIME)[1]
    except ProcessLookupError:
        return None
    except PermissionError:  # another user's: only the file may be read
        try:
            with open(f"/proc/{process}/limits", "rb") as file:
                found = _LIMIT.search(file.read())
        except (FileNotFoundError, ProcessLookupError):
            return None
        return resource.RLIM_INFINITY if found is None or found[1] == b"unlimited" else int(found[1])


def give(mark: int) -> None:
    """Mark this process, and with it all that it will start."""
    resource.setrlimit(resource.RLIMIT_RTTIME, (mark, mark))


def _span(mark: int) -> int:
    if mark <= LOWEST:
        return mark + 1
    return next((span for span in _SPANS if (_HIGHEST - mark) % span == 0), 1)
