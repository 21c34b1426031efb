"""The published schemas say what the documents are: no more than the decoder takes, and no less than is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from command_line import slimagent
from document_values import (
    FOREIGN,
    KINDS,
    MOST_BYTES,
    PAST_RUNS,
    PLAN,
    RECEIPTS,
    SAMPLES,
    SUMMARIES,
    TRACES,
    Kind,
    each_kind,
    places,
    plans,
    replaced,
    without,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemas import DIRECTORY, NAMES, problems, schema

from slimagent.documents import decode_summary, encode_history, encode_report, encode_summary
from slimagent.documents.envelope import VERSIONS
from slimagent.errors import DocumentError
from slimagent.model.history import PastRun
from slimagent.model.plan import Entry, Plan
from slimagent.model.proof import Receipt
from slimagent.model.report import Found
from slimagent.model.summary import Summary, Whole
from slimagent.model.trace import Trace
from slimagent.report.together import together

ROWS = ("change", "note", "use", "access", "package", "entry", "item")  # definitions that are rows
LATER = (("repairs",), ("searches",), ("gpu",), ("unstripped",))  # of a summary: earlier versions do not write them
# As large as `plans()` makes one: the sums in a report are not above what a document can have.
LARGEST = replace(PLAN, entries=tuple(Entry(b"/%d" % at, 1, MOST_BYTES, 0) for at in range(3)), hard_links=())
each_name = pytest.mark.parametrize("name", NAMES)


def refusal(decode: Callable[[bytes], Any], document: Any) -> str | None:
    """What the decoder says against a document, None if it takes it."""
    try:
        decode(orjson.dumps(document))
    except DocumentError as error:
        return error.message
    return None


def test_every_document_has_a_schema() -> None:
    """And there is no schema of anything else."""
    assert {f"slimagent/{name}" for name in NAMES} == set(VERSIONS)


@each_name
def test_it_is_a_schema_of_the_version_that_is_written(name: str) -> None:
    """JSON Schema 2020-12, with the name and the version that a document has."""
    found = schema(name)
    Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert found["properties"]["schema"] == {"const": f"slimagent/{name}"}
    assert found["properties"]["version"] == {"const": VERSIONS[f"slimagent/{name}"]}
    assert found["$id"] == f"urn:slimagent:schema:{name}:{VERSIONS[f'slimagent/{name}']}"


def test_what_documents_share_is_described_once() -> None:
    """A definition means the same in every schema that has it."""
    known: dict[str, Any] = {}
    for name in NAMES:
        for part, definition in schema(name)["$defs"].items():
            assert known.setdefault(part, definition) == definition, (name, part)


@each_name
def test_the_command_prints_it(name: str) -> None:
    """Byte for byte."""
    done = slimagent("schema", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (DIRECTORY / f"{name}.json").read_text()


def test_an_unknown_document_is_a_usage_error() -> None:
    """Which says what there is."""
    done = slimagent("schema", "plans")
    assert done.returncode == 2
    assert all(name in done.stderr for name in NAMES)


@each_kind
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(data=st.data())
def test_what_is_written_is_described(kind: Kind, data: st.DataObject) -> None:
    """Any value, with any bytes as file names: each member and each cell of a row is in the schema."""
    assert problems(kind.name, orjson.loads(kind.encode(data.draw(kind.values)))) == []


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(SUMMARIES)
def test_a_summary_is_described(summary: Summary) -> None:
    """Of a run that ended well or badly, early or late."""
    written = orjson.loads(encode_summary(summary))
    assert problems("summary", written) == []
    assert written["status"] == (0 if summary.failure is None else summary.failure.status)
    assert (written["error"] is None) == (summary.failure is None)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(SUMMARIES)
def test_a_summary_is_read_back(summary: Summary) -> None:
    """As it was written: the gate of a finished run reads it."""
    assert decode_summary(encode_summary(summary)) == summary


@pytest.mark.parametrize("member", ["status", "bytes_after", "worse", "owners", "phases"])
def test_a_damaged_summary_is_refused(member: str) -> None:
    """And the place is named."""
    whole = orjson.loads(encode_summary(Summary(tool="slimagent 0", command="run")))
    for wrong in ("word", -1, [7], 1.5):
        with pytest.raises(DocumentError, match=f"summary.json at {member}"):
            decode_summary(orjson.dumps({**whole, member: wrong}), "summary.json")
    del whole[member]
    with pytest.raises(DocumentError, match=member):
        decode_summary(orjson.dumps(whole))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(PAST_RUNS, st.none() | st.integers(-(2**53) + 1, 2**53 - 1)), max_size=3))
def test_a_history_is_described(rows: list[tuple[PastRun, int | None]]) -> None:
    """As `slimagent history show --json` prints it."""
    written = orjson.loads(encode_history(tuple(rows)))
    assert problems("history", written) == []
    assert [each["change"] for each in written["runs"]] == [change for _, change in rows]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(SUMMARIES, st.none() | plans(), st.none() | RECEIPTS, st.none() | TRACES)
@example(SAMPLES["summary"], LARGEST, None, None)
def test_a_report_is_described(
    summary: Summary, plan: Plan | None, receipt: Receipt | None, trace: Trace | None
) -> None:
    """Of whatever documents there are."""
    found = (Found(name="plan.json", sha256=None, missing="no such file"), Found(name="x", sha256="aa"))
    whole = Whole(plan=plan, receipt=receipt, trace=trace)
    written = orjson.loads(encode_report(together(summary, whole, None, found)))
    assert problems("report", written) == []
    assert {"schema", "version", *written["summary"]} == set(orjson.loads(encode_summary(summary)))


def test_a_report_of_something_else_is_not_valid() -> None:
    """The schema can refuse: a value of another kind anywhere, a member that is missing."""
    report = together(
        SAMPLES["summary"], Whole(plan=PLAN, trace=SAMPLES["trace"]), None, (Found(name="x", sha256="a"),)
    )
    written = orjson.loads(encode_report(report))
    validator = Draft202012Validator(schema("report"))
    assert validator.is_valid(written)
    inside = [place for place in places(written)[1:] if place[0] != "summary" and not isinstance(place[-1], int)]
    for place in inside:
        assert not validator.is_valid(without(written, place)) or place in LATER, place
        assert not validator.is_valid(replaced(written, place, {"neither": "here"})), place


def test_a_summary_of_something_else_is_not_valid() -> None:
    """The schema can refuse: a value of another kind anywhere, a member that is missing."""
    written = orjson.loads(encode_summary(Summary(tool="slimagent 0", command="run")))
    validator = Draft202012Validator(schema("summary"))
    assert validator.is_valid(written)
    for place in places(written)[1:]:
        assert not validator.is_valid(without(written, place)) or place in LATER, place
        assert not validator.is_valid(replaced(written, place, {"neither": "here"})), place


@each_kind
def test_a_wrong_value_is_refused_by_both(kind: Kind) -> None:
    """Wherever a value of another kind stands, decoder and schema agree. A schema cannot say where an index leads."""
    whole = orjson.loads(kind.encode(SAMPLES[kind.name]))
    validator = Draft202012Validator(schema(kind.name))
    for place in places(whole):
        for wrong in FOREIGN:
            document = replaced(whole, place, wrong)
            said = refusal(kind.decode, document)
            leads_nowhere = said is not None and ("leads nowhere" in said or "no such " in said)
            assert leads_nowhere or validator.is_valid(document) == (said is None), (place, wrong, said)


@each_kind
def test_a_missing_value_is_refused_by_both(kind: Kind) -> None:
    """Without a member, or a cell of a row, decoder and schema agree."""
    whole = orjson.loads(kind.encode(SAMPLES[kind.name]))
    validator = Draft202012Validator(schema(kind.name))
    for place in places(whole)[1:]:
        document = without(whole, place)
        said = refusal(kind.decode, document)
        leads_nowhere = said is not None and ("leads nowhere" in said or "no such " in said)
        assert leads_nowhere or validator.is_valid(document) == (said is None), (place, said)


TEXTS = st.text(st.sampled_from("/a\\x0189f\n\0"), max_size=8)


@given(TEXTS)
def test_a_path_is_refused_by_both(text: str) -> None:
    """An escape that is not written, a path that is not absolute, a NUL byte: decoder and schema agree."""
    kind = next(each for each in KINDS if each.name == "verification")
    whole = orjson.loads(kind.encode(SAMPLES[kind.name]))
    whole["missed"][0]["path"] = text
    assert Draft202012Validator(schema(kind.name)).is_valid(whole) == (refusal(kind.decode, whole) is None)


def test_the_page_names_every_member_of_a_summary() -> None:
    """And every list of rows."""
    page = (Path(__file__).parents[2] / "docs/documents.md").read_text()
    rows = {
        member
        for name in NAMES
        for member, value in schema(name)["properties"].items()
        if value.get("items", {}).get("$ref", "").rpartition("/")[2] in ROWS or "prefixItems" in value.get("items", {})
    }
    assert {"entries", "uses", "left_alone"} <= rows
    missing = {each for each in {*schema("summary")["properties"], *rows} if f"`{each}`" not in page}
    assert missing == set()
