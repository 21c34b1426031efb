"""Documents: what is written is read back, and what is damaged is refused with its place."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson
import pytest
from document_values import (
    ACCESS,
    FOREIGN,
    FOREIGN_BYTES,
    KINDS,
    PLAN,
    RECEIPT,
    RESULT,
    RUN,
    SAMPLES,
    TRACE,
    Kind,
    each_kind,
    places,
    replaced,
    without,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slimagent import documents
from slimagent.errors import DocumentError
from slimagent.model.summary import Failure, Summary


def one_line(error: DocumentError) -> bool:
    return error.message.isprintable() and error.hint.isprintable() and bool(error.hint)


def read_or_refuse(kind: Kind, data: bytes) -> Any:
    """The value, or None if it is refused as it should be."""
    try:
        return kind.decode(data)
    except DocumentError as error:
        assert one_line(error), error.message
        return None


@each_kind
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(data=st.data())
def test_what_is_written_is_read_back(kind: Kind, data: st.DataObject) -> None:
    """Any value, with any bytes as file names, comes back equal, and is written as the same bytes each time."""
    value = data.draw(kind.values)
    encoded = kind.encode(value)
    assert kind.decode(encoded) == value
    assert kind.encode(kind.decode(encoded)) == encoded
    assert encoded.endswith(b"\n")


@each_kind
def test_a_document_that_was_cut_off_is_refused(kind: Kind) -> None:
    """Cut off at any byte, a document is refused; only the line break at its end may be missing."""
    value = SAMPLES[kind.name]
    encoded = kind.encode(value)
    for length in range(len(encoded) - 1):
        with pytest.raises(DocumentError) as caught:
            kind.decode(encoded[:length])
        assert one_line(caught.value)
    assert kind.decode(encoded[:-1]) == value


@each_kind
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_flipped_bytes_are_refused_or_harmless(kind: Kind, data: st.DataObject) -> None:
    """With some bytes changed, a document is a whole document of its kind or is refused in one line."""
    encoded = bytearray(kind.encode(SAMPLES[kind.name]))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    value = read_or_refuse(kind, bytes(encoded))
    assert value is None or kind.decode(kind.encode(value)) == value


@each_kind
@given(noise=st.binary(max_size=60))
def test_noise_is_refused(kind: Kind, noise: bytes) -> None:
    """Bytes that are no document are refused."""
    assert read_or_refuse(kind, noise) is None


def same(one: Any, other: Any) -> bool:
    """Equal with equal types: 1 is not True."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@each_kind
def test_a_wrong_value_at_any_place_is_refused_or_kept_as_it_is(kind: Kind) -> None:
    """Wherever a value of another kind stands, the document is refused, or it is understood as exactly what it says."""
    whole = orjson.loads(kind.encode(SAMPLES[kind.name]))
    foreign = [*FOREIGN, *(orjson.Fragment(each) for each in FOREIGN_BYTES)]
    for place in places(whole):
        for wrong in foreign:
            data = orjson.dumps(replaced(whole, place, wrong))
            value = read_or_refuse(kind, data)
            if value is None:
                continue
            said, understood = resolved(orjson.loads(data)), resolved(orjson.loads(kind.encode(value)))
            for key in said:
                assert understands(said[key], understood[key]), (place, wrong)


def resolved(document: dict[str, Any]) -> dict[str, Any]:
    """The document with each access's use in place of its index: one that no access has says nothing."""
    if "uses" in document:
        document["accesses"] = [[path, document["uses"][use]] for path, use in document["accesses"]]
        del document["uses"]
    return document


def understands(said: Any, understood: Any) -> bool:
    """The same but for what may be spelled in two ways: 7 and 7.0, a reason's empty members, the order of words."""
    if isinstance(said, dict) and isinstance(understood, dict):
        left_out = said.keys() - understood.keys()
        return all(not said[key] for key in left_out) and all(
            key in said and understands(said[key], understood[key]) for key in understood
        )
    if isinstance(said, list) and isinstance(understood, list):
        return len(said) == len(understood) and all(map(understands, said, understood))
    if isinstance(said, int) and isinstance(understood, float):
        return not isinstance(said, bool) and said == understood
    return same(said, understood)


OPTIONAL = (
    *("detail", "source", "steps", "package"),  # of a reason
    *(
        *("repairs", "searches", "gpu", "unstripped"),  # of a summary: the first ones do not have them
        "distribution",
        "descriptions",
        "hard_links",
        "unread",
        "licenses",
        "architecture",
        "build",
        "channel",
    ),  # later than the first plans
    "gpu",  # of a plan: where nobody said which GPUs the image is for
)


