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


def old_header(name: str, size: int) -> bytes:
    """A header of Unix's seventh edition: no magic, and nothing after the name of a link (tar(5) of FreeBSD)."""
    fields = [name.encode().ljust(100, b"\0"), b"0000644\0", b"0000000\0", b"0000000\0", b"%011o\0" % size]
    fields += [b"%011o\0" % 0, b" " * 8, b"\0", bytes(100)]
    header = b"".join(fields).ljust(512, b"\0")
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def test_a_layer_may_be_a_tar_of_the_oldest_form() -> None:
    """`docker import` takes it as it is, and `docker save` writes it so."""
    old = old_header("etc/a", 5) + b"12345".ljust(512, b"\0") + old_header("etc/b", 1) + b"1".ljust(512, b"\0")
    require_right(read(archive({"1": old + bytes(1024), "2": TOP}, ["1", "2"])))


def test_a_member_is_where_the_layer_s_own_links_lead() -> None:
    """There an engine unpacks it; a whiteout and a hard link are paths, too."""
    below = tar({"usr/lib/a": b"12345", "usr/lib/b": b"1"})
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as layer:
        for name, kind, target in (("lib", tarfile.SYMTYPE, "usr/lib"), ("lib/.wh.a", tarfile.REGTYPE, "")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            layer.addfile(member)
        member = tarfile.TarInfo("lib/c")
        member.size = 2
        layer.addfile(member, io.BytesIO(b"xx"))
        member = tarfile.TarInfo("lib/d")
        member.type, member.linkname = tarfile.LNKTYPE, "lib/c"
        layer.addfile(member)
    found = read(archive({"1": below, "2": out.getvalue(), "3": tar({"usr/lib/.wh.c": b""})}, ["1", "2", "3"]))
    assert found.of == {b"/usr/lib/b": 0, b"/lib": 1, b"/usr/lib/d": 1}
    assert [(each.fate, each.size) for each in found.hidden] == [(Fate.DELETED, 5)]
    below = tar({"usr/lib/a": b"12345"}, {"lib": "usr/lib"})
    found = read(archive({"1": below, "2": tar({"lib/c": b"1"})}, ["1", "2"]))  # it does not have the link
    assert found.of == {b"/usr/lib/a": 0, b"/lib/c": 1}


def test_of_several_members_at_a_path_the_last_is_there() -> None:
    """Here a directory in place of a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as layer:
        link = tarfile.TarInfo("lib")
        link.type, link.linkname = tarfile.SYMTYPE, "usr/lib"
        layer.addfile(link)
    files = tar({"lib": None, "lib/c": b"1"})
    assert read(archive({"1": out.getvalue()[:512] + files}, ["1"])).of == {b"/lib/c": 0}


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
        (archive({"1": BASE, "2": b"x" * 2000}, ["1", "2"]), "the layer 2 of the image is not a tar"),
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
