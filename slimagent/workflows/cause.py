"""Composition: find which difference between the two images makes a step worse, if no lookup of a file explains it.

A trial runs the steps in a container of the full image that really differs in some paths: see `trial.py`.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from slimagent import documents
from slimagent.errors import CheckFailedError, SlimagentError
from slimagent.image.request import CHECKS, CHOSEN, DIFFERENCES, PLAN, TRACE
from slimagent.image.shared import Shared
from slimagent.image.work import Task
from slimagent.model.hosted import STEP as HOST_STEP
from slimagent.model.plan import Plan
from slimagent.model.proof import Verification
from slimagent.model.removed import NAME as REMOVED
from slimagent.model.result import CheckResult
from slimagent.model.search import Difference, Outcome, Search
from slimagent.model.trace import Trace
from slimagent.report.search import standing_line
from slimagent.text.counted import counted
from slimagent.verify.candidates import Candidates
from slimagent.verify.compare import compare, united
from slimagent.verify.rounds import step_of
from slimagent.verify.search import Found, Group, Standing, most, search
from slimagent.workflows import collected_logs, missing
from slimagent.workflows.image_stages import STARTS, Stages
from slimagent.workflows.starts_from_outside import SLIM

_LARGEST = 1 << 30  # bytes of a list of differences
_LEAST, _TIMES = 60.0, 10  # seconds that a trial may take, and how much longer than the first one


def find(stages: Stages, trace: Trace, plan: Plan, verification: Verification) -> Search:
    """Find out why steps are worse in the slim image that `stages` has loaded last.

    Changes nothing but containers that are thrown away. Never raises a SlimagentError: a search that cannot go on says
    why in its `note`.
    """
    began = time.monotonic()
    searching = _Searching(stages, trace, plan, verification)
    try:
        with stages.reporter.phase("search for the cause"):
            outcome, found = searching.result()
        note = ""
    except SlimagentError as error:
        outcome, found, note = Outcome.BROKEN, None, error.message
    candidates = searching.candidates
    causes = () if found is None else tuple(map(candidates.cause, found.causes))
    together = () if found is None else tuple(each for group in found.together for each in group)
    return Search(
        outcome=outcome,
        steps=searching.steps,
        differences=len(candidates.differences),
        runs=searching.runs,
        seconds=time.monotonic() - began,
        causes=(*causes, *(candidates.cause(each, alone=False) for each in together)),
        left=0 if found is None else len(found.left),
        note=note,
    )


@dataclass(slots=True)
class _Searching:
    """One search. `steps` are those that are worse, `runs` counts the trials so far."""

    stages: Stages
    trace: Trace
    plan: Plan
    verification: Verification
    steps: tuple[str, ...] = ()
    runs: int = 0
    candidates: Candidates = field(init=False)
    _worse: set[str] = field(default_factory=set)  # the names of the steps and items that are worse
    _run: tuple[str, ...] = ()  # the steps that run in a trial
    _given: Shared | None = None
    _most: int = 0
    _spent: float = 0.0  # seconds of the last trial
    _first: float | None = None  # and of the first one
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.candidates = Candidates(self.plan, ())
        steps = self._every
        owners = {each.name: step_of(each.name, steps) for each in self.verification.comparisons if each.worse}
        self._worse = {name for name, step in owners.items() if step in steps}
        self.steps = self._run = tuple(step for step in steps if step in owners.values())

    @property
    def _every(self) -> tuple[str, ...]:
        """All steps that a trial can run."""
        steps = (each.name for each in united(self.trace.steps))
        return tuple(name for name in steps if name not in (*STARTS, HOST_STEP) and "\0" not in name)

    def result(self) -> tuple[Outcome, Found[Difference] | None]:
        """The search. Raises as the agent in a container does."""
        if not self.steps:
            return Outcome.UNTRIED, None
        self._look()
        groups = self.candidates.groups(self._named(), self.steps)
        self._most = most(groups)
        found = self._search(groups)
        if found.outcome is Outcome.UNSTABLE and set(self._run) < set(self._every):
            self._run = self._every  # they may depend on others
            found = self._search(groups)
        if found.outcome is Outcome.ELSEWHERE and not self._fails((), self.stages.work.pending):
            return Outcome.UNSTABLE, found  # this time it does not fail in the slim image either
        return found.outcome, found

    def _search(self, groups: list[Group[Difference]]) -> Found[Difference]:
        request = self.stages.request
        return search(groups, self._is_worse, request.search_runs - self.runs, self._tell, self._has_time)

    def _has_time(self) -> bool:
        """Whether one more trial like the last one ends in the time that is allowed."""
        return time.monotonic() - self._began + self._spent < 60 * self.stages.request.search_minutes

    def _look(self) -> None:
        """List the differences, in a new container of the slim image."""
        stages = self.stages
        self._given = shared = stages.share("differences", PLAN)
        task = Task(shared=shared, image=stages.work.pending, arguments=stages.commands.differences(), bare=True)
        stages.work.begin(task, leaves=DIFFERENCES).result()
        rows = documents.decode_differences(shared.read(DIFFERENCES, _LARGEST), DIFFERENCES)
        self.candidates = Candidates(self.plan, rows)

    def _named(self) -> set[bytes]:
        """The removed paths that the steps' own words explain: they are tried first, and no more."""
        logs = collected_logs.ends(self.stages.output, SLIM, self.steps)
        details = (each.detail for each in self.verification.comparisons if each.worse)
        text = "\n".join((*(text for _, text in logs.values()), *details))
        listed = missing.RemovedList(os.path.join(self.stages.output.path, REMOVED))
        answers = missing.explain(listed, text.encode("utf-8", "replace")).answers
        return {removed.path for each in answers for removed in each.removed}

    def _is_worse(self, chosen: Sequence[Difference]) -> bool:
        return self._fails(chosen, self.stages.image)

    def _fails(self, chosen: Sequence[Difference], image: str) -> bool:
        """Whether something that is worse in the slim image is worse in a container of `image` that differs so."""
        began = time.monotonic()
        results = self._results(chosen, image)
        self.runs += 1
        self._spent = time.monotonic() - began
        self._first = self._spent if self._first is None else self._first
        return any(each.worse and each.name in self._worse for each in compare(united(self.trace.steps), results))

    def _results(self, chosen: Sequence[Difference], image: str) -> tuple[CheckResult, ...]:
        stages = self.stages
        assert self._given is not None  # noqa: S101  # for the type checker
        shared = stages.share("trial", TRACE)
        shared.give(CHOSEN, documents.encode_differences(chosen))
        task = Task(
            shared=shared,
            image=image,
            arguments=stages.commands.trial(self._run),
            cap_add=stages.cap_add,
            given=self._given.path,
            silent=True,
        )
        stages.work.begin(task, leaves=CHECKS).result(self._watch(time.monotonic()))
        results = documents.decode_checks(shared.read(CHECKS), CHECKS)
        stages.work.discard(shared)
        return results

    def _watch(self, began: float) -> Callable[[], None]:
        """End a trial that takes far longer than the first one: its step may wait for ever for what is not there."""

        def look() -> None:
            limit = max(_LEAST, _TIMES * self._first) if self._first is not None else math.inf
            if time.monotonic() - began > limit:
                self.stages.work.end_containers()
                raise CheckFailedError(f"a run had not ended after {limit:.0f} s", "see docs/cause.md")

        return look

    def _tell(self, standing: Standing) -> None:
        if self.runs == 1:  # now we know how long one takes
            runs = min(self._most, self.stages.request.search_runs)
            self.stages.work.say(
                f"search: {counted(len(self.candidates.differences), 'difference')}; at most {counted(runs, 'run')} "
                f"for one cause, {self._spent:.0f} s each"
            )
        earlier = self.runs + 1 - standing.run  # with fewer steps
        line = standing_line(standing.run + earlier, standing.about + earlier, standing.items, standing.groups)
        self.stages.work.say(line)
