"""A start that is watched from outside: it ends as soon as the agent has said something, also that it failed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import pytest

from slimagent.errors import UnavailableError
from slimagent.image.agent_error import ERROR, raise_error
from slimagent.image.engine import Engine
from slimagent.image.shared import Shared
from slimagent.image.starts import DIARY, Waiting, await_reached


class Running:
    """An engine whose container runs on, e.g. because the image's own program does not need the agent."""

    def wait(self, name: str, seconds: float | None = None) -> int | None:
        time.sleep(0.01)
        return None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (DIARY, '["head"]\n["reached","time",1.0,[],true]\n'),
        (ERROR, '{"status": 4, "message": "slimagent itself failed", "hint": "report it"}'),
    ],
)
def test_what_the_agent_says_ends_the_waiting(tmp_path: Path, name: str, said: str) -> None:
    """Far before the limit, which is the image's own to use up."""
    shared = Shared(str(tmp_path / "shared"))
    Path(shared.at(name)).write_text(said)
    began = time.monotonic()
    assert await_reached(cast(Engine, Running()), "c", shared, Waiting(seconds=3600)) is None
    assert time.monotonic() - began < 60
    if name == ERROR:
        with pytest.raises(UnavailableError, match="slimagent itself failed"):
            raise_error(shared, "image", "start", 0)
