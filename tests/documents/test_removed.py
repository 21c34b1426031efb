"""The list of what went: a stream in and out, and nothing in it is trusted."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from apply_images import plan_for, write
from document_values import PATHS, SAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemas import schema

from slimagent import apply, documents
from slimagent.cli.removing import OWN_LIST
from slimagent.errors import DocumentError
from slimagent.inventory.scan import scan
from slimagent.model.removed import Gone, GoneKind, Lead, Removed
from slimagent.paths.algebra import normalise
from slimagent.workflows.removals import Removals

HEAD: Removed = SAMPLES["removed"]
ROWS = st.builds(
    Gone,
    path=PATHS.map(normalise).filter(lambda path: path.rpartition(b"/")[2] not in (b".", b"..", b"")),
    kind=st.sampled_from(GoneKind),
    size=st.integers(0, 2**53 - 1),
    reason=st.just(0),
    owner=st.sampled_from((-1, 0)),
    digest=st.sampled_from(("", "0f" * 32)),
    target=PATHS | st.just(b""),
)


def listed(rows: list[Gone]) -> bytes:
    stream = io.BytesIO()
    documents.write_removed(stream, with_count(len(rows)), iter(rows))
    return stream.getvalue()


def with_count(count: int) -> Removed:
    return replace(HEAD, paths=count)


def read(data: bytes) -> list[Gone]:
    return list(documents.read_removed(io.BytesIO(data), "list")[1])


@settings(max_examples=100, deadline=None)
@given(st.lists(ROWS, max_size=8))
def test_it_is_read_as_it_was_written(rows: list[Gone]) -> None:
    """Any names, in any order; each line is as the schema says, and the same values give the same bytes."""
    data = listed(rows)
    assert read(data) == rows
    assert listed(rows) == data
    described = schema("removed")
    line = Draft202012Validator({"$ref": "#/$defs/line", "$defs": described["$defs"]})
    for each in gzip.decompress(data).splitlines()[1:]:
        line.validate(json.loads(each))


def test_a_large_directory_has_several_lines() -> None:
    """So that a reader needs memory for one line only."""
    rows = [Gone(b"/d/%d" % each, GoneKind.FILE, 1, 0) for each in range(2500)]
    assert [len(json.loads(line)) - 1 for line in gzip.decompress(listed(rows)).splitlines()[1:]] == [1000, 1000, 500]
    assert read(listed(rows)) == rows


ROW = '["/srv",["x","file",1,0,-1,"",""]]'


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a document of slimagent|not a whole JSON document"),
        (b"{}", "not a whole list"),
        (listed([])[:-9], "not a whole list"),
        (gzip.compress(b'{"schema": "slimagent/plan"}\n'), "this is a slimagent/plan"),
        (gzip.compress(documents.encode_removed(with_count(2)) + ROW.encode()), "it has 1 paths, and its head says 2"),
        *(
            (gzip.compress(documents.encode_removed(with_count(1)) + line.encode()), "line 2: cannot be understood")
            for line in (
                "[]",
                "{}",
                "7",
                "[1]",
                '["/srv",[]]',
                ROW.replace('"/srv"', '"srv"'),
                ROW.replace('"x"', '"../etc/passwd"'),
                ROW.replace('"x"', '".."'),
                ROW.replace('"x"', '""'),
                ROW.replace('"file"', '"door"'),
                ROW.replace(",1,0,", ",-1,0,"),
                ROW.replace(",1,0,", ",1,9,"),
                ROW.replace(",-1,", ",5,"),
                ROW.replace(',"",', ',"zz",'),
            )
        ),
    ],
)
def test_a_damaged_list_is_refused(data: bytes, why: str) -> None:
    """The message says where, and no path of it leads out of its directory."""
    with pytest.raises(DocumentError, match=why):
        read(data)


def test_a_line_without_end_is_refused() -> None:
    """A small file can unpack to anything."""
    endless = gzip.compress(documents.encode_removed(with_count(1)) + b'["' + b"x" * (1 << 25))
    with pytest.raises(DocumentError, match="too long"):
        read(endless)


def test_an_export_lists_what_went(tmp_path: Path) -> None:
    """With the digests of files, further names as such, and the links that tell what a path means."""
    root = bytes((tmp_path / "root").resolve())
    write(root, b"/usr/lib/gone/a", b"hello")
    (tmp_path / "root/usr/lib/gone/b").hardlink_to(tmp_path / "root/usr/lib/gone/a")
    (tmp_path / "root/usr/lib/gone/link").symlink_to("a")
    write(root, b"/usr/lib/stays")
    (tmp_path / "root/lib").symlink_to("usr/lib")
    (tmp_path / "root/usr/dangles").symlink_to("lib/gone/a")
    inventory = scan(root)
    drop = {path for path in inventory.paths if path.startswith(b"/usr/lib/gone")}
    plan, path = plan_for(inventory, drop), tmp_path / "removed.jsonl.gz"
    receipt = apply.export(
        plan,
        "ab",
        inventory,
        apply.Tar(bytes(tmp_path / "x.tar")),
        leave=Removals(path=str(path), inside=True).leave(plan, "ab"),
    )
    with open(path, "rb") as stream:
        head, rows = documents.read_removed(stream)
        found = list(rows)
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert found == [
        Gone(b"/usr/lib/gone", GoneKind.DIRECTORY, 0, 0),
        Gone(b"/usr/lib/gone/a", GoneKind.FILE, 5, 0, -1, digest),
        Gone(b"/usr/lib/gone/b", GoneKind.HARD_LINK, 5, 0, -1, digest, b"/usr/lib/gone/a"),
        Gone(b"/usr/lib/gone/link", GoneKind.LINK, 0, 0, -1, "", b"a"),
    ]
    assert (head.plan, head.paths, head.bytes) == ("ab", 4, 5) == ("ab", receipt.dropped, receipt.bytes_dropped)
    assert set(head.leads) == {Lead(b"/lib", b"/usr/lib"), Lead(b"/usr/dangles", b"/usr/lib/gone/a")}
    assert OWN_LIST.replaces(str(path))
    assert not OWN_LIST.replaces(str(tmp_path / "x.tar"))
    with tarfile.open(tmp_path / "x.tar") as archive:
        inside = archive.extractfile(".slimagent-removed.jsonl.gz")
        assert inside is not None
        assert inside.read() == path.read_bytes()


def test_what_cannot_be_read_has_no_digest(tmp_path: Path) -> None:
    """It may go all the same, and a list without digests reads nothing."""
    root = bytes((tmp_path / "root").resolve())
    write(root, b"/a", b"hello")
    write(root, b"/b", b"hello")
    inventory = scan(root)
    (tmp_path / "root/a").write_bytes(b"changed!")
    with apply.Source(inventory) as source:
        digests = apply.digested(inventory, iter((inventory.index[b"/a"], inventory.index[b"/b"])), source)
        assert [bool(each) for each in digests] == [False, True]
