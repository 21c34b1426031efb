"""The trace as a document: its accesses by the hundred thousand. See `documents` for what all of them promise."""

from __future__ import annotations

import hashlib
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
from slimagent.model.trace import Access, BlindSpot, How, Run, Trace, Use
from slimagent.paths.algebra import to_text
from slimagent.text.escapes import quoted
from slimagent.text.shape import Place, ShapeError, string

TRACE = "slimagent/trace"
_HOW_WORDS = {How.LOOKED_UP: "looked-up", How.OPENED: "opened", How.EXECUTED: "executed", How.LISTED: "listed"}
_WORD_HOWS = {word: how for how, word in _HOW_WORDS.items()}
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
    return dump(
        TRACE,
        put_members(_MEMBERS, trace),
        {
            "changes": map(CHANGE.put, trace.changes),
            "uses": map(_put_use, uses),
            "accesses": ([to_text(path), uses[int(how), steps, found]] for path, how, steps, found in trace.accesses),
        },
    )


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

    return trace, uses, place["accesses"].rows(get_used)


def identified(trace: Trace) -> Trace:
    """The trace of one run, whose identity is the digest of everything else that the trace says."""
    (run,) = trace.runs
    nameless = replace(trace, runs=(replace(run, identity=""),))
    identity = hashlib.sha256(encode_trace(nameless)).hexdigest()
    return replace(trace, runs=(replace(run, identity=identity),))


def _put_use(use: _Use) -> list[Any]:
    how, steps, found = use
    return [[word for done, word in _HOW_WORDS.items() if done & how], list(steps), found]


def _get_use(row: Any, steps: int) -> Use:
    """A row as a use in a trace that has so many steps."""
    words, at_steps, found = cells(row, 3)
    if not isinstance(words, list):
        raise ShapeError(words, "a list of words")
    how = How(0)
    for word in words:
        how |= _WORD_HOWS[string(word)]
    if not how or not isinstance(found, bool):
        raise ValueError("a use needs what was done, and whether it was found")
    if max(indices(at_steps), default=-1) >= steps:
        raise ValueError(f"no such step: {max(at_steps)}")
    return Use(how, indices(at_steps), found)
