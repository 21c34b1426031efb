"""Tables for people: printable lines with aligned columns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from slimagent.text.escapes import printable


def table(rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """Rows as printable lines with aligned columns; those in `right` are aligned to the right."""
    if not rows:
        return []
    rows = [list(map(printable, row)) for row in rows]
    to_the_right = frozenset(right)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column in to_the_right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
