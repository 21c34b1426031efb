"""The scan of an image, the fingerprint that knows it again, and what a run changed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slimagent.errors import UsageError
from slimagent.inventory.changes import changes
from slimagent.inventory.fingerprint import fingerprint
from slimagent.inventory.scan import parse_mountinfo, scan
from slimagent.model import ChangeKind
from slimagent.paths import sort_key


def tree(root: Path) -> bytes:
    """A small image with the corners that scans trip over."""
    root.chmod(0o755)
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/a").write_text("a")
    (root / "usr/lib-b").write_text("b")  # sorts between `lib` and `lib/a` as a plain string
    os.link(root / "usr/lib/a", root / "usr/twin")
    (root / "bin").symlink_to("usr/bin")
    os.mkfifo(root / "fifo")
    (root / "empty").mkdir()
    Path(os.fsdecode(os.fsencode(root) + b"/latin1-\xe9")).write_text("odd")
    (root / "new\nline").write_text("")
    return os.fsencode(root)


def test_entries_come_in_order_of_their_components(tmp_path: Path) -> None:
    """A folder stands right before what it holds, and the order is that of the components."""
    inventory = scan(tree(tmp_path))
    assert inventory.paths == sorted(inventory.paths, key=lambda path: () if path == b"/" else sort_key(path))
    assert inventory.paths.index(b"/usr/lib/a") == inventory.paths.index(b"/usr/lib") + 1
    assert b"/latin1-\xe9" in inventory
    assert b"/new\nline" in inventory
    assert [inventory.index[path] for path in inventory.paths] == list(range(len(inventory)))


def test_columns_are_what_lstat_says(tmp_path: Path) -> None:
    """Mode, owner, size, times, device, inode and links of every entry, and where links lead."""
    root = tree(tmp_path)
    inventory = scan(root)
    for at, path in enumerate(inventory.paths):
        status = os.lstat(root + path)
        assert inventory.modes[at] == status.st_mode
        assert (inventory.uids[at], inventory.gids[at]) == (status.st_uid, status.st_gid)
        assert (inventory.sizes[at], inventory.mtimes[at]) == (status.st_size, status.st_mtime_ns)
        assert (inventory.devices[at], inventory.inodes[at]) == (status.st_dev, status.st_ino)
        assert inventory.links[at] == status.st_nlink
    assert inventory.link(b"/bin") == b"usr/bin"
    assert inventory.link(b"/usr") is None


def test_what_is_excluded_is_not_there(tmp_path: Path) -> None:
    """An excluded folder is left out with everything in it."""
    inventory = scan(tree(tmp_path), excluded=(b"/usr/lib",))
    assert b"/usr/lib" not in inventory
    assert b"/usr/lib/a" not in inventory
    assert b"/usr/lib-b" in inventory


def test_a_scope_inside_a_scope_counts_once(tmp_path: Path) -> None:
    """Overlapping scopes give each path once; a scope that is not there is a usage error."""
    root = tree(tmp_path)
    inventory = scan(root, (b"/usr", b"/usr/lib", b"/empty"))
    assert len(inventory.paths) == len(set(inventory.paths))
    assert set(inventory.paths) == {b"/usr", b"/usr/lib", b"/usr/lib/a", b"/usr/lib-b", b"/usr/twin", b"/empty"}
    with pytest.raises(UsageError):
        scan(root, (b"/absent",))
    with pytest.raises(UsageError):
        scan(root, (b"/usr/lib/a",))


def test_mount_points_undo_octal_escapes() -> None:
    """Blanks, tabs, newlines and backslashes in a mount point come as octal escapes."""
    text = (
        b"36 35 98:0 / /mnt/sp\\040ace rw,noatime master:1 - ext3 /dev/root rw\n"
        b"37 35 0:5 / /a\\134b\\012c\\011d rw - tmpfs tmpfs rw\n"
        b"38 35 0:5 / /lat\xe9 rw - tmpfs tmpfs rw\ntoo short\n"
    )
    assert parse_mountinfo(text) == [b"/mnt/sp ace", b"/a\\b\nc\td", b"/lat\xe9"]


def test_another_file_system_is_not_the_images(tmp_path: Path) -> None:
    """On / of this machine, /proc is a mount point: it is listed, and nothing in it is."""
    inventory = scan(b"/", (b"/",), excluded=[b"/" + name for name in os.listdir(b"/") if name != b"proc"])
    assert b"/proc" in inventory.mount_points
    assert [path for path in inventory.paths if path.startswith(b"/proc")] == [b"/proc"]


_AS_NOBODY = """
import os, sys
from slimagent.inventory.scan import scan
from slimagent.inventory.fingerprint import fingerprint
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
inventory = scan(os.fsencode(sys.argv[1]))
print(fingerprint(inventory), sorted(inventory.unreadable))
"""


def test_every_user_sees_the_same_image(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The fingerprint does not depend on who scans; what a user cannot read is named."""
    if os.geteuid() != 0:
        pytest.skip("only root can make what others cannot read")
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o711)
        root = tree(Path(name) / "image") if (Path(name) / "image").mkdir() is None else b""
        (Path(name) / "image/secret").mkdir(mode=0o700)
        (Path(name) / "image/secret/key").write_text("x")
        (Path(name) / "image/shadow").write_text("x")
        (Path(name) / "image/shadow").chmod(0o600)
        ours = scan(root)
        done = subprocess.run([sys.executable, "-c", _AS_NOBODY, root], check=True, capture_output=True, text=True)
    assert ours.unreadable == []
    assert done.stdout.split()[0] == fingerprint(ours)
    assert "/secret" in done.stdout
    assert "/shadow" in done.stdout


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda root: (root / "usr/lib/a").write_text("aa"), False),
        (lambda root: (root / "usr/more").write_text(""), False),
        (lambda root: (root / "fifo").unlink(), False),
        (lambda root: ((root / "bin").unlink(), (root / "bin").symlink_to("usr/sbin")), False),
        (lambda root: ((root / "empty").rmdir(), (root / "empty").write_text("")), False),
        (lambda root: os.utime(root / "usr/lib/a", (1, 1)), True),
        (lambda root: ((root / "tmp").mkdir(), (root / "tmp/x").write_text("x")), True),
        (lambda root: (root / "usr/lib/a").write_text("b"), True),
    ],
)
def test_an_image_is_known_by_kind_size_path_and_link(tmp_path: Path, change: object, same: bool) -> None:
    """Another path, kind, size or link target is another image; another time or the same size again is not."""
    root = tree(tmp_path)
    before = fingerprint(scan(root))
    assert callable(change)
    change(tmp_path)
    assert (fingerprint(scan(root)) == before) is same


