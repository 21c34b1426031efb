"""The units of a trace that can be left out: tests, and steps without tests. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import chain

from slimagent.model.reach import Unit
from slimagent.model.started import KIND
from slimagent.model.trace import Access, How, Trace
from slimagent.plan.leave_out import without

OUTSIDE = -1  # stands for uses that belong to no unit
_READ = How.OPENED | How.EXECUTED


class Units:
    """What each unit of a trace used.

    A unit is a marked test, or a step that marked none. Tests whose names differ only in a parameter in brackets
    (`test_plot[svg]`, as pytest writes them) are one: they are too much alike to tell what another test would do.
    Starts of the image do not count, nor does what a step with tests does outside of them: all its tests rest on it.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._by_path = {each.path: each for each in trace.attributed}
        marked = {test.step for test in trace.tests}
        self._of_test, self.units = array("i"), list[Unit]()
        known: dict[tuple[int, str], int] = {}
        for test in trace.tests:
            key = test.step, _without_parameter(test.name)
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

    def used(self) -> frozenset[int]:
        """The units that used anything that the image had. Nothing follows from others, e.g. skipped tests."""
        users = (self._users(access) for access in self._trace.accesses if access.found)
        return frozenset(chain.from_iterable(users)) - {OUTSIDE}

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
        """The trace as if these units had not run."""
        out = frozenset(left_out)
        steps = frozenset(at for at, unit in enumerate(self._of_step) if unit in out)
        return without(self._trace, steps, frozenset(at for at, unit in enumerate(self._of_test) if unit in out))

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


def _without_parameter(name: str) -> str:
    """A test's name without the brackets at its end.

    >>> _without_parameter("TestX[cuda]::test_plot[svg-[1]]")
    'TestX[cuda]::test_plot'
    >>> _without_parameter("pages/[id].test.js > renders")
    'pages/[id].test.js > renders'
    """
    depth = 0
    for at in range(len(name) - 1, -1, -1):
        depth += (name[at] == "]") - (name[at] == "[")
        if depth <= 0:
            return name[:at] if name[at] == "[" and at else name
    return name
