"""Rounds of repair in words: how many there were, what each brought back, and which step needed it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from slimagent.model.proof import Repair
from slimagent.paths.algebra import to_text
from slimagent.report.text import size
from slimagent.text.counted import counted


def round_line(repair: Repair) -> str:
    """A round in one line.

    >>> round_line(Repair(number=2, files=3, size=4000))
    'repair, round 2: 0 removed files were needed; 3 files came back, 4.0 kB'
    """
    needed = counted(len(repair.needed), "removed file was", "removed files were")
    line = f"repair, round {repair.number}: {needed} needed"
    if repair.files is None or repair.size is None:
        return line
    return f"{line}; {counted(repair.files, 'file')} came back, {size(repair.size)}"


def rounds_line(repairs: Sequence[Repair]) -> str:
    """All rounds in one sentence, without a full stop."""
    needed = len(frozenset[bytes]().union(*(each.needed for each in repairs)))
    return f"{counted(len(repairs), 'round')} of repair brought back {counted(needed, 'file')} that the steps needed"


def needed_rows(repairs: Sequence[Repair]) -> Iterator[tuple[str, str, str]]:
    """Each file that was needed, the round that brought it back, and what the steps did."""
    for repair in repairs:
        for each in repair.missed:
            yield to_text(each.path), f"{repair.number}", f"{', '.join(each.steps)} looked for it in vain"
        for each in repair.found:
            yield to_text(each.path), f"{repair.number}", f"a search found it: {', '.join(each.steps)} needs it"
        for each in repair.used:
            yield to_text(each.path), f"{repair.number}", f"{', '.join(each.steps)} used it in the full image"
