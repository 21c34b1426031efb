"""What runs unwatched while tests on the host do, against a real engine: it is noticed, whichever way it comes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_images import told

from slimagent.errors import RefusedError
from slimagent.image import owner
from slimagent.image.agent import Bundle
from slimagent.image.container import Container
from slimagent.image.engine import Engine
from slimagent.image.engine_events import Begun
from slimagent.image.hosting import Examined, Hosting
from slimagent.image.starts import Waiting
from slimagent.image.work import Work
from slimagent.model.image_labels import WATCHED

AGENT = Bundle(directory="/x", slimagent="1", architecture="x", loader="x", python="3", glibc="2", size=1)


@pytest.fixture
def hosting(engine: Engine, probe: str, tmp_path: Path) -> Iterator[Hosting]:
    """Tests that are about the probe."""
    described = engine.inspect(probe)
    (identity,) = told("image", "inspect", "-f", "{{.Id}}", probe)
    examined = Examined(name=probe, original=identity, image=identity, described=described)
    container = Container(image=identity)
    with Work(engine, AGENT, str(tmp_path), owner.new_key(), container, lambda line: None) as work:
        yield Hosting(work, examined, engine.socket(), "main", Waiting(), (), lambda line: None)


@pytest.fixture
def created(probe: str) -> Iterator[str]:
    """The ID of a container of the probe that nobody asked us for."""
    (identity,) = told("create", "--name", f"slimagent-test-{secrets.token_hex(4)}", "--network=none", probe, "0")
    yield identity
    told("rm", "-f", "--volumes", identity)


def begun(identity: str, image: str, name: str = "mine", *labels: str) -> Begun:
    return Begun(identity=identity, image=image, name=name, labels=frozenset(labels), when=time.time_ns())


def test_a_container_that_is_of_the_image_after_all(hosting: Hosting, created: str) -> None:
    """A name was given to the image between our look at it and the engine's. The container does not start."""
    changed, made = hosting.create({"Image": "nosuch-image"}, "")
    assert changed is None
    with pytest.raises(RefusedError, match="created unwatched"):
        made(created)
    with pytest.raises(RefusedError, match="created unwatched"):
        hosting.needed([], passed=False)
    assert hosting.close() == (created,)


def test_what_the_engine_started_without_us(hosting: Hosting, probe: str, created: str) -> None:
    """Of the image by any name, still there or gone. Others' containers, and those of other runs, do not count."""
    key = owner.new_key()
    others = [
        begun("0" * 64, "nosuch-image"),
        begun(created, probe, f"slimagent-{key}-3"),
        begun(created, probe, "x", WATCHED),
    ]
    hosting.needed(others, passed=False)
    for each in (begun(created, "nosuch-image"), begun("0" * 64, probe), begun("0" * 64, hosting.original)):
        with pytest.raises(RefusedError, match=r"the container mine of .* nobody watched it"):
            hosting.needed([*others, each], passed=False)


def test_what_a_build_runs(hosting: Hosting, created: str) -> None:
    """The builder's steps are containers of the image, while it builds and no longer."""
    with hosting.building():
        during = begun(created, hosting.original)
        hosting.needed([during], passed=False)
    hosting.needed([during], passed=False)
    with pytest.raises(RefusedError, match="nobody watched it"):
        hosting.needed([during, begun(created, hosting.original)], passed=False)
