"""Image layouts made for the tests, and read back by what the specification says: every digest is checked."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from apply_images import plan_for

from slimagent import apply
from slimagent.inventory.owners import owners
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan, PlannedPackage
from slimagent.model.proof import Receipt


def owned_plan(inventory: Inventory, **changes: Any) -> Plan:
    """A plan that keeps all of an image whose owners are found as always."""
    table = owners(inventory)
    plan = plan_for(inventory, **changes)
    entries = tuple(entry._replace(owner=table.of[at]) for at, entry in enumerate(plan.entries))
    packages = tuple(PlannedPackage(package=each, reason=0, files=0, size=0, kept=0) for each in table.packages)
    return replace(plan, entries=entries, packages=packages)


def export(root: bytes, target: Path, **wanted: Any) -> Receipt:
    """All of the image at `root` as a layout in the folder `target`."""
    inventory = scan(root)
    layout = apply.Layout(path=os.fsencode(target), **wanted)
    return apply.export(owned_plan(inventory), "digest", inventory, layout)


def document(folder: Path, name: str = "index.json") -> Any:
    return json.loads((folder / name).read_bytes())


def blob(folder: Path, descriptor: Mapping[str, Any]) -> bytes:
    """The bytes that a descriptor names, which must be as it says (descriptor.md)."""
    kind, _, digest = descriptor["digest"].partition(":")
    assert kind == "sha256"
    data = (folder / "blobs" / kind / digest).read_bytes()
    assert len(data) == descriptor["size"]
    assert hashlib.sha256(data).hexdigest() == digest
    return data


def manifest_of(folder: Path) -> Any:
    (descriptor,) = document(folder)["manifests"]
    return json.loads(blob(folder, descriptor))


def config_of(folder: Path) -> Any:
    return json.loads(blob(folder, manifest_of(folder)["config"]))


def tars(folder: Path) -> list[bytes]:
    """The layers as tars, the lowest first; each is what its diff id says."""
    found = []
    config = config_of(folder)
    for descriptor, diff_id in zip(manifest_of(folder)["layers"], config["rootfs"]["diff_ids"], strict=True):
        data = blob(folder, descriptor)
        if descriptor["mediaType"].endswith("+gzip"):
            data = gzip.decompress(data)
        elif descriptor["mediaType"].endswith("+zstd"):
            data = unzstd(data)
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == diff_id
        found.append(data)
    return found


def unzstd(data: bytes) -> bytes:
    import zstandard

    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True) as reader:
        return reader.read()


def members(tar: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(tar), encoding="utf-8", errors="surrogateescape") as archive:
        found = archive.getmembers()
        assert len({each.name for each in found}) == len(found)
        return {each.name: each for each in found}


def attributes(member: tarfile.TarInfo) -> tuple[object, ...]:
    """All that a tar says of a path, the time to the nanosecond."""
    headers = member.pax_headers
    more = {key: value for key, value in headers.items() if key.startswith("SCHILY.") or key == "mtime"}
    return (
        *(member.type, member.mode, member.uid, member.gid, member.size, member.linkname),
        *(member.devmajor, member.devminor, int(member.mtime), tuple(sorted(more.items()))),
    )


def stacked(folder: Path) -> dict[str, tuple[object, ...]]:
    """What the layers are, one on the other; none may take back what a lower one has, but a folder's attributes."""
    whole: dict[str, tuple[object, ...]] = {}
    for tar in tars(folder):
        for name, member in members(tar).items():
            assert name not in whole or (member.isdir() and whole[name][0] == tarfile.DIRTYPE), name
            whole[name] = attributes(member)
    return whole
