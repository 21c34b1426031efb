"""What passes, in words that tell checks, their items and starts apart. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from slimagent.model.proof import Verification
from slimagent.model.result import Outcome
from slimagent.model.started import KIND
from slimagent.model.summary import Checked, Summary
from slimagent.text.counted import counted


class _Ran(NamedTuple):
    """A check or a start: how many items it has, and how many passed; without items, 1 if it passed itself."""

    kind: str
    items: int
    passed: int


def passing(summary: Summary) -> str:
    """What passes in the slim image, e.g. `1 check and 4 items of 2 starts`."""
    count = summary.passing_after or 0
    ran = [_checked(each) for each in (*summary.checks, *summary.start)]
    if sum(each.passed for each in ran) != count:  # of a check that is gone only its items are compared
        return counted(count, "check, start or item", "checks, starts and items")
    return _joined(list(_words(ran))) or "0 checks"


def verified_things(verification: Verification) -> str:
    """The same of one verification."""
    ran = [
        _Ran(step.kind, len(step.items), sum(item.outcome is Outcome.PASSED for item in step.items))
        if step.items
        else _Ran(step.kind, 0, int(step.outcome is Outcome.PASSED))
        for step in verification.steps
    ]
    return _joined(list(_words(ran)))


def _checked(each: Checked) -> _Ran:
    passed = each.items_passed_after or 0 if each.items else int(each.after is Outcome.PASSED)
    return _Ran(each.kind, each.items, passed)


def _words(ran: Sequence[_Ran]) -> Iterator[str]:
    """Each kind of thing of which one passes. A check of the start without items is the image's health check."""
    for is_start, one, many in ((False, "check", "checks"), (True, "start", "starts")):
        those = [each for each in ran if (each.kind == KIND) is is_start and each.passed]
        whole = [each for each in those if not each.items]
        if whole:
            yield counted(len(whole), "health check" if is_start else one)
        parted = [each for each in those if each.items]
        if parted:
            yield f"{counted(sum(each.passed for each in parted), 'item')} of {counted(len(parted), one, many)}"


def _joined(words: Iterable[str]) -> str:
    *first, last = list(words) or [""]
    return f"{', '.join(first)} and {last}" if first else last
