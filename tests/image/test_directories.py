"""Directories that a container wrote into."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from slimagent.errors import RefusedError
from slimagent.image.directories import read_inside
from slimagent.linux.removal import remove_tree


def test_a_deep_tree_goes(tmp_path: Path) -> None:
    """I6: deeper than Python's stack and longer than a path can be."""
    top = tmp_path / "top"
    top.mkdir()
    at = os.open(top, os.O_RDONLY)
    for number in range(3000):
        os.mkdir("directory", dir_fd=at)
        if number % 500 == 0:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
        below = os.open("directory", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    remove_tree(str(top))
    assert list(tmp_path.iterdir()) == []


def test_odd_things_go_and_what_links_point_to_stays(tmp_path: Path) -> None:
    """I2: links, pipes, directories without rights, names that are numbers."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").touch()
    top = tmp_path / "top"
    for name in ("0/1/2", "1/0", "a/b"):
        (top / name).mkdir(parents=True)
    (top / "0" / "link").symlink_to(other)
    (top / "link").symlink_to(other)
    os.mkfifo(top / "a" / "pipe")
    os.close(os.open(os.fsencode(top) + b"/a/\xff", os.O_CREAT | os.O_WRONLY))
    (top / "a" / "b").chmod(0)
    (top / "a").chmod(0)
    remove_tree(str(top))
    assert not top.exists()
    assert (other / "file").exists()


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A directory of an ordinary user, who this process is meanwhile."""
    path = Path(tempfile.mkdtemp(prefix="slimagent-test-"))
    root = os.geteuid() == 0
    if root:
        os.chown(path, 65534, 65534)
        os.seteuid(65534)
    yield path
    if root:
        os.seteuid(0)
    shutil.rmtree(path)


def test_directories_without_rights_go(nobody: Path) -> None:
    """They are our own, so the rights can be given."""
    top = nobody / "top"
    (top / "a" / "b" / "c").mkdir(parents=True)
    (top / "a" / "b" / "file").touch()
    for each in (top / "a" / "b" / "c", top / "a" / "b", top / "a", top):
        each.chmod(0)
    remove_tree(str(top))
    assert list(nobody.iterdir()) == []


def test_a_link_is_not_a_tree(tmp_path: Path) -> None:
    """What it points to stays."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(OSError, match="link"):
        remove_tree(str(tmp_path / "link"))
    assert (tmp_path / "real" / "file").exists()


def test_reading_has_a_limit(tmp_path: Path) -> None:
    """I2: a file of that size is still read."""
    (tmp_path / "x").write_bytes(b"1234")
    assert read_inside(str(tmp_path), "x", limit=4) == b"1234"
    with pytest.raises(RefusedError, match="x is not a file of at most 3 bytes"):
        read_inside(str(tmp_path), "x", limit=3)
    with pytest.raises(FileNotFoundError):
        read_inside(str(tmp_path), "y")
