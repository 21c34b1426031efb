"""Which tests used a path: four bytes for each pair of a test and a path, however many calls there are."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence

from slimagent.model.trace import Attributed, ByTests, How
from slimagent.trace.watcher import Observed

MOST_TESTS, MOST_PAIRS = 1 << 16, 1 << 22
_MOST_RUNNING = 64  # tables of tests that may go on
_HOW_BITS = 4
_HOW_MASK = (1 << _HOW_BITS) - 1
_HOWS = tuple(map(How, range(1 << _HOW_BITS)))


class Room:
    """How many tests and pairs a watch may still remember. All its records share it."""

    def __init__(self, tests: int = MOST_TESTS, pairs: int = MOST_PAIRS) -> None:
        self.tests, self.pairs = tests, pairs
        self.cut = False  # whether something was not remembered


class TestUses:
    """The tests of one record, and what each did with which paths. Only one thread writes it.

    While a test runs it has a table; when it ends, the table becomes an array.
    """

    __test__ = False  # not for pytest

    def __init__(self, room: Room) -> None:
        self.tests: list[tuple[int, bytes]] = []  # step and name
        self._room = room
        self._numbers: dict[tuple[int, bytes], int] = {}
        self._paths: dict[bytes, int] = {}
        self._running: dict[int, dict[int, int]] = {}
        self._ended: dict[int, array[int]] = {}

    @property
    def is_cut(self) -> bool:
        """Whether something was not remembered, here or in another record of the watch."""
        return self._room.cut

    def number(self, step: int, name: bytes) -> int:
        """The number of a test, from 0. -1 if there is no room for one more."""
        number = self._numbers.get((step, name))
        if number is None:
            if self._room.tests <= 0:
                self._room.cut = True
                return -1
            self._room.tests -= 1
            number = self._numbers[step, name] = len(self.tests)
            self.tests.append((step, name))
        return number

    def add(self, test: int, path: bytes, how: int) -> bool:
        """Remember that a test used `path`. False if there is no room: it then counts as outside of all tests."""
        at = self._paths.get(path)
        if at is None:
            if self._room.pairs <= 0:
                self._room.cut = True
                return False
            at = self._paths[path] = len(self._paths)
        table = self._running.get(test)
        if table is None:
            if len(self._running) >= _MOST_RUNNING:
                self.end_all()
            table = self._running[test] = {}
        known = table.get(at, 0)
        if known | how != known:
            if not known:
                if self._room.pairs <= 0:
                    self._room.cut = True
                    return False
                self._room.pairs -= 1
            table[at] = known | how
        return True

    def end(self, test: int) -> None:
        """Note that a test has ended. What it left running may still use paths."""
        table = self._running.pop(test, None)
        if table:
            ended = self._ended.setdefault(test, array("I"))
            ended.extend([at << _HOW_BITS | how for at, how in table.items()])

    def end_all(self) -> None:
        """Note that all tests have ended."""
        for test in list(self._running):
            self.end(test)

    def uses(self) -> Iterator[tuple[bytes, array[int]]]:
        """Each path with the tests that used it, each as `packed`; a test may come twice. Call `end_all` before."""
        of = [array("I") for _ in self._paths]
        for test, ended in self._ended.items():
            for each in ended:
                of[each >> _HOW_BITS].append(packed(test, each & _HOW_MASK))
        return zip(self._paths, of, strict=True)


def packed(test: int, how: int) -> int:
    """A test and what it did as one number."""
    return test << _HOW_BITS | how


def unpacked(pairs: Iterable[int]) -> Iterator[tuple[int, int]]:
    """What `packed` packed."""
    return ((each >> _HOW_BITS, each & _HOW_MASK) for each in pairs)


def pairs_of(by: Iterable[ByTests], number: Callable[[int], int]) -> Iterator[int]:
    """The pairs of a path with other numbers for its tests."""
    return (packed(number(test), int(how)) for how, tests in by for test in tests)


class Sets:
    """Makes `ByTests` of pairs; paths with the same pairs share them. `numbers` are the final numbers of tests."""

    def __init__(self, numbers: list[int]) -> None:
        self._numbers = numbers
        self._made: dict[bytes, tuple[ByTests, ...]] = {}

    def of(self, pairs: array[int]) -> tuple[ByTests, ...]:
        """The tests of pairs, by what they did. A test that comes twice did both."""
        key = pairs.tobytes()
        made = self._made.get(key)
        if made is None:
            hows: dict[int, int] = {}
            for test, how in unpacked(pairs):
                number = self._numbers[test]
                hows[number] = hows.get(number, 0) | how
            groups: dict[int, list[int]] = {}
            for number in sorted(hows):
                groups.setdefault(hows[number], []).append(number)
            made = self._made[key] = tuple(ByTests(_HOWS[how], tuple(groups[how])) for how in sorted(groups))
        return made


class Attributions:
    """Attributes paths under other names: those that the image has for what was observed."""

    def __init__(self, observed: Observed) -> None:
        self._accesses = observed.accesses
        self._observed = {each.path: each for each in observed.attributed}
        self._sets = Sets(list(range(len(observed.tests))))
        self._seen_as: dict[bytes, set[bytes]] = {}

    def add(self, path: bytes, seen_as: bytes) -> None:
        """Note that `path` is a name of what was observed as `seen_as`."""
        if self._observed:
            self._seen_as.setdefault(path, set()).add(seen_as)

    def result(self) -> tuple[Attributed, ...]:
        """Each name of a path that a test used, sorted."""
        found = (self._united(path, sorted(seen)) for path, seen in sorted(self._seen_as.items()))
        return tuple(each for each in found if each.by)

    def _united(self, path: bytes, seen: Sequence[bytes]) -> Attributed:
        how, steps, pairs = How(0), set[int](), array("I")
        for each in seen:
            observed = self._observed.get(each)
            if observed is None:
                outside, at_steps = self._accesses[each]
            else:
                outside, at_steps = observed.how, observed.steps
                pairs.extend(pairs_of(observed.by, int))
            how |= outside
            steps.update(at_steps)
        return Attributed(path, how, tuple(sorted(steps)), self._sets.of(pairs))
