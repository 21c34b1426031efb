"""Which names of the image are names of one file, and which of them the file counts with in a sum. Pure."""

from __future__ import annotations

import stat

from slimagent.model.plan import HardLink
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.plan.keeper import Keeper


def hard_links(keeper: Keeper) -> tuple[HardLink, ...]:
    """The additional names of regular files, each with the name that counts.

    The file stays if one name does, so that name counts; best is one that a step asked for, because its reason is the
    reason for the bytes. A name that the traced run made is not part of the image.
    """
    inventory = keeper.inventory
    found: dict[int | tuple[int, ...], list[int]] = {}
    for at, links in enumerate(inventory.links):
        if links > 1 and stat.S_ISREG(inventory.modes[at]):
            found.setdefault(inventory.file(at), []).append(at)

    def rank(at: int) -> tuple[int, int]:
        return _rank(keeper.reasons[keeper.reason(at)]), at

    rows = []
    for names in found.values():
        counts_with = min(names, key=rank)
        rows += [HardLink(at, counts_with) for at in names if at != counts_with]
    return tuple(sorted(rows))


def _rank(reason: Reason) -> int:
    if reason.kind == ReasonKind.CREATED:
        return 4
    if reason.verdict is Verdict.DROP:
        return 3
    return 2 if reason.kind == ReasonKind.HARD_LINK else 0 if reason.steps else 1
