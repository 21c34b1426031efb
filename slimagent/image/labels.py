"""The labels that mark an image as made by slimagent. Pure.

An image built FROM a slim one inherits its labels, so labels alone prove nothing: the newest entry of its history must
be slimagent's, too. An export adds the labels of its plan (`apply/export/oci.py`).
"""

from __future__ import annotations

from typing import Any

import orjson

from slimagent.errors import DocumentError
from slimagent.model.image_labels import EVERY, SOURCE, SOURCE_DIGEST, SOURCE_ID, VERSION
from slimagent.text.json_input import parsed

_TOOL = "slimagent "  # how `created_by` of our layers begins


def with_labels(described: bytes, source: str, version: str) -> bytes:
    """Add slimagent's labels to what `image inspect` printed.

    `source` is the image's name as the user gave it. An export takes its configuration from this. Raises DocumentError.
    """
    image = _image(described)
    config = image.get("Config")
    if not isinstance(config, dict):
        config = image["Config"] = {}
    labels = config.get("Labels")
    ours = {VERSION: version, SOURCE: source, SOURCE_ID: str(image.get("Id", "")), SOURCE_DIGEST: _digest(image)}
    others = {key: value for key, value in labels.items() if key not in EVERY} if isinstance(labels, dict) else {}
    config["Labels"] = {**others, **{key: value for key, value in ours.items() if value}}
    return orjson.dumps([image], option=orjson.OPT_INDENT_2)


def made_by_us(inspected: bytes, history: bytes) -> bool:
    """Whether slimagent made an image, judging by what `image inspect` and `history` printed."""
    config = _image(inspected).get("Config")
    labels = config.get("Labels") if isinstance(config, dict) else None
    return isinstance(labels, dict) and VERSION in labels and _newest(history).startswith(_TOOL)


def source_of(inspected: bytes) -> str:
    """The name of the image that a slim one was made from, taken from its labels. Empty if they have none."""
    return label(inspected, SOURCE)


def label(inspected: bytes, key: str) -> str:
    """A label of an image; empty if it has no such label."""
    config = _image(inspected).get("Config")
    labels = config.get("Labels") if isinstance(config, dict) else None
    return str(labels.get(key) or "") if isinstance(labels, dict) else ""


def identity(inspected: bytes) -> str:
    """The ID of an image: a digest, or empty if there is none."""
    return str(_image(inspected).get("Id", ""))


def has_layers(inspected: bytes) -> bool:
    """Whether an image has a layer. One that is made of `FROM scratch` and labels has none."""
    root = _image(inspected).get("RootFS")
    return not isinstance(root, dict) or bool(root.get("Layers"))


def _image(inspected: bytes) -> dict[str, Any]:
    try:
        images = parsed(inspected)
    except ValueError as error:
        raise DocumentError(f"the engine's description of an image is not JSON ({error})") from None
    image = images[0] if isinstance(images, list) and len(images) == 1 else images
    if not isinstance(image, dict):
        raise DocumentError("the engine's description of an image is not about one image")
    return image


def _digest(image: dict[str, Any]) -> str:
    """The digest under which a registry has the image; empty for an image that was never pulled or pushed."""
    digests = image.get("RepoDigests")
    named = str(digests[0]) if isinstance(digests, list) and digests else ""
    return named.partition("@")[2]


def _newest(history: bytes) -> str:
    """`created_by` of the newest entry. `history` is a list (Podman) or one object per line (Docker), newest first."""
    text = history.strip()
    try:
        rows = parsed(text) if text.startswith(b"[") else [parsed(text.splitlines()[0])]
        row = rows[0]
    except (ValueError, IndexError):
        return ""
    return str(row.get("CreatedBy") or row.get("createdBy") or "") if isinstance(row, dict) else ""
