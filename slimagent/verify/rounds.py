"""Rounds of repair: which steps are concerned, what is new, and what comes next. Pure."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from slimagent.model.proof import Comparison, Missed, Verification
from slimagent.model.result import Outcome
from slimagent.model.trace import summed

MOST = 10  # rounds: a safeguard, two or three are enough


class Then(enum.Enum):
    """What comes after a verification."""

    DONE = enum.auto()  # everything ran on this image, and nothing is worse
    REPAIR = enum.auto()  # files were missed that no earlier round knew
    RUN_REST = enum.auto()  # nothing is worse so far: run the steps that did not run on this image
    RUN_ALL = enum.auto()  # a step is worse and ran alone: it may depend on an earlier one
    UNEXPLAINED = enum.auto()  # something is worse, and no removed file was looked for
    STUCK = enum.auto()  # something is worse, and what was looked for could not be brought back, or may not


def then(verification: Verification, known: Collection[bytes], *, whole: bool, may_repair: bool) -> Then:
    """What comes next. `known` are the files that earlier rounds brought back, `whole` says whether all steps ran."""
    if may_repair and fresh(verification.missed, known):
        return Then.REPAIR
    if verification.passed:
        return Then.DONE if whole else Then.RUN_REST
    if not whole:
        return Then.RUN_ALL
    return Then.STUCK if verification.missed else Then.UNEXPLAINED


def fresh(missed: Iterable[Missed], known: Collection[bytes]) -> tuple[Missed, ...]:
    """The missed files that no earlier round knew."""
    return tuple(each for each in missed if each.path not in known)


def concerned(verification: Verification, steps: Sequence[str], together: Collection[str] = ()) -> tuple[str, ...]:
    """Which of the steps are worse, fail without a result to compare with, or missed something.

    `steps` are the names of all steps. Of those in `together`, all are concerned or none. If something else is wrong,
    e.g. the run was interrupted, all steps are concerned.
    """
    found = {step for each in verification.missed for step in each.steps}
    found |= {step_of(each.name, steps) for each in verification.comparisons if each.worse or _is_unproved(each)}
    found &= set(steps)
    if not found and not verification.passed:
        return tuple(steps)
    if found & set(together):
        found |= set(together)
    return tuple(name for name in steps if name in found)


def _is_unproved(each: Comparison) -> bool:
    """Whether something fails of which nobody knows whether it ever passed."""
    return each.before is Outcome.SKIPPED and each.after is Outcome.FAILED


def step_of(name: str, steps: Iterable[str]) -> str:
    """The step that a compared name belongs to: the step itself, or one of its items, `STEP: ITEM`."""
    fitting = [step for step in steps if name == step or name.startswith(f"{step}: ")]
    return max(fitting, key=len, default=name)


def united(first: Verification, second: Verification, order: Sequence[str]) -> Verification:
    """Two verifications of the same slim image as one. A step that is in both counts as in `second`.

    `order` has the names of all steps, in the order in which they are listed.
    """
    again = {step_of(each.name, order) for each in second.comparisons}
    place = {name: at for at, name in enumerate(order)}

    def rank(name: str) -> int:
        return place.get(step_of(name, order), len(place))

    steps = [*(step for step in first.steps if step.name not in again), *second.steps]
    compared = [*(each for each in first.comparisons if step_of(each.name, order) not in again), *second.comparisons]
    return replace(
        second,
        passed=first.passed and second.passed,
        steps=tuple(sorted(steps, key=lambda step: rank(step.name))),
        comparisons=tuple(sorted(compared, key=lambda each: rank(each.name))),
        missed=all_missed((first.missed, second.missed)),
        losses=summed((*first.losses, *second.losses)),
    )


def all_missed(lists: Iterable[Iterable[Missed]]) -> tuple[Missed, ...]:
    """Several lists as one: each path once, with all steps, sorted by path."""
    steps: dict[bytes, dict[str, None]] = {}
    for missed in lists:
        for each in missed:
            steps.setdefault(each.path, {}).update(dict.fromkeys(each.steps))
    return tuple(Missed(path=path, steps=tuple(steps[path])) for path in sorted(steps))
