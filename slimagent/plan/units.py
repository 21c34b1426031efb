"""The units of a trace that can be left out, and the trace without some of them. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator
from dataclasses import replace

from slimagent.model.reach import Unit
from slimagent.model.result import Outcome
from slimagent.model.started import KIND
from slimagent.model.trace import Access, Attributed, ByTests, How, Run, Trace

OUTSIDE = -1  # stands for uses that belong to no unit
_READ = How.OPENED | How.EXECUTED


class Units:
    """What each unit of a trace used.

    A unit is a marked test, or a step that marked none. Tests whose names differ only in a parameter in brackets
    (`test_plot[svg]`, as pytest writes them) are one: they are too much alike to tell what another test would do.
    Starts of the image are no units. Neither is what a step with tests does outside of them: all its tests rest on it.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._by_path = {each.path: each for each in trace.attributed}
        marked = {test.step for test in trace.tests}
        self._of_test, self.units = array("i"), list[Unit]()
        known: dict[tuple[int, str], int] = {}
        for test in trace.tests:
            key = test.step, test.name.partition("[")[0] or test.name
            number = known.setdefault(key, len(self.units))
            if number == len(self.units):
                self.units.append(Unit(*key, 0))
            self.units[number] = self.units[number]._replace(tests=self.units[number].tests + 1)
            self._of_test.append(number)
        self._of_step = array("i", [OUTSIDE]) * len(trace.steps)
        for at, step in enumerate(trace.steps):
            if at not in marked and step.kind != KIND:
                self._of_step[at] = len(self.units)
                self.units.append(Unit(at, step.name, 0))

    def alone(self) -> dict[int, list[bytes]]:
        """For each unit that has any: the paths that the image had and that no other unit used."""
        found: dict[int, list[bytes]] = {}
        for access in self._trace.accesses:
            unit = self._only(access) if access.found else OUTSIDE
            if unit >= 0:
                found.setdefault(unit, []).append(access.path)
        return found

    def shared(self) -> Trace:
        """The trace without the paths that `alone` has: a part of the trace without any one unit."""
        gone = frozenset(path for paths in self.alone().values() for path in paths)
        return replace(
            self._trace,
            accesses=tuple(each for each in self._trace.accesses if each.path not in gone),
            attributed=tuple(each for each in self._trace.attributed if each.path not in gone),
        )

    def _only(self, access: Access) -> int:
        """The unit that alone used a path, or `OUTSIDE`."""
        only: int | None = None
        for unit in self._users(access):
            if only not in (None, unit):
                return OUTSIDE
            only = unit
        return OUTSIDE if only is None else only

    def _users(self, access: Access) -> Iterator[int]:
        by = self._by_path.get(access.path)
        if by is None:
            yield from (self._of_step[step] for step in access.steps)
            return
        if by.how:
            yield from (self._of_step[step] for step in by.steps)
        for _, tests in by.by:
            yield from (self._of_test[test] for test in tests)

    def without(self, left_out: Collection[int]) -> Trace:
        """The trace as if these units had not run. Whole steps among them count as skipped."""
        out = frozenset(left_out)
        accesses, attributed = [], []
        for access in self._trace.accesses:
            by = self._by_path.get(access.path)
            if by is None:
                steps = tuple(step for step in access.steps if self._of_step[step] not in out)
                if steps:
                    accesses.append(access if steps == access.steps else access._replace(steps=steps))
                continue
            left = self._less(by, out)
            if left is by:
                accesses.append(access)
                attributed.append(by)
            elif left.how or left.by:
                accesses.append(self._access(access, left))
                if left.by:
                    attributed.append(left)
        return replace(self._trace, runs=self._runs(out), accesses=tuple(accesses), attributed=tuple(attributed))

    def _less(self, by: Attributed, out: frozenset[int]) -> Attributed:
        groups = []
        for how, tests in by.by:
            left = tuple(test for test in tests if self._of_test[test] not in out)
            if left:
                groups.append(ByTests(how, left))
        steps = tuple(step for step in by.steps if self._of_step[step] not in out)
        if steps == by.steps and tuple(groups) == by.by:
            return by
        return Attributed(by.path, by.how if steps else How(0), steps, tuple(groups))

    def _access(self, access: Access, left: Attributed) -> Access:
        how = left.how
        steps = set(left.steps)
        for done, tests in left.by:
            how |= done
            steps.update(self._trace.tests[test].step for test in tests)
        return Access(access.path, how, tuple(sorted(steps)), access.found)

    def _runs(self, out: frozenset[int]) -> tuple[Run, ...]:
        runs, at = [], 0
        for run in self._trace.runs:
            steps = []
            for step in run.steps:
                gone = self._of_step[at] >= 0 and self._of_step[at] in out
                steps.append(replace(step, outcome=Outcome.SKIPPED) if gone else step)
                at += 1
            runs.append(replace(run, steps=tuple(steps)))
        return tuple(runs)

    def opened(self) -> list[list[bytes]]:
        """For each unit the paths that the image had and that the unit opened or executed.

        A trace has no use by step: if several steps used a path, what one of them did counts for each.
        """
        found: list[list[bytes]] = [[] for _ in self.units]
        for access in self._trace.accesses:
            if not access.found or not access.how & _READ:
                continue
            by = self._by_path.get(access.path)
            users = set[int]()
            if by is None or by.how & _READ:
                users.update(self._of_step[step] for step in (access if by is None else by).steps)
            for done, tests in () if by is None else by.by:
                if done & _READ:
                    users.update(self._of_test[test] for test in tests)
            for unit in users:
                if unit >= 0:
                    found[unit].append(access.path)
        return found
