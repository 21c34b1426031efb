"""A start that was watched before counts as the first steps of a trace, as if all had been watched together."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.model.result import CheckResult, Outcome
from slimagent.model.started import Reached, Started, Until
from slimagent.model.trace import How, Loss
from slimagent.trace.watcher import Observed
from slimagent.workflows.steps import Start, Watched, with_earlier

paths = st.sampled_from([b"/a", b"/b", b"/c"])
hows = st.integers(1, 15).map(How)
lost = st.dictionaries(st.sampled_from(["one", "two", "three"]), st.integers(1, 9), max_size=3)
STEPS = tuple(CheckResult(name=name, kind="command", outcome=Outcome.PASSED, seconds=1) for name in ("x", "y"))


def uses(most: int) -> st.SearchStrategy[dict[bytes, tuple[How, tuple[int, ...]]]]:
    steps = st.sets(st.integers(0, most), min_size=1).map(lambda found: tuple(sorted(found)))
    return st.dictionaries(paths, st.tuples(hows, steps))


def losses(counts: dict[str, int], example: str) -> tuple[Loss, ...]:
    return tuple(Loss(kind=kind, count=count, example=example) for kind, count in sorted(counts.items()))


def watched(accesses: dict[bytes, tuple[How, tuple[int, ...]]], lost: dict[str, int]) -> Watched:
    return Watched(
        results=STEPS, observed=Observed(accesses=accesses, losses=losses(lost, "later"), stopped=("left",)),
        backend="seccomp", passed_over=(), blind_spots=(), no_new_privileges=False, asked_ports=(80,), status=3,
        interrupted=False,
    )  # fmt: skip


@given(uses(1), uses(1), lost, lost, st.sampled_from([None, (Outcome.PASSED, ""), (Outcome.FAILED, "")]))
def test_the_steps_of_a_start_come_first_and_the_others_move(
    of_start: dict[bytes, tuple[How, tuple[int, ...]]],
    of_steps: dict[bytes, tuple[How, tuple[int, ...]]],
    start_losses: dict[str, int],
    step_losses: dict[str, int],
    health: tuple[Outcome, str] | None,
) -> None:
    """Uses of a path are united, losses of a kind add up, each step is that of its name; nothing else changes.

    A health check that was cut off in the middle of its first try has no result: what it used is the start's.
    """
    seen = Started(waited_for=Until.TIME, accesses=of_start, losses=losses(start_losses, "first"), health=health)
    before = watched(of_steps, step_losses)
    after = with_earlier(Start(seen=seen, status=0), (), before)
    firsts = ["start"] if health is None else ["start", "health check"]
    names = [each.name for each in after.results]
    assert names == [*firsts, "x", "y"]
    for path in {*of_start, *of_steps}:
        how, steps = after.observed.accesses[path]
        start_how, start_steps = of_start.get(path, (How(0), ()))
        step_how, step_steps = of_steps.get(path, (How(0), ()))
        assert how == start_how | step_how
        wanted = {firsts[min(step, len(firsts) - 1)] for step in start_steps} | {
            STEPS[step].name for step in step_steps
        }
        assert [names[step] for step in steps] == sorted(wanted, key=names.index)
    assert set(after.observed.accesses) == {*of_start, *of_steps}
    counts = {loss.kind: loss.count for loss in after.observed.losses}
    assert counts == {
        kind: start_losses.get(kind, 0) + step_losses.get(kind, 0) for kind in {*start_losses, *step_losses}
    }
    assert [loss.kind for loss in after.observed.losses] == sorted(counts)
    assert all(loss.example == ("first" if loss.kind in start_losses else "later") for loss in after.observed.losses)
    assert after.observed.stopped == ("left",)
    assert dataclasses.replace(after, results=before.results, observed=before.observed) == before


def test_without_a_start_nothing_changes() -> None:
    """It is the same."""
    before = watched({b"/a": (How.OPENED, (0,))}, {"one": 1})
    assert with_earlier(None, (), before) is before


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("of_start", [True, False])
def test_a_process_that_gained_no_rights_is_told_of(own: bool, of_start: bool) -> None:
    """Whichever of the two it was."""
    before = dataclasses.replace(watched({}, {}), no_new_privileges=own)
    start = Start(seen=Started(waited_for=Until.TIME, no_new_privileges=of_start), status=0)
    assert with_earlier(start, (), before).no_new_privileges is (own or of_start)


def test_a_start_is_held_against_the_one_before() -> None:
    """The one of that name: another exit status than then is a failed item."""
    start = Start(seen=Started(waited_for=Until.TIME), status=4)
    (first,) = start.results()
    assert (first.status, first.outcome, first.has_passed("exit status")) == (4, Outcome.FAILED, True)
    (same,) = start.results((*STEPS, first))
    assert same.has_passed("exit status")
    (other,) = Start(seen=start.seen, status=5).results((*STEPS, first))
    assert (other.has_passed("exit status"), other.detail) == (False, "exit status 5, before 4")
    up = Start(seen=Started(waited_for=Until.TIME, reached=Reached(what=Until.TIME, seconds=1.0)), status=137)
    assert up.results((first,))[0].status is None
