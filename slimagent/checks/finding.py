"""What a kind of check finds out; name, kind and seconds are added where the check is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from slimagent.model.result import Item, Outcome

_T = TypeVar("_T")
_NAMED = 5
LEFT_OUT = "left out by the profile"
NOT_REACHED = "not reached in the time of the check"


class UnexercisedError(Exception):
    """There is nothing to exercise; the message is the reason."""


class FaultError(Exception):
    """What is exercised does not do what it should; the message says what and why."""


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
    """Failed if an item failed; the detail then ends with `log`, the last output of the exercised program."""
    every = tuple(items)
    bad = [item.name for item in every if item.outcome is Outcome.FAILED]
    if not bad:
        good = sum(item.outcome is Outcome.PASSED for item in every)
        return Finding(outcome=Outcome.PASSED, detail=f"{good} of {len(every)} passed", items=every)
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    detail = f"{len(bad)} of {len(every)} failed: {', '.join(bad[:_NAMED])}{more}"
    return Finding(outcome=Outcome.FAILED, detail=f"{detail}\n{log}" if log else detail, items=every)


def not_started(names: Iterable[str], fault: str, log: str, *more: Item) -> Finding:
    """The finding where a server did not start: item `start` failed, the items of these names are skipped."""
    items = (judged("start", fault), *all_skipped(names, "the server did not start"), *more)
    return Finding(outcome=Outcome.FAILED, detail=log, items=items)


def judged(name: str, fault: str, detail: str = "") -> Item:
    """An item that failed by a fault; without one it passed, with a detail."""
    return Item(name=name, outcome=Outcome.FAILED if fault else Outcome.PASSED, detail=fault or detail)


def all_skipped(names: Iterable[str], reason: str) -> list[Item]:
    """An item of each name, skipped for one reason."""
    return [Item(name=name, outcome=Outcome.SKIPPED, detail=reason) for name in names]


def attempt(name: str, step: Callable[[], str]) -> Item:
    """The item of a step, which returns a detail, or raises FaultError or UnexercisedError."""
    try:
        return Item(name=name, outcome=Outcome.PASSED, detail=step())
    except UnexercisedError as reason:
        return Item(name=name, outcome=Outcome.SKIPPED, detail=str(reason))
    except FaultError as fault:
        return Item(name=name, outcome=Outcome.FAILED, detail=str(fault))


def first_few(faults: Sequence[_T], text: Callable[[_T], str] = str) -> str:
    """The first faults as text, and how many more there are."""
    more = [f"and {len(faults) - _NAMED} more"] if len(faults) > _NAMED else []
    return "; ".join([*map(text, faults[:_NAMED]), *more])
