"""Names of images that tests on the host may move, against a real engine."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_images import told

from slimagent.errors import RefusedError
from slimagent.image.engine import Engine
from slimagent.image.image_names import ImageNames


@pytest.fixture
def other(probe: str, tmp_path: Path) -> Iterator[str]:
    """An image that is built on the probe."""
    tag = f"slimagent-test-names:{secrets.token_hex(4)}-other"
    (tmp_path / "Dockerfile").write_text(f"FROM {probe}\nLABEL a={tag}\n")
    subprocess.run(["docker", "build", "-q", "-t", tag, str(tmp_path)], check=True, capture_output=True)
    yield tag
    told("rmi", "-f", tag)


@pytest.fixture
def names(probe: str) -> Iterator[list[str]]:
    """Three names of the probe. They need not stay its names."""
    made = [f"slimagent-test-names:{secrets.token_hex(4)}" for _ in range(3)]
    for each in made:
        told("tag", probe, each)
    yield made
    told("rmi", "-f", *made)


def known(engine: Engine, names: list[str], heard: list[str]) -> ImageNames:
    """As a run begins that examines the probe by the first name, and knows of the second."""
    form = "{{.Id}} {{range .RootFS.Layers}}{{.}} {{end}}"
    identity, *layers = told("image", "inspect", "-f", form, names[0])
    return ImageNames(engine.socket(), identity, names[0], [names[1]], layers, heard.append)


def test_any_name_of_the_image_stands_for_it(engine: Engine, names: list[str], other: str) -> None:
    """In full, in short, as the beginning of its ID. What is built on it is told of once, and what is absent is not."""
    heard: list[str] = []
    image = known(engine, names, heard)
    identity = told("image", "inspect", "-f", "{{.Id}}", names[0])[0]
    for each in (*names, f"docker.io/library/{names[0]}", identity, identity[7:20]):
        assert image.stands_for_it(each), each
    for each in ("nosuch-image", "", "No Such", other, other):
        assert not image.stands_for_it(each), each
    image.see_that_it_stayed()
    assert heard == [f"{other} is built on the image: what its containers need of it was not seen, nor proved"]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_name_that_moves_is_refused(engine: Engine, names: list[str], other: str, which: int) -> None:
    """The user's own, another one that the image had at first, and one that a client used before: however written."""
    image = known(engine, names, [])
    assert image.stands_for_it(names[2])
    told("tag", other, names[which])
    for each in (names[which], f"docker.io/library/{names[which]}"):
        with pytest.raises(RefusedError, match="no longer the image") as caught:
            image.stands_for_it(each)
        assert "do not build, pull or tag" in caught.value.hint
    assert not image.stands_for_it(other)


def test_a_moved_name_that_no_client_used(engine: Engine, names: list[str], other: str) -> None:
    """The tests built it, and went on with its ID. A name that is gone has not moved."""
    image = known(engine, names, [])
    told("rmi", names[0])
    image.see_that_it_stayed()
    told("tag", other, names[0])
    with pytest.raises(RefusedError, match="no longer the image"):
        image.see_that_it_stayed()
