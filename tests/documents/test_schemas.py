"""The published schemas say what the documents are: no more than the decoder takes, and no less than is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from command_line import slimagent
from document_values import FOREIGN, KINDS, SAMPLES, SUMMARIES, Kind, each_kind, places, replaced, without
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemas import DIRECTORY, NAMES, problems, schema

from slimagent.documents import encode_summary
from slimagent.documents.envelope import VERSIONS
from slimagent.errors import DocumentError
from slimagent.model.summary import Summary

ROWS = ("change", "note", "use", "access", "package", "entry", "item")  # definitions that are rows
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


def test_a_summary_of_something_else_is_not_valid() -> None:
    """The schema can refuse: a value of another kind anywhere, a member that is missing."""
    written = orjson.loads(encode_summary(Summary(tool="slimagent 0", command="run")))
    validator = Draft202012Validator(schema("summary"))
    assert validator.is_valid(written)
    for place in places(written)[1:]:
        assert not validator.is_valid(without(written, place)), place
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
            leads_nowhere = said is not None and ("leads nowhere" in said or "there is no" in said)
            assert leads_nowhere or validator.is_valid(document) == (said is None), (place, wrong, said)


@each_kind
def test_a_missing_value_is_refused_by_both(kind: Kind) -> None:
    """Without a member, or a cell of a row, decoder and schema agree."""
    whole = orjson.loads(kind.encode(SAMPLES[kind.name]))
    validator = Draft202012Validator(schema(kind.name))
    for place in places(whole)[1:]:
        document = without(whole, place)
        said = refusal(kind.decode, document)
        leads_nowhere = said is not None and ("leads nowhere" in said or "there is no" in said)
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