@each_kind
def test_a_missing_member_is_refused(kind: Kind) -> None:
    """Without any one of its members or cells, a document is refused, but for lists that may be shorter."""
    whole = orjson.loads(kind.encode(SAMPLES[kind.name]))
    for place in places(whole)[1:]:
        value = read_or_refuse(kind, orjson.dumps(without(whole, place)))
        assert value is None or isinstance(place[-1], int) or place[-1] in OPTIONAL, place


@pytest.mark.parametrize(
    ("kind", "place", "wrong", "named"),
    [
        ("trace", ("runs", 0, "steps", 3, "outcome"), "perfect", "runs[0].steps[3].outcome"),
        ("trace", ("runs", 0, "steps", 0, "items", 1), ["x", "odd", ""], "runs[0].steps[0].items[1]"),
        ("trace", ("accesses", 17), ["relative", 0], "accesses[17]"),
        ("trace", ("accesses", 2), ["/a", 1], "accesses[2]"),
        ("trace", ("accesses", 3), ["/a", -1], "accesses[3]"),
        ("trace", ("uses", 0), [["touched"], [0], True], "uses[0]"),
        ("trace", ("uses", 0), [[], [0], True], "uses[0]"),
        ("trace", ("uses", 0), [["opened"], [-1], True], "uses[0]"),
        ("trace", ("uses", 0), [["opened"], [4], True], "uses[0]"),
        ("trace", ("uses", 0), [["opened"], [0], 1], "uses[0]"),
        ("trace", ("changes", 0), ["/a", "created"], "changes[0]"),
        ("trace", ("runs", 0, "losses", 0, "count"), 1.5, "runs[0].losses[0].count"),
        ("trace", ("scopes", 0), "usr", "scopes[0]"),
        ("trace", ("runs", 0, "no_new_privileges"), 0, "runs[0].no_new_privileges"),
        ("plan", ("reasons", 1, "verdict"), "perhaps", "reasons[1]"),
        ("plan", ("entries", 1), ["/x", 2, 0, 0, -1], "entries[1]"),
        ("plan", ("entries", 1), ["/x", -1, 0, 0, -1], "entries[1]"),
        ("plan", ("entries", 1), ["/x", 0, 0, 0], "entries[1]"),
        ("plan", ("steps", 0), ["imports"], "steps[0]"),
        ("plan", ("steps", 0, 1), 7, "steps[0]"),
        ("plan", ("packages", 0), ["dpkg", "vim"], "packages[0]"),
        ("plan", ("packages", 1, 5), 0, "packages[1]"),
        ("plan", ("packages", 1, 3), "usr", "packages[1]"),
        ("plan", ("packages", 1, 10), [-1], "packages[1]"),
        ("plan", ("further", 0), [1, "x"], "further[0]"),
        ("plan", ("hard_links", 0), [0], "hard_links[0]"),
        ("plan", ("edits", 0), ["/status", "dpkg-status", "vim"], "edits[0]"),
        ("plan", ("problems", 0), ["/status"], "problems[0]"),
        ("plan", ("unresolved", 0), "/a", "unresolved[0]"),
        ("plan", ("root",), "\\x2fetc", "root"),
        ("plan", ("gpu", "ptx"), 1, "gpu.ptx"),
        ("plan", ("gpu", "files", 0), ["/x", -1, ""], "gpu.files[0]"),
        ("plan", ("gpu", "left", 0), ["y.so", "it is odd", 0], "gpu.left[0]"),
        ("receipt", ("left_alone", 0), "/a", "left_alone[0]"),
        ("receipt", ("kept",), True, "kept"),
        ("verification", ("missed", 0, "path"), "", "missed[0].path"),
        ("verification", ("comparisons", 0, "after"), None, "comparisons[0].after"),
        ("checks", ("results", 0, "seconds"), "long", "results[0].seconds"),
    ],
)
def test_the_place_of_a_mistake_is_named(kind: str, place: tuple[Any, ...], wrong: Any, named: str) -> None:
    """The message says which document and where in it: `mine.json at steps[3].outcome`."""
    whole = orjson.loads(getattr(documents, f"encode_{kind}")(SAMPLES[kind]))
    with pytest.raises(DocumentError) as caught:
        getattr(documents, f"decode_{kind}")(orjson.dumps(replaced(whole, place, wrong)), "mine.json")
    assert caught.value.message.startswith(f"mine.json at {named}: ")
    assert one_line(caught.value)


def test_a_plan_that_does_not_say_what_is_unread_leaves_it_open() -> None:
    """The first plans of this version: a package of any kind can be missing for any of the problems."""
    whole = orjson.loads(
        documents.encode_plan(dataclasses.replace(PLAN, problems=((b"/a", "x"), (b"/a", "y"), (b"/b", "z"))))
    )
    del whole["unread"]
    assert documents.decode_plan(orjson.dumps(whole)).unread == ((b"/a", "*"), (b"/b", "*"))