def test_places_that_change_by_themselves_do_not_count(tmp_path: Path) -> None:
    """What runs leave in /tmp, logs and byte code caches does not make another image."""
    root = tree(tmp_path)
    for folder in ("tmp", "var/log", "usr/__pycache__"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    before = fingerprint(scan(root))
    for folder in ("tmp", "var/log", "usr/__pycache__"):
        (tmp_path / folder / "x").write_text("x")
    assert fingerprint(scan(root)) == before


def test_what_a_run_changed_is_exact(tmp_path: Path) -> None:
    """Created, removed, modified, also where size and time say otherwise; an untouched file is not named."""
    root = tree(tmp_path)
    before = scan(root)
    time.sleep(0.02)
    (tmp_path / "created").write_text("x")
    (tmp_path / "usr/lib-b").unlink()
    status = os.lstat(tmp_path / "usr/lib/a")
    (tmp_path / "usr/lib/a").write_text("b")  # the same size
    os.utime(tmp_path / "usr/lib/a", ns=(status.st_atime_ns, status.st_mtime_ns))  # and the same time
    found = {change.path: change for change in changes(before, scan(root))}
    assert {path: change.kind for path, change in found.items()} == {
        b"/": ChangeKind.MODIFIED,
        b"/created": ChangeKind.CREATED,
        b"/usr": ChangeKind.MODIFIED,
        b"/usr/lib-b": ChangeKind.REMOVED,
        b"/usr/lib/a": ChangeKind.MODIFIED,
        b"/usr/twin": ChangeKind.MODIFIED,
    }
    assert found[b"/usr"].mtime_ns == before.mtimes[before.index[b"/usr"]]
    assert list(found) == sorted(found, key=sort_key)
