"""What comes after a verification, which steps it concerns, and two verifications as one: pure rules."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.model.proof import Comparison, Missed, Verification
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.trace import Loss, LossKind
from slimagent.verify.rounds import Then, all_missed, concerned, fresh, step_of, then, united

GOOD, BAD, NOT = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED
A, B = Missed(path=b"/a", steps=("one",)), Missed(path=b"/b", steps=("two",))
STEPS = ("one", "two", "start", "health check")


def verification(*compared: tuple[str, Outcome, Outcome], missed: tuple[Missed, ...] = ()) -> Verification:
    comparisons = tuple(Comparison(name=name, before=before, after=after) for name, before, after in compared)
    return Verification(
        tool="slimagent", plan="p", how="in-place", backend="seccomp", blind_spots=(), losses=(), missed=missed,
        passed=not any(each.worse for each in comparisons), comparisons=comparisons,
        steps=tuple(
            CheckResult(name=each.name, kind="command", outcome=each.after, seconds=0.0)
            for each in comparisons if each.name in STEPS and each.after is not NOT
        ),
    )  # fmt: skip


FINE, WORSE = ("one", GOOD, GOOD), ("one", GOOD, BAD)


@pytest.mark.parametrize(
    ("found", "known", "whole", "may", "expected"),
    [
        (verification(FINE), [], True, True, Then.DONE),
        (verification(FINE), [], False, True, Then.RUN_REST),
        (verification(FINE, missed=(A,)), [], True, True, Then.REPAIR),
        (verification(FINE, missed=(A,)), [], True, False, Then.DONE),
        (verification(FINE, missed=(A,)), [b"/a"], True, True, Then.DONE),
        (verification(WORSE, missed=(A,)), [], False, True, Then.REPAIR),
        (verification(WORSE, missed=(A, B)), [b"/a"], True, True, Then.REPAIR),
        (verification(WORSE, missed=(A,)), [b"/a"], True, True, Then.STUCK),
        (verification(WORSE, missed=(A,)), [b"/a"], False, True, Then.RUN_ALL),
        (verification(WORSE, missed=(A,)), [], True, False, Then.STUCK),
        (verification(WORSE), [], False, True, Then.RUN_ALL),
        (verification(WORSE), [], True, True, Then.UNEXPLAINED),
    ],
)
def test_what_comes_next(found: Verification, known: list[bytes], whole: bool, may: bool, expected: Then) -> None:
    """Repair as long as it is new; done only if all ran; unexplained only if all ran and nothing was missed."""
    assert then(found, known, whole=whole, may_repair=may) is expected


def test_which_steps_are_concerned() -> None:
    """Those that are worse, in an item too; that fail and never passed; that missed something. A start is one."""
    item, new = ("two: page", GOOD, BAD), ("two", NOT, BAD)
    assert concerned(verification(FINE, ("two", GOOD, GOOD)), STEPS) == ()
    assert concerned(verification(FINE, ("two", GOOD, GOOD), item), STEPS) == ("two",)
    assert concerned(verification(FINE, new), STEPS) == ("two",)
    assert concerned(verification(FINE, missed=(B,)), STEPS) == ("two",)
    assert concerned(verification(("two", GOOD, NOT)), STEPS) == ("two",)
    assert concerned(verification(("health check", GOOD, BAD)), STEPS, ("start", "health check")) == STEPS[2:]
    assert concerned(replace(verification(FINE), passed=False), STEPS) == STEPS  # e.g. interrupted


def test_an_item_belongs_to_the_longest_step() -> None:
    """The name of a step is a command line, and may have anything in it."""
    assert step_of("a: b: c", ["a", "a: b", "c"]) == "a: b"
    assert step_of("a: b", ["a: b", "a"]) == "a: b"
    assert step_of("other", ["a"]) == "other"


def test_two_verifications_as_one() -> None:
    """Every step once, in order; what either missed or lost; passed only if both did."""
    first = verification(("two", GOOD, GOOD), ("two: page", GOOD, GOOD), missed=(B,))
    second = verification(("one", GOOD, BAD), missed=(replace(B, steps=("one",)),))
    loss = Loss(kind=LossKind.UNSEEN_OPEN, count=2, example="/x")
    whole = united(replace(first, losses=(loss,)), replace(second, losses=(loss,)), STEPS)
    assert [each.name for each in whole.steps] == ["one", "two"]
    assert [each.name for each in whole.comparisons] == ["one", "two", "two: page"]
    assert whole.missed == (Missed(path=b"/b", steps=("two", "one")),)
    assert (whole.losses[0].count, whole.passed) == (4, False)
    again = united(second, verification(FINE), STEPS)
    assert [each.after for each in again.comparisons] == [GOOD]


missed = st.lists(
    st.builds(
        Missed,
        path=st.sampled_from([b"/a", b"/b", b"/c"]),
        steps=st.lists(st.sampled_from(STEPS), max_size=2).map(tuple),
    )
)


@given(missed, missed)
def test_lists_of_missed_files_as_one(first: list[Missed], second: list[Missed]) -> None:
    """Each path once and sorted, whatever the order of the lists; and what is new is what nobody knew."""
    one = all_missed((first, second))
    assert [each.path for each in one] == sorted({each.path for each in (*first, *second)})
    assert {(each.path, step) for each in one for step in each.steps} == {
        (each.path, step) for each in (*first, *second) for step in each.steps
    }
    assert all_missed((one,)) == one == all_missed((one, one))
    known = {each.path for each in second}
    assert {each.path for each in fresh(one, known)} == {each.path for each in first} - known
