"""The image as readers of package databases see it: entries through links, directories, contents, hostile records."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_images import link, write

from slimagent.inventory import reader
from slimagent.inventory.reader import Image
from slimagent.inventory.scan import scan
from slimagent.paths.algebra import sort_key, within

PASSWD = b"/etc/passwd"


def image(root: Path) -> Image:
    return Image(scan(os.fsencode(root.resolve())))


def at(seen: Image, path: bytes) -> int:
    return seen.inventory.index[path]


def test_entries_are_found_through_links_among_their_directories(tmp_path: Path) -> None:
    """`entry` stops at a link at the end, `end` follows it; nothing leads out of the image or round in circles."""
    write(tmp_path, "/usr/bin/tool5")
    link(tmp_path, "/usr/bin/tool", "tool5")
    link(tmp_path, "/bin", "usr/bin")
    link(tmp_path, "/dangling", "/nowhere")
    link(tmp_path, "/loop", "loop")
    link(tmp_path, "/up", "../../../../usr/bin/tool")
    seen = image(tmp_path)
    assert seen.entry(b"/bin/tool") == seen.entry(b"/usr//bin/./tool") == at(seen, b"/usr/bin/tool")
    assert seen.end(b"/bin/tool") == seen.end(b"/up") == at(seen, b"/usr/bin/tool5")
    assert seen.entry(b"/bin") == at(seen, b"/bin")
    assert seen.end(b"/bin") == at(seen, b"/usr/bin")
    assert (seen.entry(b"/dangling"), seen.end(b"/dangling")) == (at(seen, b"/dangling"), None)
    assert (seen.end(b"/loop"), seen.end(b"/absent"), seen.entry(b"/bin/absent")) == (None, None, None)
    assert seen.is_directory(at(seen, b"/usr"))
    assert not seen.is_directory(at(seen, b"/bin"))
    assert seen.is_file(at(seen, b"/usr/bin/tool5"))
    assert not seen.is_file(at(seen, b"/usr/bin/tool"))


def test_the_names_in_a_directory(tmp_path: Path) -> None:
    """Sorted, of any kind, any bytes; the root's are those of its own children; a link to a directory has none."""
    write(tmp_path, "/a/b/c")
    write(tmp_path, "/a-b")
    link(tmp_path, "/z", "a")
    with open(os.fsencode(tmp_path) + b"/a/\xff", "wb"):
        pass
    seen = image(tmp_path)
    assert seen.names(b"/") == [b"a", b"a-b", b"z"]
    assert seen.names(b"/a") == [b"b", b"\xff"]
    assert [seen.names(each) for each in (b"/a-b", b"/z", b"/absent", b"/a/b/c")] == [[]] * 4


names = st.binary(min_size=1, max_size=3).filter(lambda name: not {*name} & {0, 47} and name not in (b".", b".."))
trees = st.lists(st.lists(names, min_size=1, max_size=3).map(b"/".join), min_size=1, max_size=12, unique=True)


@settings(max_examples=40, deadline=None)
@given(trees)
def test_what_is_below_a_directory(paths: list[bytes]) -> None:
    """Exactly the entries that begin with its path, in one row, whatever the names are."""
    with tempfile.TemporaryDirectory() as directory:
        root = os.fsencode(Path(directory).resolve())
        for path in paths:
            os.makedirs(root + b"/" + path, exist_ok=True)
        seen = Image(scan(root))
        assert seen.inventory.paths == sorted(seen.inventory.paths, key=sort_key)
        for each in seen.inventory.paths:
            below = {path for path in seen.inventory.paths if within(path, each) and path != each}
            assert {seen.inventory.paths[number] for number in seen.below(each)} == below
    assert seen.below(b"/not/there") == range(0)


def test_contents_are_read_through_links_and_never_outside(tmp_path: Path) -> None:
    """A link that climbs out of the image is followed inside it, as in a container of it."""
    write(tmp_path, "/etc/passwd", b"\0\xff" * 700_000)
    link(tmp_path, "/etc/link", "../../../../etc/passwd")
    link(tmp_path, "/etc/host", "/etc/hostname-of-the-host")
    seen = image(tmp_path)
    assert seen.read(PASSWD) == seen.read(b"/etc/link") == b"\0\xff" * 700_000
    assert (seen.read(b"/etc/host"), seen.read(b"/etc"), seen.read(b"/absent")) == (None, None, None)
    assert seen.problems == []


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    """A FIFO in the place of a record does not make us wait."""
    os.mkfifo(tmp_path / "fifo")
    assert image(tmp_path).read(b"/fifo") is None


def test_a_file_that_vanished_or_became_another_is_a_problem(tmp_path: Path) -> None:
    """After the scan: gone, or a link in its place. Neither is followed, both are named."""
    write(tmp_path, "/gone")
    write(tmp_path, "/changed")
    seen = image(tmp_path)
    (tmp_path / "gone").unlink()
    (tmp_path / "changed").unlink()
    link(tmp_path, "/changed", "/etc/passwd")
    assert (seen.read(b"/gone"), seen.read(b"/changed")) == (None, None)
    assert [path for path, _ in seen.problems] == [b"/gone", b"/changed"]
    assert all(why for _, why in seen.problems)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_problem(tmp_path: Path) -> None:
    """Its reason is the system's."""
    write(tmp_path, "/secret", mode=0)
    seen = image(tmp_path)
    assert seen.read(b"/secret") is None
    assert seen.problems == [(b"/secret", "Permission denied")]


def test_a_record_that_is_too_large_is_a_problem(tmp_path: Path) -> None:
    """Its size alone says so: nothing of it is read. Just below the limit it is read."""
    limit = reader._LIMIT
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(limit + 1)
    seen = image(tmp_path)
    assert seen.read(b"/huge") is None
    assert seen.problems == [(b"/huge", "too large for a package record")]
