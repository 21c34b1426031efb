"""The trace as a document: its accesses by the hundred thousand. See `documents` for what all of them promise."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from slimagent.documents.envelope import dump, load
from slimagent.documents.parts import (
    BOOLEAN,
    CHANGE,
    LOSS,
    PATHS,
    RESULT,
    TEXT,
    TEXTS,
    Form,
    absolute,
    an_object,
    cells,
    each,
    get_members,
    indices,
    member,
    put_members,
)
from slimagent.model.trace import Access, Attributed, BlindSpot, ByTests, How, MarkedTest, Run, Trace, Use
from slimagent.paths.algebra import to_text
from slimagent.text.escapes import quoted
from slimagent.text.shape import Place, ShapeError, string, whole

TRACE = "slimagent/trace"
MOST_PAIRS = 1 << 25  # of a test and a path, in all rows of a document: what memory may be spent on
_HOW_WORDS = {How.LOOKED_UP: "looked-up", How.OPENED: "opened", How.EXECUTED: "executed", How.LISTED: "listed"}
_WORD_HOWS = {word: how for how, word in _HOW_WORDS.items()}
_TestUse = tuple[int, tuple[int, ...], tuple[tuple[int, tuple[int, ...]], ...]]  # how, steps, by tests
_Use = tuple[int, tuple[int, ...], bool]  # how, steps, found; an `IntFlag` is slow as a key

_RUN = an_object(
    Run,
    identity=TEXT,
    tool=TEXT,
    backend=TEXT,
    passed_over=each(
        Form(
            lambda passed: {"backend": passed[0], "why": passed[1]},
            lambda place: (place["backend"].text(), place["why"].text()),
        )
    ),
    blind_spots=each(member(BlindSpot)),
    kernel=TEXT,
    user=TEXT,
    no_new_privileges=BOOLEAN,
    profiles=TEXTS,
    after=TEXT,
    losses=each(LOSS),
    volumes=PATHS,
    mounts=PATHS,
    asked_ports=Form(list, lambda place: place.each(Place.unsigned)),
    steps=each(RESULT),
)
_MEMBERS = {"before": TEXT, "architecture": TEXT, "scopes": PATHS, "excluded": PATHS, "runs": each(_RUN)}


def encode_trace(trace: Trace) -> bytes:
    """A trace as bytes.

    Rows of `uses` are [[what was done], [steps], found], each once; rows of `accesses` are [path, index into uses].
    """
    uses: dict[_Use, int] = {}
    for _, how, steps, found in trace.accesses:
        uses.setdefault((int(how), steps, found), len(uses))
    rows: dict[str, Iterator[Any]] = {
        "changes": map(CHANGE.put, trace.changes),
        "uses": map(_put_use, uses),
        "accesses": ([to_text(path), uses[int(how), steps, found]] for path, how, steps, found in trace.accesses),
    }
    members = put_members(_MEMBERS, trace)
    if trace.tests or trace.tests_cut:
        members["tests_cut"] = trace.tests_cut
        rows |= _put_tests(trace)
    return dump(TRACE, members, rows)


def _put_tests(trace: Trace) -> dict[str, Iterator[Any]]:
    """The members of a trace whose steps marked tests.

    Rows of `tests` are [index of the step, name]. Rows of `test_uses` are [[what was done outside of all tests], [in
    which steps], [[[what was done], [first test, last test, ...]], ...]], each once. Rows of `attributed` are [index
    into accesses, index into test_uses].
    """
    uses: dict[_TestUse, int] = {}
    at = {access.path: at for at, access in enumerate(trace.accesses)}
    attributed = []
    for path, how, steps, by in trace.attributed:
        use = int(how), steps, tuple((int(how), tests) for how, tests in by)
        attributed.append([at[path], uses.setdefault(use, len(uses))])
    return {"tests": map(list, trace.tests), "test_uses": map(_put_test_use, uses), "attributed": iter(attributed)}


def decode_trace(data: bytes, document: str = "trace") -> Trace:
    """Bytes as a trace. Raises DocumentError."""
    trace, uses, used = decode_uses(data, document, {})
    return replace(trace, accesses=tuple(Access(path, *uses[use]) for path, use in used))


def decode_uses(
    data: bytes, document: str, known: dict[str, bytes]
) -> tuple[Trace, tuple[Use, ...], tuple[tuple[bytes, int], ...]]:
    """A trace without accesses, and they apart, as they are written: uses, and for each path the index of its use.

    `known` holds the paths of traces that were decoded before, by how they are written, and takes those of this one:
    traces of one image share most of theirs. Raises DocumentError.
    """
    place = load(data, TRACE, document)
    members = get_members(_MEMBERS, place)
    trace = Trace(**members, accesses=(), changes=place["changes"].rows(CHANGE.get))
    steps = sum(len(run.steps) for run in trace.runs)
    uses = place["uses"].rows(lambda row: _get_use(row, steps))
    count = len(uses)

    def get_used(row: Any) -> tuple[bytes, int]:
        text, use = row  # a merge takes in millions of these: no call that can be spared
        path = known.get(text)
        if path is None:
            path = known[text] = absolute(text)
        if type(use) is not int or not 0 <= use < count:
            raise ValueError(f"no such use: {quoted(use)}")
        return path, use

    accesses = place["accesses"].rows(get_used)
    if "tests" in place.value:
        trace = replace(trace, **_get_tests(place, steps, accesses))
    return trace, uses, accesses


def _get_tests(place: Place, steps: int, accesses: Sequence[tuple[bytes, int]]) -> dict[str, Any]:
    """The members that `_put_tests` writes, of a trace that has so many steps."""
    tests = place["tests"].rows(lambda row: _get_test(row, steps))
    numbers = list(range(len(tests)))  # many sets share these
    room = MOST_PAIRS

    def get_use(row: Any) -> tuple[How, tuple[int, ...], tuple[ByTests, ...]]:
        nonlocal room
        words, at_steps, rows = cells(row, 3)
        if max(indices(at_steps), default=-1) >= steps:
            raise ValueError(f"no such step: {max(at_steps)}")
        if not isinstance(rows, list) or not rows:
            raise ShapeError(rows, "a list of what tests did")
        by = []
        for group in rows:
            done, ranges = cells(group, 2)
            room -= _length(ranges, len(tests))
            if room < 0:
                raise ValueError("more tests than a trace may have")
            of = tuple(number for first, last in _pairs(ranges) for number in numbers[first : last + 1])
            by.append(ByTests(_get_how(done), of))
        return _get_how(words, may_be_none=True), indices(at_steps), tuple(by)

    uses = place["test_uses"].rows(get_use)

    def get_attributed(row: Any) -> Attributed:
        at, use = cells(row, 2)
        if not (0 <= whole(at) < len(accesses) and 0 <= whole(use) < len(uses)):
            raise ValueError("no such access, or no such use")
        return Attributed(accesses[at][0], *uses[use])

    attributed = place["attributed"].rows(get_attributed)
    return {"tests": tests, "attributed": attributed, "tests_cut": place["tests_cut"].boolean()}


def _get_test(row: Any, steps: int) -> MarkedTest:
    step, name = cells(row, 2)
    if not 0 <= whole(step) < steps:
        raise ValueError(f"no such step: {step}")
    return MarkedTest(step, string(name))


def _pairs(ranges: Any) -> Iterator[tuple[int, int]]:
    return zip(ranges[::2], ranges[1::2], strict=True)


def _length(ranges: Any, tests: int) -> int:
    """How many tests are in ranges. Raises ValueError unless these are sorted, apart, and of a trace's tests."""
    if len(indices(ranges)) % 2 or not ranges:
        raise ShapeError(ranges, "pairs of a first and a last test")
    total, before = 0, -1
    for first, last in _pairs(ranges):
        if not before < first <= last < tests:
            raise ValueError(f"no such tests, or out of order: {first} to {last}")
        total, before = total + last - first + 1, last
    return total


