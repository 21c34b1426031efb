"""What becomes of each byte of an image, by a plan: it stays or goes, and why in a word. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from slimagent.model.plan import Plan, counted_entries, saved_in_files
from slimagent.model.proof import Receipt
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.model.report import Fate, Part
from slimagent.model.summary import Summary
from slimagent.report.undone import undone

WORDS = {
    Fate.USED: "stays: used by a step",
    Fate.KEPT: "stays: needed or kept",
    Fate.STRIPPED: "goes: stripped",
    Fate.CRUFT: "goes: cruft",
    Fate.UNUSED: "goes: unused",
}
STRIPPED_AND_GPU = "goes: stripped, GPU code"


def words(summary: Summary) -> dict[Fate, str]:
    """What to call each fate. What goes out of files that stay has its name by what went of these."""
    has_gpu_code = summary.gpu is not None and summary.gpu.bytes > 0
    return {**WORDS, **({Fate.STRIPPED: STRIPPED_AND_GPU} if has_gpu_code else {})}


_USED = frozenset(
    {
        *(ReasonKind.EXECUTED, ReasonKind.OPENED, ReasonKind.LISTED, ReasonKind.LOOKED_UP),
        *(ReasonKind.CHANGED, ReasonKind.MISSED, ReasonKind.LINK_ON_THE_WAY),
    }
)


def fate(reason: Reason) -> Fate:
    """What becomes of a file with this reason, but for what is stripped out of it."""
    if reason.verdict is Verdict.KEEP:
        return Fate.USED if reason.kind in _USED else Fate.KEPT
    return Fate.CRUFT if reason.kind == ReasonKind.CRUFT else Fate.UNUSED


class Fates:
    """The fates of a plan's entries: `of` by reason, `saved` by path what is stripped.

    What is not part of the image has the fate None. With a receipt, what apply left in a file counts as left there.
    """

    def __init__(self, plan: Plan, receipt: Receipt | None = None) -> None:
        self.of: Sequence[Fate | None] = [
            None if each.kind == ReasonKind.CREATED else fate(each) for each in plan.reasons
        ]
        self.receipt = receipt
        planned = saved_in_files(plan, {path: each.expected for path, each in undone(plan, receipt).items()})
        self.saved: dict[bytes, int] = {}
        for path, reason, size, _, _ in counted_entries(plan):
            if path in planned:  # an estimate, and documents are anybody's: never more than there is
                saves = planned[path] if self._stays(reason) else 0
                self.saved[path] = min(saves, size, self.saved.get(path, size))

    def _stays(self, reason: int) -> bool:
        found = self.of[reason]
        return found is not None and found.stays

    def parts(self, plan: Plan) -> tuple[Part, ...]:
        """The bytes of each fate, in the order of the fates; together they are all bytes of the plan's image."""
        files, sizes = Counter[Fate](), Counter[Fate]()
        for path, reason, size, _, _ in counted_entries(plan):
            found = self.of[reason]
            if found is None or not size:
                continue
            saves = self.saved.get(path, 0)
            for each, length in ((found, size - saves), (Fate.STRIPPED, saves)):
                if length:
                    files[each] += 1
                    sizes[each] += length
        return tuple(Part(fate=each, files=files[each], bytes=sizes[each]) for each in Fate)
