"""An audit and an image's layers as documents. See `documents` for what all of them promise."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from slimagent.documents.envelope import dump, load
from slimagent.documents.parts import (
    BOOLEAN,
    COUNT,
    NOTE,
    PATH,
    PATHS,
    TEXT,
    TEXTS,
    Form,
    absolute,
    an_object,
    cells,
    each,
    get_members,
    get_rows,
    member,
    or_null,
    put_members,
    put_rows,
    unsigned,
)
from slimagent.model.audit import Area, Audit, Component, Fate, Finding, Hidden, Layer, Layers, Risk
from slimagent.model.inventory import Package, PackageKind
from slimagent.paths.algebra import to_text
from slimagent.text.shape import ShapeError, string

AUDIT, LAYERS = "slimagent/audit", "slimagent/layers"

_OPTIONAL = or_null(COUNT)
_LAYER = an_object(Layer, digest=TEXT, command=TEXT, size=COUNT, files=COUNT)
_HIDDEN = an_object(
    Hidden,
    layer=COUNT,
    by=COUNT,
    fate=member(Fate),
    size=COUNT,
    files=COUNT,
    examples=PATHS,
    changed=TEXTS,
)
_FINDING = an_object(
    Finding,
    kind=TEXT,
    title=TEXT,
    size=COUNT,
    risk=member(Risk),
    evidence=TEXTS,
    file=TEXT,
    edit=TEXT,
    comment=TEXT,
    subjects=TEXTS,
    layers=each(COUNT),
)
_PACKAGE = an_object(
    Package,
    kind=Form(str, lambda place: PackageKind(place.text())),
    name=TEXT,
    version=TEXT,
    place=PATH,
    section=TEXT,
    essential=BOOLEAN,
)
_COMPONENT = an_object(
    Component,
    package=_PACKAGE,
    size=COUNT,
    shared=COUNT,
    files=COUNT,
    touched=_OPTIONAL,
    asked=TEXT,
    required=COUNT,
    requirers=TEXTS,
    layer=_OPTIONAL,
)
_AREA = an_object(Area, directory=PATH, size=COUNT, files=COUNT)
_MEMBERS = {
    **dict.fromkeys(("tool", "image", "image_id"), TEXT),
    **dict.fromkeys(("size", "files", "carried", "unowned", "together"), COUNT),
    "traced": BOOLEAN,
    "layers": each(_LAYER),
    "hidden": each(_HIDDEN),
    "components": each(_COMPONENT),
    "areas": each(_AREA),
    "findings": each(_FINDING),
}
_ROWS = {"problems": NOTE}


def encode_audit(audit: Audit) -> bytes:
    """An audit as bytes. A path that is not UTF-8 is written as `paths.to_text` does."""
    return dump(AUDIT, put_members(_MEMBERS, audit), put_rows(_ROWS, audit))


def decode_audit(data: bytes, document: str = "audit") -> Audit:
    """Bytes as an audit. Raises DocumentError."""
    place = load(data, AUDIT, document)
    return Audit(**get_members(_MEMBERS, place), **get_rows(_ROWS, place))


def encode_layers(layers: Layers) -> bytes:
    """Layers as bytes. A row of `paths` has a layer's number, and the paths that come from it."""
    paths: defaultdict[int, list[str]] = defaultdict(list)
    for path, layer in layers.of.items():
        paths[layer].append(to_text(path))
    body = {"layers": each(_LAYER).put(layers.layers), "hidden": each(_HIDDEN).put(layers.hidden)}
    return dump(LAYERS, body, {"paths": ([layer, paths[layer]] for layer in sorted(paths))})


def decode_layers(data: bytes, document: str = "layers") -> Layers:
    """Bytes as layers. Raises DocumentError."""
    place = load(data, LAYERS, document)
    layers = each(_LAYER).get(place["layers"])
    of = {path: layer for layer, paths in place["paths"].rows(_get_paths) for path in paths}
    if any(layer >= len(layers) for layer in of.values()):
        raise place["paths"].fail(f"no such layer: {max(of.values())}")
    return Layers(layers=layers, hidden=each(_HIDDEN).get(place["hidden"]), of=of)


def _get_paths(row: Any) -> tuple[int, list[bytes]]:
    layer, paths = cells(row, 2)
    if not isinstance(paths, list) or not paths:
        raise ShapeError(paths, "a list of paths")
    return unsigned(layer), [absolute(string(path)) for path in paths]
