"""What a kind of check finds out; name, kind and seconds are added where the check is run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from slimagent.model.result import Item, Outcome

_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How a check ended and why, as in CheckResult."""

    outcome: Outcome
    detail: str = ""
    status: int | None = None
    items: tuple[Item, ...] = ()
    snapshot: str = ""


def failed(detail: str, *, status: int | None = None) -> Finding:
    """The check failed; `detail` says what happened to what."""
    return Finding(outcome=Outcome.FAILED, detail=detail, status=status)


def skipped(reason: str) -> Finding:
    """There was nothing to exercise."""
    return Finding(outcome=Outcome.SKIPPED, detail=reason)


def of_items(items: Iterable[Item], *, log: str = "") -> Finding:
    """Failed if an item failed; then `log`, what the exercised program wrote last, goes into the detail."""
    every = tuple(items)
    bad = [item.name for item in every if item.outcome is Outcome.FAILED]
    if not bad:
        good = sum(item.outcome is Outcome.PASSED for item in every)
        return Finding(outcome=Outcome.PASSED, detail=f"{good} of {len(every)} passed", items=every)
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    detail = f"{len(bad)} of {len(every)} failed: {', '.join(bad[:_NAMED])}{more}"
    return Finding(outcome=Outcome.FAILED, detail=f"{detail}\n{log}" if log else detail, items=every)
