"""What a run did to the image: files are made, changed and removed on a real disk between two scans."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from slimagent.inventory.changes import changes
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Inventory
from slimagent.model.trace import Change, ChangeKind
from slimagent.paths.algebra import sort_key

CREATED, MODIFIED, REMOVED = ChangeKind.CREATED, ChangeKind.MODIFIED, ChangeKind.REMOVED


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A small image, old enough that the clock of inodes has moved on."""
    directory = Path(os.path.realpath(tmp_path)) / "image"
    for name in ("a", "a-b", "usr/lib/file", "usr/lib/other"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("before")
    (directory / "link").symlink_to("usr")
    (directory / "empty").mkdir()
    for each in ("a", "usr/lib/file", "empty"):
        os.utime(directory / each, ns=(5, 1_000_000_007))
    time.sleep(0.02)  # a clock tick of the kernel is at most 10 ms
    return directory


def seen(image: Path) -> Inventory:
    return scan(os.fsencode(image))


def after(image: Path, deed: Callable[[], object]) -> dict[bytes, Change]:
    before = seen(image)
    deed()
    found = changes(before, seen(image))
    assert [change.path for change in found] == sorted((change.path for change in found), key=sort_key)
    return {change.path: change for change in found}


def test_nothing_done_is_nothing_changed(image: Path) -> None:
    """Reading files changes nothing."""
    assert after(image, lambda: [path.read_text() for path in image.glob("usr/lib/*")]) == {}


def test_what_is_made_is_created(image: Path) -> None:
    """A new file has no time of before; the directory that holds it is modified, and keeps its own time of before."""
    found = after(image, lambda: (image / "empty/new").write_text("x"))
    assert found[b"/empty/new"] == Change(path=b"/empty/new", kind=CREATED, mtime_ns=0)
    assert found[b"/empty"] == Change(path=b"/empty", kind=MODIFIED, mtime_ns=1_000_000_007)
    assert len(found) == 2


def test_what_is_removed_has_its_time_of_before(image: Path) -> None:
    """A removed file is named with the time that it had."""
    assert after(image, (image / "a").unlink)[b"/a"] == Change(path=b"/a", kind=REMOVED, mtime_ns=1_000_000_007)


def test_other_content_of_the_same_size_and_time_is_seen(image: Path) -> None:
    """A file whose bytes change while its size and its times are put back is modified all the same."""
    path = image / "usr/lib/file"

    def forge() -> None:
        status = path.stat()
        path.write_text("BEFORE")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert after(image, forge) == {
        b"/usr/lib/file": Change(path=b"/usr/lib/file", kind=MODIFIED, mtime_ns=1_000_000_007)
    }


def test_a_file_that_is_replaced_is_modified(image: Path) -> None:
    """Renaming a new file over an old one, as package managers do, is a modification of it."""

    def replace() -> None:
        (image / "usr/lib/.new").write_text("before")
        os.rename(image / "usr/lib/.new", image / "usr/lib/file")

    found = after(image, replace)
    assert {path: change.kind for path, change in found.items()} == {b"/usr/lib": MODIFIED, b"/usr/lib/file": MODIFIED}


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("usr"), os.mkfifo])
@pytest.mark.parametrize("path", ["a", "link", "empty"])
def test_another_kind_in_its_place_is_a_modification(image: Path, path: str, make: Callable[[Path], object]) -> None:
    """A path that is something else afterwards is modified, whatever it was and became."""

    def swap() -> None:
        (image / path).rmdir() if path == "empty" else (image / path).unlink()
        make(image / path)

    found = after(image, swap)
    assert found[os.fsencode(f"/{path}")].kind is MODIFIED


def test_a_directory_counts_by_its_times_and_rights_alone(image: Path) -> None:
    """A directory whose inode was touched, and nothing else, is not modified; another mode is a modification."""

    def touch_only() -> None:
        status = (image / "empty").stat()
        (image / "empty").chmod(0o700)
        (image / "empty").chmod(status.st_mode & 0o7777)

    assert after(image, touch_only) == {}
    assert after(image, lambda: (image / "empty").chmod(0o711))[b"/empty"].kind is MODIFIED


def test_another_link_target_is_a_modification(image: Path) -> None:
    """A link that leads elsewhere is modified, also when its time is put back."""

    def relink() -> None:
        status = (image / "link").lstat()
        (image / "link").unlink()
        (image / "link").symlink_to("a")
        os.utime(image / "link", ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)

    assert after(image, relink)[b"/link"].kind is MODIFIED


def test_changes_come_in_the_order_of_the_inventory(image: Path) -> None:
    """A directory comes before its content, and before a sibling whose name continues with a byte below the slash."""

    before = seen(image)
    for name in ("usr-x", "usr/lib/new", "usr/new", "usr.d"):
        (image / name).touch()
    found = [change.path for change in changes(before, seen(image)) if change.kind is CREATED]
    assert found == [b"/usr/lib/new", b"/usr/new", b"/usr-x", b"/usr.d"]
