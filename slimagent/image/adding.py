"""Add a layer to an image of an engine: its configuration with one layer and one line of history more. Pure.

Sources: OCI image-spec, config.md; what `docker image inspect` and `podman image inspect` print (`RootFS`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from slimagent.errors import DocumentError
from slimagent.image.history import members_of
from slimagent.model.image_config import read_image_config
from slimagent.text.json_input import parsed
from slimagent.text.shape import known

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_OURS = re.compile(r"slimagent \S+ (?:apply: layer|restore:) .*", re.DOTALL)  # history of the layers that we make


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """An image's new configuration, and the digests (hexadecimal) of its uncompressed layers, the lowest first."""

    config: bytes
    layers: tuple[str, ...]


def with_layer(inspected: bytes, told: bytes, diff_id: str, note: str) -> Added:
    """The image that `inspect` and `history` describe, with the layer `diff_id` on top, made as `note` says.

    Raises DocumentError for a description without layers.
    """
    image = read_image_config(inspected, "the engine's description of the image")
    layers = (*_layers(inspected), diff_id)
    past = list(image.history) or list(reversed(_past(told)))
    made = [bool(_OURS.match(str(each.get("created_by", "")))) for each in past]
    below = len(layers) - 1
    if sum(made) != below:  # another history than that of our exports: its last entries made the layers
        past = [{}] * max(0, below - len(past)) + past
        made = [at >= len(past) - below for at in range(len(past))]
    history: list[dict[str, Any]] = [
        {
            **{key: value for key, value in each.items() if key != "empty_layer"},
            **({} if own else {"empty_layer": True}),
        }
        for each, own in zip(past, made, strict=True)
    ]
    dated = {"created": image.created} if image.created else {}
    whole = {
        **dated,
        **({"author": image.author} if image.author else {}),
        "architecture": image.architecture,
        **({"variant": image.variant} if image.variant else {}),
        "os": image.os,
        "config": image.config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{each}" for each in layers]},
        "history": [*history, {**dated, "created_by": note}],
    }
    return Added(config=orjson.dumps(whole), layers=layers)


def _past(told: bytes) -> Sequence[dict[str, Any]]:
    """The history for people, the newest first; empty if it cannot be understood."""
    try:
        return members_of(told)
    except (ValueError, IndexError, TypeError):
        return ()


def _layers(inspected: bytes) -> tuple[str, ...]:
    whole = parsed(inspected)
    image = whole[0] if isinstance(whole, list) and whole else whole
    root = known(dict, (known(dict, image) or {}).get("RootFS")) or {}
    found = [_DIGEST.fullmatch(str(each)) for each in known(list, root.get("Layers")) or ()]
    layers = tuple(each[1] for each in found if each is not None)
    if not layers or len(layers) != len(found):
        raise DocumentError(
            "the engine's description of the image names no layers", "add the layer by hand: --tar FILE"
        )
    return layers