@pytest.mark.parametrize("data", [b"[]", b"{}", b"7", b'{"schema": "other/trace", "version": 1}', b'{"schema": 7}'])
@each_kind
def test_foreign_json_is_refused(kind: Kind, data: bytes) -> None:
    """JSON that is not ours is called that, and the hint says what is expected."""
    with pytest.raises(DocumentError, match="not a document of slimagent") as caught:
        kind.decode(data)
    assert f"slimagent/{kind.name}" in caught.value.hint


@each_kind
def test_another_kind_of_document_is_refused(kind: Kind) -> None:
    """A document of ours in the place of another is called by its name."""
    for other in KINDS:
        if other is not kind:
            with pytest.raises(DocumentError, match=f"this is a slimagent/{other.name}") as caught:
                kind.decode(other.encode(SAMPLES[other.name]))
            assert f"slimagent/{kind.name}" in caught.value.hint


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (("packages", 0, 6), 2),
        (("packages", 0, 6), -1),
        (("packages", 0, 10), [0, 2]),
        (("reasons", 0, "package"), 2),
        (("reasons", 0, "package"), -1),
        (("entries", 0, 4), 2),
        (("entries", 0, 4), -2),
        (("further", 0, 0), 2),
        (("further", 0, 0), -1),
        (("further", 0, 1), [0, 2]),
        (("hard_links", 0, 0), -1),
        (("hard_links", 0, 1), 2),
    ],
)
def test_an_index_that_leads_nowhere_is_refused(place: tuple[Any, ...], wrong: Any) -> None:
    """Neither beyond the last package, reason or entry, nor counted from the end."""
    whole = orjson.loads(documents.encode_plan(PLAN))
    with pytest.raises(DocumentError, match="leads nowhere") as caught:
        documents.decode_plan(orjson.dumps(replaced(whole, place, wrong)), "mine.json")
    assert one_line(caught.value)


@pytest.mark.parametrize("version", [99, 0, "1", None, True, 1.5, [1], "the other"])
@each_kind
def test_another_version_is_refused(kind: Kind, version: Any) -> None:
    """A document of a version that we do not know is refused, with what to do: a plan of the first one, too."""
    whole = orjson.loads(kind.encode(SAMPLES[kind.name]))
    if version == "the other":
        version = whole["version"] - 1 or 2
    with pytest.raises(DocumentError, match="is not known") as caught:
        kind.decode(orjson.dumps({**whole, "version": version}))
    assert one_line(caught.value)
    is_older = type(version) is int and 0 < version < whole["version"]
    assert ("make it again" if is_older else "newer") in caught.value.hint


def test_text_that_is_not_unicode_is_written_as_its_bytes() -> None:
    """An argument of the traced command that is not UTF-8 costs no trace: it is shown as bytes."""
    step = dataclasses.replace(
        RESULT, detail="ls caf\udce9", items=(dataclasses.replace(RESULT.items[0], name="\udcff"),)
    )
    trace = documents.decode_trace(
        documents.encode_trace(dataclasses.replace(TRACE, runs=(dataclasses.replace(RUN, steps=(step,)),)))
    )
    assert trace.steps[0].detail == "ls caf\\xe9"
    assert trace.steps[0].items[0].name == "\\xff"
    receipt = dataclasses.replace(RECEIPT, left_alone=((b"/y", "caf\udce9"),))
    assert documents.decode_receipt(documents.encode_receipt(receipt)).left_alone == ((b"/y", "caf\\xe9"),)
    failure = Failure(slug="usage", status=2, message="caf\udce9", hint="")
    summary = Summary(tool="slimagent 0", command="image", tag="\udcff", failure=failure)
    written = orjson.loads(documents.encode_summary(summary))
    assert (written["tag"], written["error"]["message"]) == ("\\xff", "caf\\xe9")


def test_long_lists_are_written_a_record_a_line() -> None:
    """Two traces can be compared with diff: each access, and each change, has a line of its own."""
    lines = documents.encode_trace(TRACE).decode().splitlines()
    assert sum('"/usr/lib/latin1-\\\\xe9"' in line for line in lines) == len(TRACE.accesses)
    assert sum('"/new"' in line for line in lines) == len(TRACE.changes)


def test_more_rows_than_are_written_at_once() -> None:
    """A list of any length is written whole."""
    for count in (999, 1000, 1001, 2000):
        trace = dataclasses.replace(TRACE, accesses=(ACCESS,) * count)
        assert documents.decode_trace(documents.encode_trace(trace)) == trace
