"""Names that documents have: those that are known are members, and any other comes out as it came in."""

from __future__ import annotations

import copy
import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.model.edit import EditKind
from slimagent.model.inventory import PackageKind
from slimagent.model.open_enum import OpenEnum
from slimagent.model.reason import ReasonKind
from slimagent.model.trace import LossKind

KINDS = (ReasonKind, LossKind, PackageKind, EditKind)


@pytest.mark.parametrize("kind", [each for kinds in KINDS for each in kinds], ids=repr)
def test_a_name_that_is_known_is_its_member(kind: OpenEnum) -> None:
    """Read from a document it is the member itself, and as text, however it is written, its name."""
    name = str(kind)
    assert type(kind)(name) is kind
    assert (f"{kind}", "%s" % kind, "".join([kind])) == (name, name, name)  # noqa: UP031
    assert (kind, hash(kind)) == (name, hash(name))
    assert copy.deepcopy(kind) is copy.copy(kind) is kind


@given(st.text())
def test_a_name_that_is_not_known_stays_as_it_is(text: str) -> None:
    """It equals its own text alone, says nothing to people, and goes through JSON unchanged."""
    for kinds in KINDS:
        kind = kinds(text)
        assert (kind, hash(kind), f"{kind}", kind.value) == (text, hash(text), text, text)
        assert (kind in list(kinds)) == (text in {str(each) for each in kinds})
        assert json.loads(json.dumps([kind])) == [text]
        assert orjson.loads(orjson.dumps([kind])) == [text]
        assert kind.sentence == "" or kind in list(kinds)


@pytest.mark.parametrize("value", [None, 3, b"rule", ["rule"]])
def test_what_is_not_text_is_no_name(value: object) -> None:
    """A document that has anything else there is damaged."""
    with pytest.raises(ValueError, match="is not a valid ReasonKind"):
        ReasonKind(value)  # type: ignore[arg-type]


def test_every_reason_has_a_sentence() -> None:
    """People are told why, whatever the reason is."""
    assert all(kind.sentence for kind in ReasonKind)
