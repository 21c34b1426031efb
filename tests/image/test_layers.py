"""The archive of an image: layers in any order, packed or not, and what is no archive."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping

import pytest

from slimagent.errors import SlimagentError
from slimagent.image.layers import read_layers
from slimagent.model.audit import Fate, Layers


def tar(files: Mapping[str, bytes | None], links: Mapping[str, str] = {}) -> bytes:
    """A tar of these files; None is a directory. `links` are symbolic ones."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            if data is None:
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
            else:
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        for name, target in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return out.getvalue()


BASE = tar({"etc": None, "etc/a": b"12345", "etc/b": b"1"})
TOP = tar({"etc": None, "etc/.wh.a": b"", "etc/c": b"123", "latin1-\udce9": b"22"})
CONFIG = {
    "rootfs": {"diff_ids": [f"sha256:{hashlib.sha256(each).hexdigest()}" for each in (BASE, TOP)]},
    "history": [{"created_by": "FROM x"}, {"created_by": "ENV a=b", "empty_layer": True}, {"created_by": "RUN y"}],
}


def archive(layers: Mapping[str, bytes], names: list[str], links: Mapping[str, str] = {}) -> bytes:
    manifest = [{"Config": "config.json", "RepoTags": [], "Layers": names}]
    files = {**layers, "config.json": json.dumps(CONFIG).encode(), "manifest.json": json.dumps(manifest).encode()}
    return tar(files, links)


def read(data: bytes) -> Layers:
    return read_layers(io.BytesIO(data))


def require_right(found: Layers) -> None:
    assert [(each.command, each.size, each.files) for each in found.layers] == [("FROM x", 6, 2), ("RUN y", 5, 2)]
    assert [each.digest for each in found.layers] == CONFIG["rootfs"]["diff_ids"]  # type: ignore[index]  # it is there
    assert found.of == {b"/etc/b": 0, b"/etc/c": 1, b"/latin1-\xe9": 1}
    (hidden,) = found.hidden
    assert (hidden.fate, hidden.size, hidden.examples) == (Fate.DELETED, 5, (b"/etc/a",))


def test_docker_s_archive_has_its_layers_in_any_order() -> None:
    """`manifest.json` says which is which."""
    require_right(read(archive({"2/layer.tar": TOP, "1/layer.tar": BASE}, ["1/layer.tar", "2/layer.tar"])))


def test_layers_may_be_packed() -> None:
    """As an engine with the image store of containerd keeps them."""
    names = ["blobs/sha256/aa", "blobs/sha256/bb"]
    require_right(read(archive(dict(zip(names, map(gzip.compress, (BASE, TOP)), strict=True)), names)))


def test_equal_layers_are_links() -> None:
    """Docker before 25 writes a layer once."""
    found = read(archive({"1/layer.tar": BASE}, ["1/layer.tar", "2/layer.tar"], {"2/layer.tar": "../1/layer.tar"}))
    assert [each.size for each in found.layers] == [6, 6]
    assert [each.fate for each in found.hidden] == [Fate.COPIED]


def test_an_empty_layer_is_one() -> None:
    """Its tar is nothing but zeros."""
    found = read(archive({"1/layer.tar": BASE, "2/layer.tar": bytes(1024)}, ["1/layer.tar", "2/layer.tar"]))
    assert [each.files for each in found.layers] == [2, 0]


def test_the_bytes_that_were_read_are_told() -> None:
    """For the progress."""
    told: list[int] = []
    data = archive({"1": BASE, "2": TOP}, ["1", "2"])
    read_layers(io.BytesIO(data), told.append)
    assert told == sorted(told)
    assert told[-1] == len(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "cannot be read"),
        (b"not a tar at all" * 100, "cannot be read"),
        (tar({"x": b"y"}), "no manifest"),
        (tar({"manifest.json": b"[]"}), "no manifest"),
        (tar({"manifest.json": b"{}"}), "no manifest"),
        (tar({"manifest.json": b'[{"Config": "c", "Layers": [1]}]', "c": b"{}"}), "lacks the layer 1"),
        (archive({"1": BASE}, ["1", "2"]), "lacks the layer 2"),
        (archive({"1": BASE, "2": TOP}, ["1", "2"])[:3000], "cannot be read"),
        (archive({"1": BASE, "2": gzip.compress(TOP)[:-20]}, ["1", "2"]), "cannot be read"),
        (archive({"1": BASE, "2": b"\x28\xb5\x2f\xfd" + bytes(600)}, ["1", "2"]), "zstd"),
    ],
)
def test_what_is_no_archive_is_refused(data: bytes, says: str) -> None:
    """In a sentence, with what to do."""
    with pytest.raises(SlimagentError) as error:
        read(data)
    assert says in error.value.message
    assert error.value.hint


def test_history_that_does_not_fit_is_left_out() -> None:
    """Then nobody knows which command made which layer."""
    found = read(archive({"1": BASE}, ["1"]))
    assert [each.command for each in found.layers] == [""]
