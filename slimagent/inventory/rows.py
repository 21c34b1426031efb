"""Rows of entries: everything below a directory is one, because an inventory is sorted by components."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Owner = TypeVar("Owner")


def innermost(rows: Iterable[tuple[int, int, Owner]]) -> Iterator[tuple[int, int, Owner]]:
    """Cut rows (first entry, entry after the last, owner), some inside others, so that each entry is in its innermost.

    >>> list(innermost([(0, 9, "all"), (2, 5, "part"), (3, 4, "bit")]))
    [(0, 2, 'all'), (2, 3, 'part'), (3, 4, 'bit'), (4, 5, 'part'), (5, 9, 'all')]
    """
    inside: list[tuple[int, Owner]] = []  # where each row that we are in ends, and whose it is
    here = 0
    ordered = sorted(rows, key=lambda row: (row[0], -row[1]))
    for start, stop, owner in (*ordered, *((sys.maxsize, sys.maxsize, last[2]) for last in ordered[-1:])):
        while inside and here < start:
            end, whose = inside[-1]
            upto = min(end, start)
            if here < upto:
                yield here, upto, whose
            here = max(here, upto)
            if here >= end:
                inside.pop()
        here = start
        inside.append((stop, owner))
