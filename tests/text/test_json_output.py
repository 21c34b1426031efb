"""JSON of what may not be Unicode."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from slimagent.text.json_output import encoded, indented

NAMES = st.binary(max_size=6).map(lambda data: data.decode("utf-8", "surrogateescape"))


@given(st.recursive(NAMES | st.integers(0, 9), lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner)))
def test_any_name_can_be_written(value: object) -> None:
    """A byte that is not UTF-8 is shown as its number; what is Unicode comes back as it was."""
    read = json.loads(encoded(value))
    assert read == json.loads(indented(value))
    if "\\x" not in repr(read) and "\\udc" not in repr(value):
        assert read == value


def test_a_byte_that_is_not_utf_8_is_shown_by_its_number() -> None:
    """In keys and values, at any depth."""
    assert json.loads(encoded({"k\udcff": ["\udc80"]})) == {"k\\xff": ["\\x80"]}
