"""Merge traces of one image. Commutative and associative; a trace merged with itself stays the same. Pure.

Of each trace we keep its runs, and for each path the numbers of its uses: 4 bytes per path and trace.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain

from slimagent.errors import RefusedError
from slimagent.model.trace import (
    Access,
    Attributed,
    ByTests,
    Change,
    ChangeKind,
    How,
    MarkedTest,
    Run,
    Trace,
    Use,
)
from slimagent.paths.algebra import sort_key, to_text
from slimagent.trace.by_test import Sets, pairs_of

# For a path that runs changed in different ways. What was there before one of them belongs to the image, and "created"
# lets a plan drop it, so "created" counts only if all say so. "modified" comes first since it knows the time before.
_PRECEDENCE = (ChangeKind.MODIFIED, ChangeKind.REMOVED, ChangeKind.CREATED)
_HOWS = tuple(map(How, range(16)))


def merge(traces: Iterable[Trace]) -> Trace:
    """Merge traces. Raises as `Merging.add` does."""
    merging = Merging()
    for number, trace in enumerate(traces, 1):
        merging.add(trace, f"trace {number}")
    return merging.result()


class Merging:
    """Collects traces into one. Each can be freed once it is added."""

    def __init__(self) -> None:
        self._first: tuple[str, str, frozenset[bytes], str] | None = None  # name, image, scopes, architecture
        self._runs: dict[str, Run] = {}
        self._starts: dict[str, int] = {}  # run: the number of its first step, in order of arrival
        self._steps = 0
        self._excluded: set[bytes] = set()
        self._changes: dict[bytes, Change] = {}
        self._uses: list[tuple[int, tuple[int, ...], bool]] = []  # how, steps in order of arrival, found
        self._used: dict[bytes, array[int]] = {}
        self._tests: dict[tuple[str, int, str], int] = {}  # run, step in it, name: number in order of arrival
        # How it was used outside of tests, in which steps, and by which pairs; with the number of its use
        self._attributed: dict[bytes, list[tuple[int, How, tuple[int, ...], array[int]]]] = {}
        self._tests_cut = False

    def add(self, trace: Trace, name: str) -> None:
        """Add a trace. Messages call it `name`.

        Raises RefusedError if its image, scopes or architecture differ from the first trace's, or if it contradicts
        another trace of the same run.
        """
        uses = [Use(how, steps, found) for _, how, steps, found in trace.accesses]
        self.add_uses(trace, uses, ((access.path, at) for at, access in enumerate(trace.accesses)), name)

    def add_uses(self, trace: Trace, uses: Sequence[Use], used: Iterable[tuple[bytes, int]], name: str) -> None:
        """Like `add`, but takes the accesses from `used`: paths with indices into `uses`."""
        self._require_alike(trace, name)
        for run in trace.runs:
            self._add_run(run, name)
        self._excluded.update(trace.excluded)
        for change in trace.changes:
            known = self._changes.get(change.path, change)
            self._changes[change.path] = min(known, change, key=_rank)
        first = len(self._uses)
        steps = [self._starts[run.identity] + at for run in trace.runs for at in range(len(run.steps))]
        self._uses += [(int(how), tuple([steps[at] for at in at_steps]), found) for how, at_steps, found in uses]
        attributed = self._add_tests(trace, steps)
        numbers = self._used
        for path, use in used:
            if path in attributed:
                self._attributed.setdefault(path, []).append((first + use, *attributed[path]))
            of_path = numbers.get(path)
            if of_path is None:
                numbers[path] = array("I", (first + use,))
            else:
                of_path.append(first + use)

    def _add_tests(self, trace: Trace, steps: Sequence[int]) -> dict[bytes, tuple[How, tuple[int, ...], array[int]]]:
        """Number the tests of a trace, and return the paths that they used, by our numbers of steps and tests."""
        self._tests_cut |= trace.tests_cut
        places = [(run.identity, at) for run in trace.runs for at in range(len(run.steps))]
        numbers = [self._tests.setdefault((*places[step], name), len(self._tests)) for step, name in trace.tests]
        shared: dict[int, array[int]] = {}  # by the identity of `by`, which many paths share

        def pairs(by: tuple[ByTests, ...]) -> array[int]:
            known = shared.get(id(by))
            if known is None:
                known = shared[id(by)] = array("I", pairs_of(by, numbers.__getitem__))
            return known

        return {
            path: (how, tuple(steps[at] for at in at_steps), pairs(by)) for path, how, at_steps, by in trace.attributed
        }

    def result(self) -> Trace:
        """The merged trace. Raises ValueError without traces."""
        if self._first is None:
            raise ValueError("no trace was merged")
        _, before, scopes, architecture = self._first
        identities = sorted(self._runs)
        tests, attributed = self._by_tests(identities)
        return Trace(
            before=before,
            scopes=tuple(sorted(scopes)),
            excluded=tuple(sorted(self._excluded)),
            architecture=architecture,
            runs=tuple(self._runs[identity] for identity in identities),
            accesses=self._accesses(identities),
            changes=tuple(self._changes[path] for path in sorted(self._changes, key=sort_key)),
            tests=tests,
            attributed=attributed,
            tests_cut=self._tests_cut,
        )

    def _by_tests(self, identities: list[str]) -> tuple[tuple[MarkedTest, ...], tuple[Attributed, ...]]:
        """The tests of all runs, and the paths that they used. What a trace without tests used is outside of tests."""
        places = self._places(identities)
        arrived = [MarkedTest(places[self._starts[run] + at], name) for run, at, name in self._tests]
        tests = sorted(arrived)
        numbers = {test: number for number, test in enumerate(tests)}
        sets = Sets([numbers[test] for test in arrived])

        def united(path: bytes) -> Attributed:
            rows = self._attributed[path]
            others = set(self._used[path]).difference(number for number, *_ in rows)
            outside = [(how, steps) for _, how, steps, _ in rows]
            outside += [(How(self._uses[number][0]), self._uses[number][1]) for number in others]
            how, pairs = How(0), array("I")
            for each, _ in outside:
                how |= each
            for *_, of_trace in rows:
                pairs.extend(of_trace)
            steps = sorted({places[step] for _, at_steps in outside for step in at_steps})
            return Attributed(path, how, tuple(steps), sets.of(pairs))

        return tuple(tests), tuple(united(path) for path in sorted(self._attributed))

    def _places(self, identities: list[str]) -> dict[int, int]:
        """Where each step is in the merged trace, by its number in order of arrival."""
        came = [self._starts[identity] + at for identity in identities for at in range(len(self._runs[identity].steps))]
        return dict(zip(came, range(self._steps), strict=True))

    def _require_alike(self, trace: Trace, name: str) -> None:
        mine = (name, trace.before, frozenset(trace.scopes), trace.architecture)
        if self._first is None:
            self._first = mine
        first, before, scopes, architecture = self._first
        if trace.before != before:
            raise RefusedError(
                f"{name} is of another image than {first}: its fingerprint is {trace.before[:12]}, not {before[:12]}",
                "merge traces of one image, each made in a new container of it",
            )
        if mine[2] != scopes:
            raise RefusedError(
                f"{name} looked at {_shown(mine[2])}, and {first} at {_shown(scopes)}",
                "merge traces that were made with the same --scope",
            )
        if trace.architecture != architecture:
            raise RefusedError(
                f"{name} was made on {trace.architecture}, and {first} on {architecture}",
                "merge traces of one architecture",
            )

    def _add_run(self, run: Run, name: str) -> None:
        known = self._runs.setdefault(run.identity, run)
        if known != run:
            raise RefusedError(
                f"{name} contradicts an earlier trace about run {run.identity[:12]}",
                "one of the two was edited or is damaged; trace again",
            )
        if run.identity not in self._starts:
            self._starts[run.identity] = self._steps
            self._steps += len(run.steps)

    def _accesses(self, identities: list[str]) -> tuple[Access, ...]:
        places = self._places(identities)
        uses = [(how, [places[step] for step in steps], found) for how, steps, found in self._uses]
        united: dict[bytes, Use] = {}  # paths with the same uses share one Use

        def unite(numbers: array[int]) -> Use:
            key = numbers.tobytes()
            use = united.get(key)
            if use is None:
                those = [uses[number] for number in numbers]
                how = 0
                for each, _, _ in those:
                    how |= each
                steps = sorted(set(chain.from_iterable(steps for _, steps, _ in those)))
                use = united[key] = Use(_HOWS[how], tuple(steps), any(found for _, _, found in those))
            return use

        return tuple(Access(path, *unite(self._used[path])) for path in sorted(self._used))


def _rank(change: Change) -> tuple[int, int]:
    """The smallest rank counts, then the earlier time: whatever made the container may have touched the path too."""
    return _PRECEDENCE.index(change.kind), change.mtime_ns


def _shown(scopes: frozenset[bytes]) -> str:
    return ", ".join(map(to_text, sorted(scopes)))
