"""Targets: parsers of files that others write, and what is written from what they say."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Callable

from slimagent.apply.edits import alternatives
from slimagent.apply.edits.package_databases import (
    NotUnderstoodError,
    with_excludes,
    without_extensions,
    without_locations,
    without_paragraphs,
)
from slimagent.apply.export import image_documents, pax
from slimagent.apply.strip.proof import difference
from slimagent.elf.needs import needs
from slimagent.elf.sections import symbols
from slimagent.elf.tables import tables
from slimagent.image.complaint import sentence, why_unreachable
from slimagent.image.dockerfile import Recipe, dockerfile
from slimagent.image.history import with_history
from slimagent.image.labels import identity, made_by_us, source_of, with_labels
from slimagent.inventory.contents import script_needs
from slimagent.inventory.loader import parse_cache
from slimagent.linux.kernel import parse_status
from slimagent.model.image_config import read_image_config
from slimagent.paths.algebra import mounted
from slimagent.profiles import read as profile

from .rules import assert_shown, refused
from .seeds import seeds

Read = Callable[[int, int], bytes]


def profile_toml(data: bytes) -> None:
    """A profile that a person wrote."""
    with refused(UnicodeDecodeError):
        text = data.decode()
        profile.load("p", lambda name: text if name == "p" else 'description = "x"\n')


def image_config(data: bytes) -> None:
    """An image's configuration, the Dockerfile that restores it, and the one that an export writes."""
    with refused():
        config = read_image_config(data)
        with refused():
            made = dockerfile(config, Recipe(image="app", place="/agent"), "slimagent 0")
            assert_shown(made.notes)
            made.text.encode()
        image_documents.config(config, "2024-01-01T00:00:00Z", (), ())


def engine_answers(data: bytes) -> None:
    """What an engine prints about an image and its history, divided by the first empty line; and its complaints."""
    inspected, _, told = data.partition(b"\n\n")
    with refused():
        described = with_labels(with_history(inspected, told), "app", "0")
        read_image_config(described)
        assert identity(described) == identity(inspected)
        assert source_of(described) == "app"
    with refused():
        made_by_us(inspected, told)
        source_of(inspected)
    why_unreachable(sentence(data), "docker")


def _reader(data: bytes) -> Read:
    return lambda offset, size: data[max(offset, 0) : max(offset, 0) + max(size, 0)]


def elf(data: bytes) -> None:
    """The headers of a program: for its needs, for what strip takes, and for the proof that strip took nothing else."""
    read = _reader(data)
    needs(read)
    found, lost = tables(read), symbols(read, len(data))
    assert lost is None or 0 <= lost.saves <= len(data)
    if found is not None:
        assert difference(read, read) in ("", difference(read, read))
    for whole in seeds("elf")[:2]:
        difference(_reader(whole), read)
        difference(read, _reader(whole))
    script_needs(data[:4096])


def _edit(change: Callable[[bytes, tuple[str, ...]], bytes], *keys: str) -> Callable[[bytes], None]:
    """An edit of nothing changes no byte, and what an edit leaves can be edited again."""

    def target(data: bytes) -> None:
        with refused(NotUnderstoodError):
            assert change(data, ()) == data, "an edit of nothing changed something"
            once = change(data, keys)
            assert change(once, keys) == once, "the second edit changed something"

    return target


def alternatives_file(data: bytes) -> None:
    """A group of alternatives is written as it was read, but for slaves that no choice has a file for."""
    with refused(NotUnderstoodError):
        once = alternatives.put(alternatives.parse(data))
        assert alternatives.put(alternatives.parse(once)) == once


def loader_cache(data: bytes) -> None:
    """ld.so.cache."""
    for library, paths in parse_cache(data).items():
        assert paths and b"\0" not in library


def kernel_texts(data: bytes) -> None:
    """Files of /proc: mountinfo and status."""
    with refused(ValueError, IndexError):
        mounted(data)
    with refused(ValueError, IndexError, KeyError):
        parse_status(data)


def tar_member(data: bytes) -> None:
    """A tar entry with odd names, numbers and attributes is read back by another reader as it was written."""
    head, _, rest = data.partition(b"|")
    numbers = struct.unpack("<QQQq", (head + bytes(32))[:32])
    name, _, rest = rest.replace(b"\0", b"").partition(b"|")
    key, _, value = rest.partition(b"|")
    parts = [part for part in name.split(b"/") if part not in (b"", b".", b"..")]
    attributes = ((b"user." + key.replace(b"\n", b""), value),) if key and b"=" not in key and b"%" not in key else ()
    member = pax.Member(
        name=b"/".join(parts)[:4000].rstrip(b"/") or b"x",
        kind=pax.FILE,
        mode=numbers[0] % 0o10000,
        uid=numbers[1] % 2**32,
        gid=numbers[2] % 2**32,
        mtime_ns=numbers[3] % 2**62,
        attributes=attributes,
    )
    archive = tarfile.open(fileobj=io.BytesIO(pax.header(member) + pax.END), errors="surrogateescape")  # noqa: SIM115
    (read,) = archive.getmembers()
    assert read.name.encode("utf-8", "surrogateescape") == member.name
    assert (read.mode, read.uid, read.gid) == (member.mode, member.uid, member.gid)
    assert abs(read.mtime - member.mtime_ns / 1e9) < 1


TARGETS: dict[str, Callable[[bytes], None]] = {
    "profile": profile_toml,
    "image_config": image_config,
    "engine_answers": engine_answers,
    "elf": elf,
    "edit_status": _edit(without_paragraphs, "vim:amd64", "libc6:amd64"),
    "edit_extensions": _edit(without_extensions, "a.b"),
    "edit_lock": _edit(without_locations, "node_modules/a"),
    "edit_excludes": _edit(with_excludes, "path-exclude=/usr/share/doc/x"),
    "alternatives": alternatives_file,
    "loader_cache": loader_cache,
    "kernel_texts": kernel_texts,
    "tar_member": tar_member,
}
