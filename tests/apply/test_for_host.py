"""A directory for people on a host: nothing in it gives them rights of the image's root."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from apply_images import IS_ROOT, fill

from slimagent import apply
from slimagent.inventory.scan import scan

_SPECIAL = stat.S_ISUID | stat.S_ISGID


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    made = tmp_path / "root"
    made.mkdir()
    fill(os.fsencode(made))
    (made / "group").mkdir()
    (made / "group").chmod(0o2775)
    return os.fsencode(made)


def exported(root: bytes, target: Path, *, for_host: bool) -> apply.Exported:
    inventory = scan(root)
    destination = apply.Directory(os.fsencode(target), for_host=for_host)
    return apply.export_chosen(inventory, set(inventory.paths), destination)


def test_what_gives_rights_is_cleared_or_left_out_and_named(root: bytes, tmp_path: Path) -> None:
    done = exported(root, tmp_path / "out", for_host=True)
    found = [os.lstat(each) for each in (tmp_path / "out").rglob("*")]
    assert not [each for each in found if not stat.S_ISLNK(each.st_mode) and each.st_mode & _SPECIAL]
    assert not [each for each in found if stat.S_ISCHR(each.st_mode) or stat.S_ISBLK(each.st_mode)]
    assert {b"/bin/suid", b"/group"} <= set(done.cleared)
    suid, too = os.stat(tmp_path / "out/bin/suid"), os.stat(tmp_path / "out/bin/suid-too")
    assert (suid.st_mode & 0o7777, suid.st_ino) == (0o755, too.st_ino)
    assert os.stat(tmp_path / "out/sticky").st_mode & 0o7777 == 0o1777
    if IS_ROOT:
        assert b"/bin/ping" in done.cleared
        assert "security.capability" not in os.listxattr(tmp_path / "out/bin/ping")
        assert {path for path, _ in done.left_out} == {b"/null", b"/disk"}


def test_any_other_directory_is_exact(root: bytes, tmp_path: Path) -> None:
    done = exported(root, tmp_path / "out", for_host=False)
    assert (done.cleared, done.left_out) == ((), ())
    assert os.stat(tmp_path / "out/bin/suid").st_mode & 0o7777 == 0o4755
    assert os.stat(tmp_path / "out/group").st_mode & 0o7777 == 0o2775
    if IS_ROOT:
        assert (tmp_path / "out/null").is_char_device()
        assert "security.capability" in os.listxattr(tmp_path / "out/bin/ping")
