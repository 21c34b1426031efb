"""How an image that slimagent made is known again."""

from __future__ import annotations

import json

import pytest

from slimagent.errors import DocumentError
from slimagent.image.labels import has_layers, identity, made_by_us, with_labels
from slimagent.model.image_config import read_image_config

OURS = b'{"CreatedBy":"slimagent 1.0 apply: layer base","Comment":""}\n{"CreatedBy":"RUN make"}\n'
THEIRS = b'{"CreatedBy":"LABEL x=y"}\n' + OURS


def described(**config: object) -> bytes:
    """What an engine prints of an image."""
    return json.dumps([{"Id": "sha256:12", "Architecture": "amd64", "Os": "linux", "Config": config}]).encode()


@pytest.mark.parametrize("labels", [None, {}, {"a": "b", "io.slimagent.source": "old"}])
def test_labels_reach_the_configuration_of_an_export(labels: dict[str, str] | None) -> None:
    """The image's own stay, and everything else."""
    config = read_image_config(with_labels(described(User="me", Labels=labels), "app:1", "2.0"))
    assert config.user == "me"
    own = {"a": "b"} if labels else {}
    assert config.labels == own | {
        "io.slimagent.version": "2.0",
        "io.slimagent.source": "app:1",
        "io.slimagent.source.id": "sha256:12",
    }


def test_an_image_without_a_configuration_gets_one() -> None:
    """An engine writes null for that."""
    data = json.dumps([{"Id": "x", "Architecture": "amd64", "Os": "linux", "Config": None}]).encode()
    assert read_image_config(with_labels(data, "app", "1")).labels["io.slimagent.source"] == "app"


def test_an_image_of_ours_is_known() -> None:
    """Docker prints an object a line, Podman a list."""
    ours = with_labels(described(), "app", "1")
    assert made_by_us(ours, OURS)
    assert made_by_us(ours, b'[{"createdBy":"slimagent 1.0 apply: layer base"}]')


def test_an_image_of_others_is_known() -> None:
    """One without labels, and one that was built from ours: it inherits the labels."""
    ours = with_labels(described(), "app", "1")
    assert not made_by_us(described(), OURS)
    assert not made_by_us(ours, THEIRS)
    assert not made_by_us(ours, b"")


def test_what_an_engine_says_is_read_with_care() -> None:
    """It names itself in the message."""
    assert identity(described()) == "sha256:12"
    for data in (b"", b"[]", b"[1]"):
        with pytest.raises(DocumentError, match="the engine's description of an image"):
            identity(data)


@pytest.mark.parametrize(
    ("image", "has"),
    [
        ({"RootFS": {"Type": "layers", "Layers": ["sha256:1"]}}, True),
        ({"RootFS": {"Type": "layers"}}, False),
        ({"RootFS": {"Type": "layers", "Layers": None}}, False),
        ({"RootFS": {"Type": "layers", "Layers": []}}, False),
        ({}, True),
        ({"RootFS": None}, True),
    ],
)
def test_an_image_can_have_no_layers(image: dict[str, object], has: bool) -> None:
    """Docker leaves the list out; an engine that says nothing of layers denies none."""
    assert has_layers(json.dumps([image]).encode()) is has
