"""An audit from outside that cannot be made says so, before anything is made or read for it."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import pytest

from slimagent.errors import UsageError
from slimagent.image.engine import Engine
from slimagent.workflows.audit_image import Asked, audit_image


class Empty(Engine):
    """An engine whose images have no layers, and which cannot save them: so is Docker's."""

    def __init__(self) -> None:
        super().__init__("docker", "/nothing")

    def inspect(self, image: str) -> bytes:
        return json.dumps([{"Id": "sha256:1", "RootFS": {"Type": "layers"}}]).encode()


def nothing(*_: object) -> NoReturn:
    raise AssertionError("the agent was made")


def test_an_image_without_layers_is_said_to_be_one() -> None:
    """The engine's own words are about an export that is not implemented."""
    silent: Any = None  # nothing is done that would be reported
    with pytest.raises(UsageError) as error:
        audit_image(Empty(), nothing, Asked(image="app:1"), silent, nothing)
    assert "app:1 has no layers" in error.value.message and error.value.hint
