"""The JSON documents of an image layout. Pure.

Sources: OCI image-spec 1.0 and 1.1, config.md, manifest.md, image-index.md, image-layout.md, annotations.md; for
`manifest.json` the Docker Image Specification v1.2, "Combined Image JSON + Filesystem Changeset Format", in which
newer versions of `docker save` name the blobs of an image layout.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import orjson

from slimagent.errors import DocumentError
from slimagent.model.image_config import ImageConfig
from slimagent.model.image_labels import EVERY
from slimagent.model.proof import Layer
from slimagent.model.references import Tag

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'

# The machine in the words of uname(2), and of Go's GOARCH and GOARM (config.md, "architecture" and "variant").
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "loongarch64": ("loong64", ""),
}
_RFC_3339 = re.compile(
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


def plain_config(machine: str) -> ImageConfig:
    """A configuration with nothing but the platform, for a machine as uname(2) names it."""
    architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
    return ImageConfig(config={}, architecture=architecture, variant=variant, os="linux")


def config(original: ImageConfig, created: str, layers: Sequence[Layer], notes: Iterable[Mapping[str, str]]) -> bytes:
    """The configuration blob: the original's, with the new layers.

    `notes` say how each layer was made (`created_by`, `comment`). `created` is the date if the original has none.
    Raises DocumentError for an invalid date.
    """
    date = original.created or created
    if not _RFC_3339.fullmatch(date):
        raise DocumentError(f"image configuration at created: {date!r} is not a date", "give one of RFC 3339")
    whole: dict[str, object] = {"created": date}
    if original.author:
        whole["author"] = original.author
    whole["architecture"] = original.architecture
    if original.variant:
        whole["variant"] = original.variant
    whole |= {
        "os": original.os,
        "config": original.config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.diff_id}" for layer in layers]},
        "history": [*map(_past, original.history), *({"created": date, **note} for note in notes)],
    }
    return orjson.dumps(whole)


def _past(entry: Mapping[str, object]) -> dict[str, object]:
    """An entry of the original's history. Its layer is gone, so it is marked as empty."""
    kept: dict[str, object] = {}
    for key in ("created", "created_by", "author", "comment"):
        value = entry.get(key)
        if isinstance(value, str) and value and (key != "created" or _RFC_3339.fullmatch(value)):
            kept[key] = value
    return kept | {"empty_layer": True}


def labelled(original: ImageConfig, labels: Mapping[str, str]) -> ImageConfig:
    """A configuration with more labels."""
    return replace(original, config={**original.config, "Labels": {**original.labels, **labels}})


def notes_of(original: ImageConfig) -> dict[str, str]:
    """The labels of slimagent, as a manifest has them: registries show these without fetching the configuration."""
    return {key: original.labels[key] for key in EVERY if key in original.labels}


def manifest(config: bytes, layers: Sequence[Layer], suffix: str, notes: Mapping[str, str]) -> bytes:
    """The manifest. `suffix` is that of the layers' media type: it names the compression. `notes` are annotations."""
    whole = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(CONFIG, digest(config), len(config)),
        "layers": [_descriptor(LAYER + suffix, layer.digest, layer.size) for layer in layers],
    }
    return orjson.dumps({**whole, "annotations": dict(notes)} if notes else whole)


def index(manifest: bytes, platform: ImageConfig, name: Tag | None) -> bytes:
    """The index of a layout with one image. containerd and skopeo look for the name in its annotations."""
    whole = _descriptor(MANIFEST, digest(manifest), len(manifest))
    if name is not None:
        annotations = {"io.containerd.image.name": name.full, "org.opencontainers.image.ref.name": name.version}
        whole["annotations"] = annotations
    variant = {"variant": platform.variant} if platform.variant else {}
    whole["platform"] = {"architecture": platform.architecture, "os": platform.os, **variant}
    return orjson.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [whole]})


def docker_manifest(config: bytes, layers: Sequence[Layer], name: Tag | None) -> bytes:
    """`manifest.json`, for engines that do not know image layouts. It names the same blobs."""
    tags = None if name is None else [name.short]
    blobs = [blob(layer.digest) for layer in layers]
    return orjson.dumps([{"Config": blob(digest(config)), "RepoTags": tags, "Layers": blobs}])


def blob(digest: str) -> str:
    """Where a blob lies in a layout (image-layout.md)."""
    return f"blobs/sha256/{digest}"


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _descriptor(kind: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}
