"""Tables and folded sections in GitHub's Markdown. Pure. Cells and titles are Markdown already: escape names first."""

from __future__ import annotations

from collections.abc import Sequence


def folded(summary: str, lines: Sequence[str]) -> list[str]:
    """A section that opens on a click. `summary` is HTML."""
    return [f"<details><summary>{summary}</summary>", "", *lines, "", "</details>", ""]


def row_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] | None = None) -> list[str]:
    """A table with Markdown in its cells. The columns in `right` are numbers; None: all but the first of several."""
    if right is None:
        right = range(1, len(head)) if len(head) > 2 or head[1] in ("size", "seconds") else ()
    marks = ["---:" if at in right else "---" for at in range(len(head))]
    return [_row(head), _row(marks), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
