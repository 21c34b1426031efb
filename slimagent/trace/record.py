"""What a supervisor has seen: a few machine words per path and step, however many calls there are."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from slimagent.model.trace import Attributed, How, Loss, LossKind, MarkedTest
from slimagent.paths.algebra import normalise, to_text
from slimagent.trace.by_test import Room, Sets, TestUses, packed, unpacked
from slimagent.trace.watcher import Observed

ENDED = "from here on nothing was seen: {!r}"


class Record:
    """Paths by step, paths by test, and losses by kind. Only one thread writes it.

    `at_once`: record a path before its call continues, since there may be no time later. `knows_tests`: what is not in
    `tests` was used outside of all tests; else nobody knows.
    """

    at_once = False
    knows_tests = True

    def __init__(self) -> None:
        self.steps: dict[int, dict[bytes, int]] = {}
        self.tests = TestUses(Room())
        self.files: dict[tuple[int, int], bytes] = {}  # device and inode: a path of the file
        self.losses: dict[LossKind, tuple[int, str]] = {}
        self.ended_by: Exception | None = None  # not a loss: without memory we could not count one

    def add(self, step: int, path: bytes, how: int) -> None:
        """Record that `path` was used in `step`."""
        seen = self.steps.get(step)
        if seen is None:
            seen = self.steps[step] = {}
        seen[path] = seen.get(path, 0) | how

    def lose(self, kind: LossKind, example: str, count: int = 1) -> None:
        """Count something that could not be seen. The first example of its kind is kept."""
        before, first = self.losses.get(kind, (0, example))
        self.losses[kind] = (before + count, first)

    def end(self, error: Exception) -> None:
        """Remember that `error` ended the supervisor."""
        self.ended_by = error


def combine(records: Iterable[Record], stopped: tuple[str, ...] = ()) -> Observed:
    """Combine the records of all supervisors. Different spellings of a path become one."""
    records = tuple(records)
    hows: dict[bytes, int] = {}
    steps: dict[bytes, set[int]] = {}
    whole = Record()
    tests, attributed = _attributed(records)
    for path, _, _, by in attributed:
        at_steps = steps[path] = set[int]()
        for used, numbers in by:
            hows[path] = hows.get(path, 0) | int(used)
            at_steps.update(tests[number].step for number in numbers)
    for record in records:
        whole.files.update(record.files)
        for step, seen in list(record.steps.items()):
            for spelled, how in list(seen.items()):
                path = normalise(spelled)
                hows[path] = hows.get(path, 0) | how
                steps.setdefault(path, set()).add(step)
        for kind, (count, example) in record.losses.items():
            whole.lose(kind, example, count)
        if record.ended_by is not None:
            whole.lose(LossKind.SUPERVISOR_ERROR, ENDED.format(record.ended_by))
    losses = sorted(whole.losses.items())
    return Observed(
        accesses={path: (How(hows[path]), tuple(sorted(steps[path]))) for path in hows},
        losses=tuple(Loss(kind=kind, count=count, example=first) for kind, (count, first) in losses),
        files=whole.files,
        stopped=stopped,
        tests=tests,
        attributed=attributed,
        tests_cut=any(record.tests.is_cut for record in records),
    )


def _attributed(records: Sequence[Record]) -> tuple[tuple[MarkedTest, ...], tuple[Attributed, ...]]:
    """The tests of all records, sorted, and the paths that they used, sorted."""
    known = sorted({test for record in records for test in record.tests.tests})
    if not known:
        return (), ()
    numbers = {test: number for number, test in enumerate(known)}
    found: dict[bytes, array[int]] = {}
    for record in records:
        of_record = [numbers[test] for test in record.tests.tests]
        for spelled, pairs in record.tests.uses():
            united = found.setdefault(normalise(spelled), array("I"))
            united.extend(packed(of_record[test], how) for test, how in unpacked(pairs))
    outside = {path: (0, set[int]()) for path in found}
    for record in records:
        for step, seen in list(record.steps.items()):
            for spelled, how in list(seen.items()):
                path = normalise(spelled)
                if path not in found:
                    continue
                if not record.knows_tests and any(known[test][0] == step for test, _ in unpacked(found[path])):
                    continue
                before, at_steps = outside[path]
                at_steps.add(step)
                outside[path] = before | how, at_steps
    sets = Sets(list(range(len(known))))
    rows = (
        Attributed(path, How(outside[path][0]), tuple(sorted(outside[path][1])), sets.of(found[path]))
        for path in sorted(found)
    )
    return tuple(MarkedTest(step, to_text(name)) for step, name in known), tuple(row for row in rows if row.by)
