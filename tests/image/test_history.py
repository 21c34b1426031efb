"""An image's history beside its description: both engines' forms, and what makes no sense."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.image.history import with_history

DOCKER = b"""\
{"Comment":"","CreatedAt":"2026-11-23T10:40:38+01:00","CreatedBy":"/bin/sh -c #(nop)  CMD [\\"x\\"]","Size":"0B"}
{"Comment":"Imported","CreatedAt":"2026-11-22T09:00:00Z","CreatedBy":"","ID":"b","Size":"1GB"}
"""
PODMAN = b"""[
 {"id": "a", "created": "2026-11-23T09:40:38Z", "CreatedBy": "CMD [\\"x\\"]", "size": 0, "comment": ""},
 {"id": "b", "created": "2026-11-22T09:00:00Z", "CreatedBy": "", "size": 5, "comment": "Imported"}
]"""


def history(told: bytes, inspected: bytes = b'[{"Id": "a"}]') -> Any:
    return json.loads(with_history(inspected, told))[0].get("History")


@pytest.mark.parametrize(("told", "command"), [(DOCKER, '/bin/sh -c #(nop)  CMD ["x"]'), (PODMAN, 'CMD ["x"]')])
def test_history_is_as_in_a_configuration(told: bytes, command: str) -> None:
    """The oldest first, times in UTC, and no member claims a layer: those are others now."""
    assert history(told) == [
        {"created": "2026-11-22T09:00:00Z", "comment": "Imported", "empty_layer": True},
        {"created": "2026-11-23T09:40:38Z", "created_by": command, "empty_layer": True},
    ]


def test_history_that_the_engine_gave_is_believed() -> None:
    """Podman's description has it; what is unknown in it stays."""
    given_history = b'[{"History": [{"created_by": "x", "extra": 1}]}]'
    assert history(DOCKER, given_history) == [{"created_by": "x", "extra": 1, "empty_layer": True}]


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_what_makes_no_sense_is_left_out(inspected: bytes, told: bytes) -> None:
    """History is for people: a description without it works. Nothing raises."""
    assert isinstance(with_history(inspected, told), bytes)
    assert isinstance(with_history(b"[{}]", told), bytes)


@pytest.mark.parametrize("told", [b"{", b"null", b"[1, 2]", b'{"CreatedAt": 7, "CreatedBy": ["x"]}', b"", b"[[]]"])
def test_a_damaged_history_gives_no_wrong_members(told: bytes) -> None:
    """Values of a wrong kind are not passed on."""
    assert history(told) in (None, [], [{"empty_layer": True}])
