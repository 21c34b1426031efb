"""Ranges of entries: everything below a directory is one, because an inventory is sorted by components."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Owner = TypeVar("Owner")


def innermost(rows: Iterable[tuple[int, int, Owner]]) -> Iterator[tuple[int, int, Owner]]:
    """Cut nested ranges (first entry, entry after the last, owner) so that each entry is only in the innermost one.

    >>> list(innermost([(0, 9, "all"), (2, 5, "part"), (3, 4, "bit")]))
    [(0, 2, 'all'), (2, 3, 'part'), (3, 4, 'bit'), (4, 5, 'part'), (5, 9, 'all')]
    """
    inside: list[tuple[int, Owner]] = []  # the end and owner of each range around `here`
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
