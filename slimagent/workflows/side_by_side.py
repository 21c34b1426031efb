"""Run checks in the order of the profile, and side by side those that do not disturb one another."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Protocol

from slimagent import checks
from slimagent.model.profile import CheckSpec
from slimagent.model.result import CheckResult

# Runs a check with so many of its items at a time.
Job = Callable[[int], CheckResult]
_Waiting = Callable[[str], contextlib.AbstractContextManager[None]]


class _Begin(Protocol):
    """Begins a check, `beside` others or alone. What it returns runs the check, perhaps in a thread of its own."""

    def __call__(self, spec: CheckSpec, *, beside: bool) -> Job: ...


def run(
    specs: Sequence[CheckSpec],
    jobs: int,
    begin: _Begin,
    ended: Callable[[CheckSpec, CheckResult], None],
    stop: Callable[[], object],
    waiting: _Waiting,
    *,
    together: int | None = None,
) -> tuple[CheckResult, ...]:
    """Run checks, at most `jobs` items at a time, and `together` checks (default: as many). Returns their results.

    They begin in their order. One that runs alone begins when all before it have ended. Calls `ended` as each ends,
    and `waiting` with the names of those that run. If anything is raised, `stop` must end all processes.
    """
    at_once = jobs if together is None else together
    results: list[CheckResult] = []
    for group in _groups(specs, at_once):
        begun = [(spec, begin(spec, beside=len(group) > 1)) for spec in group]
        if len(group) > 1:
            results += _together(begun, jobs, ended, stop, waiting)
        else:
            results.append(_alone(begun[0], jobs, waiting))
            ended(group[0], results[-1])
    return tuple(results)


def _groups(specs: Sequence[CheckSpec], together: int) -> Iterator[tuple[CheckSpec, ...]]:
    """The checks in their order: those that may run side by side as a group, each other one by itself."""
    for alone, group in itertools.groupby(specs, lambda spec: together == 1 or checks.validate(spec).is_alone(spec)):
        if alone:
            yield from ((spec,) for spec in group)
        else:
            yield tuple(group)


def _alone(check: tuple[CheckSpec, Job], jobs: int, waiting: _Waiting) -> CheckResult:
    spec, job = check
    with waiting(spec.name):
        return job(jobs)


def _together(
    group: Sequence[tuple[CheckSpec, Job]],
    jobs: int,
    ended: Callable[[CheckSpec, CheckResult], None],
    stop: Callable[[], object],
    waiting: _Waiting,
) -> list[CheckResult]:
    """Run a group of checks. One that spreads its items gets all jobs, and runs by itself; the others get one each."""
    results: dict[int, CheckResult] = {}
    others: list[int] = []
    for place, (spec, _) in enumerate(group):
        if not checks.validate(spec).spreads:
            others.append(place)
            continue
        results[place] = _alone(group[place], jobs, waiting)
        ended(spec, results[place])
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(group[place][1], 1): place for place in others}
        try:
            while running:
                names = [group[place][0].name for place in running.values()]
                with waiting(", ".join(names[:jobs])):
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=running.__getitem__):
                    place = running.pop(future)
                    results[place] = future.result()
                    ended(group[place][0], results[place])
        except BaseException:
            for future in running:
                future.cancel()
            stop()  # what the checks have started: they end then, and the block with them
            raise
    return [results[place] for place in range(len(group))]