def _put_test_use(use: _TestUse) -> list[Any]:
    how, steps, by = use
    return [_words(how), list(steps), [[_words(done), _ranges(tests)] for done, tests in by]]


def _ranges(tests: Sequence[int]) -> list[int]:
    """Sorted numbers as pairs of a first and a last one.

    >>> _ranges((1, 2, 3, 7))
    [1, 3, 7, 7]
    """
    found: list[int] = []
    for number in tests:
        if found and found[-1] == number - 1:
            found[-1] = number
        else:
            found += (number, number)
    return found


def identified(trace: Trace) -> Trace:
    """The trace of one run, whose identity is the digest of everything else that the trace says."""
    (run,) = trace.runs
    nameless = replace(trace, runs=(replace(run, identity=""),))
    identity = hashlib.sha256(encode_trace(nameless)).hexdigest()
    return replace(trace, runs=(replace(run, identity=identity),))


def _put_use(use: _Use) -> list[Any]:
    how, steps, found = use
    return [_words(how), list(steps), found]


def _words(how: int) -> list[str]:
    return [word for done, word in _HOW_WORDS.items() if done & how]


def _get_use(row: Any, steps: int) -> Use:
    """A row as a use in a trace that has so many steps."""
    words, at_steps, found = cells(row, 3)
    how = _get_how(words)
    if not isinstance(found, bool):
        raise ShapeError(found, "whether it was found")
    if max(indices(at_steps), default=-1) >= steps:
        raise ValueError(f"no such step: {max(at_steps)}")
    return Use(how, indices(at_steps), found)


def _get_how(words: Any, *, may_be_none: bool = False) -> How:
    if not isinstance(words, list):
        raise ShapeError(words, "a list of words")
    how = How(0)
    for word in words:
        how |= _WORD_HOWS[string(word)]
    if not how and not may_be_none:
        raise ValueError("a use needs what was done")
    return how
