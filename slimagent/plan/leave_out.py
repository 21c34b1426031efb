"""The trace without some of its steps and tests, as if they had not run. Pure."""

from __future__ import annotations

from collections.abc import Collection, Set
from dataclasses import replace

from slimagent.errors import UsageError
from slimagent.model.result import Outcome
from slimagent.model.trace import Access, Attributed, ByTests, Change, ChangeKind, How, Run, Trace
from slimagent.text.escapes import quoted
from slimagent.text.near import meant


def without_steps(trace: Trace, names: Collection[str]) -> Trace:
    """The trace without the steps of these names, and without their tests. Raises UsageError for an unknown name."""
    known = {step.name for step in trace.steps}
    for name in names:
        if name not in known:
            hint = meant(name, known) or f"the steps are {', '.join(sorted(known))}"
            raise UsageError(f"the trace has no step {quoted(name)}", hint)
    steps = frozenset(at for at, step in enumerate(trace.steps) if step.name in names)
    return without(trace, steps, frozenset(at for at, test in enumerate(trace.tests) if test.step in steps))


def without(trace: Trace, steps: frozenset[int], tests: frozenset[int]) -> Trace:
    """The trace without what these steps did outside of tests, and without what these tests did.

    `steps` and `tests` are indices into those of the trace, which stay as they are; the steps count as skipped. A trace
    has no use by step: of a path that several steps used without a test, what any of them did stays with the others.
    What they changed goes with their uses; what a run created stays in the list, since the image does not have it.
    """
    by_path = {each.path: each for each in trace.attributed}
    accesses, attributed = [], []
    for access in trace.accesses:
        by = by_path.get(access.path)
        if by is None:
            left = tuple(step for step in access.steps if step not in steps)
            if left or not access.steps:
                accesses.append(access if left == access.steps else access._replace(steps=left))
            continue
        less = _less(by, steps, tests)
        if less is by:
            accesses.append(access)
        elif less.how or less.by:
            accesses.append(_access(trace, access, less))
        if less.by:
            attributed.append(less)
    return replace(
        trace,
        runs=_runs(trace, steps),
        accesses=tuple(accesses),
        attributed=tuple(attributed),
        changes=_changes(trace, {each.path for each in accesses}),
    )


def _changes(trace: Trace, used: Set[bytes]) -> tuple[Change, ...]:
    """The changes without those of paths that the trace saw used, and that nothing of it uses any more."""
    gone = {each.path for each in trace.accesses}.difference(used)
    return tuple(each for each in trace.changes if each.kind is ChangeKind.CREATED or each.path not in gone)


def _less(by: Attributed, steps: frozenset[int], tests: frozenset[int]) -> Attributed:
    groups = []
    for how, those in by.by:
        left = tuple(test for test in those if test not in tests)
        if left:
            groups.append(ByTests(how, left))
    outside = tuple(step for step in by.steps if step not in steps)
    if outside == by.steps and tuple(groups) == by.by:
        return by
    return Attributed(by.path, by.how if outside else How(0), outside, tuple(groups))


def _access(trace: Trace, access: Access, left: Attributed) -> Access:
    how, steps = left.how, set(left.steps)
    for done, tests in left.by:
        how |= done
        steps.update(trace.tests[test].step for test in tests)
    return Access(access.path, how, tuple(sorted(steps)), access.found)


def _runs(trace: Trace, skipped: frozenset[int]) -> tuple[Run, ...]:
    left = iter(
        replace(step, outcome=Outcome.SKIPPED) if at in skipped else step for at, step in enumerate(trace.steps)
    )
    return tuple(replace(run, steps=tuple(next(left) for _ in run.steps)) for run in trace.runs)
