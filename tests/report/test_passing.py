"""What passes is counted by what it is: checks, items of checks, items of starts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from run_documents import verification

from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.model.started import HEALTH_STEP, KIND
from slimagent.model.summary import Summary, Whole
from slimagent.report.passing import passing, verified_things
from slimagent.report.summary import summarised

PASSED, FAILED = Outcome.PASSED, Outcome.FAILED
BLANK = Summary(tool="slimagent 0", command="image")


def ran(name: str, kind: str, *items: Outcome, outcome: Outcome = PASSED) -> CheckResult:
    those = tuple(Item(name=f"i{at}", outcome=each) for at, each in enumerate(items))
    return CheckResult(name=name, kind=kind, outcome=outcome, seconds=1.0, items=those)


def proof(*steps: CheckResult) -> Whole:
    """A verification of these steps, each of which passed before."""
    ended = {step.name: step.outcome for step in steps}
    ended |= {f"{step.name}: {item.name}": item.outcome for step in steps for item in step.items}
    return Whole(verification=replace(verification(ended), steps=steps))


COMMAND, START = ran("command", "command"), ran("start", KIND, PASSED, PASSED)
EACH = [
    ((COMMAND, START, replace(START, name="start-from-outside")), "1 check and 4 items of 2 starts"),
    ((COMMAND,), "1 check"),
    ((START,), "2 items of 1 start"),
    (
        (COMMAND, ran("a", "python", PASSED, FAILED), ran(HEALTH_STEP, KIND)),
        "1 check, 1 item of 1 check and 1 health check",
    ),
    ((COMMAND, ran("b", "command", outcome=FAILED)), "1 check"),
]


@pytest.mark.parametrize(("steps", "expected"), EACH)
def test_each_thing_has_its_name(steps: tuple[CheckResult, ...], expected: str) -> None:
    """In the summary as in the lines of the verification."""
    whole = proof(*steps)
    assert whole.verification is not None
    assert passing(summarised(BLANK, whole)) == expected
    assert verified_things(whole.verification) == expected


def test_what_does_not_add_up_is_a_number() -> None:
    """A summary of which the comparison knows more than its checks."""
    assert passing(replace(BLANK, passing_after=7)) == "7 checks, starts and items"
    assert passing(replace(BLANK, passing_after=0)) == "0 checks"
