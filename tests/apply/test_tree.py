"""The export to a directory."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

import pytest
from apply_images import (
    IS_ROOT,
    add_socket,
    as_ordinary_user,
    fill,
    open_folder,
    plan_for,
    root,
    small_disk,
    state,
    write,
)

from slimagent.apply import Directory, export
from slimagent.errors import RefusedError, UnavailableError
from slimagent.inventory.scan import scan

__all__ = ["open_folder", "root", "small_disk"]  # fixtures


@pytest.fixture
def target(tmp_path: Path) -> bytes:
    directory = tmp_path.resolve() / "out"
    directory.mkdir()
    return os.fsencode(directory / "slim")


def left_over(target: bytes) -> list[bytes]:
    return os.listdir(os.path.dirname(target))


def test_the_copy_is_the_same_tree(root: bytes, target: bytes) -> None:
    """Names, kinds, modes, owners, times to the nanosecond, contents, hard links, attributes, sockets too."""
    fill(root)
    add_socket(root)
    inventory = scan(root)
    receipt = export(plan_for(inventory), "digest", inventory, Directory(target))
    assert state(target) == state(root)
    assert left_over(target) == [b"slim"]
    assert receipt.kept == len(inventory)
    assert receipt.written == receipt.bytes_kept
    assert receipt.target == "to:" + os.fsdecode(target)


@pytest.mark.parametrize("size", [1 << 40, (1 << 40) + 12345])
def test_a_hole_stays_a_hole(root: bytes, target: bytes, size: int) -> None:
    """F: a terabyte of nothing takes no place and no time; what is between the holes is where it was."""
    pieces = {0: b"begin", 1 << 30: b"x" * 3_000_000, size - 5: b"end!!"}
    files: dict[bytes, dict[int, bytes]] = {b"/sparse": pieces, b"/hole-last": {70_000: b"middle"}, b"/hole": {}}
    for name, parts in files.items():
        with open(root + name, "wb") as file:
            for at, data in parts.items():
                file.seek(at)
                file.write(data)
            file.truncate(size)
    if os.stat(root + b"/hole").st_blocks:
        pytest.skip("this file system has no holes")
    inventory = scan(root)
    receipt = export(plan_for(inventory), "digest", inventory, Directory(target))
    for name, parts in files.items():
        status = os.stat(target + name)
        assert status.st_size == size
        assert status.st_blocks <= os.stat(root + name).st_blocks
        with open(target + name, "rb") as file:
            for at, data in parts.items():
                file.seek(at)
                assert file.read(len(data)) == data
    assert receipt.written < 2 * len(pieces[1 << 30])


def test_what_the_plan_drops_is_not_there(root: bytes, target: bytes) -> None:
    """The rest is as it was; a hard link whose first name goes is a file."""
    fill(root)
    gone = {b"/bin/a", b"/odd/latin1-\xe9", b"/empty", b"/fifo"}
    inventory = scan(root)
    receipt = export(plan_for(inventory, gone), "digest", inventory, Directory(target))
    assert state(target) == state(root, without=gone)
    assert receipt.dropped == 4


def test_directories_have_the_time_of_the_plan(root: bytes, target: bytes) -> None:
    """What the run's temporary files did to a directory's time is undone."""
    fill(root)
    plan, before = plan_for(scan(root)), state(root)
    write(root, b"/sticky/temporary")
    os.unlink(root + b"/sticky/temporary")
    export(plan, "digest", scan(root), Directory(target))
    assert state(target) == before


def test_an_empty_target_is_replaced(root: bytes, target: bytes) -> None:
    """A directory that is there and empty is as good as none."""
    fill(root)
    os.mkdir(target)
    inventory = scan(root)
    export(plan_for(inventory), "digest", inventory, Directory(target))
    assert state(target) == state(root)


def test_a_filled_target_is_refused_and_untouched(root: bytes, target: bytes) -> None:
    """Nothing is mixed with what is there."""
    write(target, b"/mine")
    inventory = scan(root)
    with pytest.raises(RefusedError, match="is not empty"):
        export(plan_for(inventory), "digest", inventory, Directory(target))
    assert os.listdir(target) == [b"mine"]
    assert left_over(target) == [b"slim"]


def test_a_target_in_the_image_is_refused_unless_excluded(root: bytes) -> None:
    """The copy would be part of what it is a copy of."""
    write(root, b"/a")
    os.mkdir(root + b"/out")
    inventory = scan(root, excluded=(b"/out",))
    target = root + b"/out/slim"
    for inside in (target, root + b"/elsewhere", root):
        with pytest.raises(RefusedError, match=r"lies in the image|not empty"):
            export(plan_for(inventory), "digest", inventory, Directory(inside))
    receipt = export(plan_for(inventory, excluded=(b"/out",)), "digest", inventory, Directory(target))
    assert sorted(os.listdir(target)) == [b"a"]
    assert receipt.kept == 2


def test_a_scope_is_copied_with_plain_directories_above_it(root: bytes, target: bytes) -> None:
    """Only the scope is in the inventory; what leads to it must be there all the same."""
    write(root, b"/opt/venv/bin/python")
    write(root, b"/opt/other")
    inventory = scan(root, (b"/opt/venv",))
    export(plan_for(inventory), "digest", inventory, Directory(target))
    found = state(target)
    assert list(found) == [b"/", b"/opt", b"/opt/venv", b"/opt/venv/bin", b"/opt/venv/bin/python"]
    assert stat.S_IMODE(os.stat(target).st_mode) == 0o755
    assert found[b"/opt/venv/bin/python"] == state(root)[b"/opt/venv/bin/python"]


@pytest.mark.parametrize("change", ["shrinks", "vanishes"])
def test_a_file_that_changes_refuses_the_export(root: bytes, target: bytes, change: str) -> None:
    """The file is named, and nothing is left of the copy, read-only directories neither."""
    write(root, b"/a/file")
    os.chmod(root + b"/a", 0o555)
    write(root, b"/log", b"12345")
    inventory = scan(root)
    if change == "shrinks":
        os.truncate(root + b"/log", 2)
    else:
        os.unlink(root + b"/log")
    with pytest.raises(RefusedError, match="/log"):
        export(plan_for(inventory), "digest", inventory, Directory(target))
    assert left_over(target) == []


def test_a_full_disk_leaves_nothing_behind(root: bytes, target: bytes) -> None:
    """A limit on file size is hit as a full disk is: in the middle of a write."""
    write(root, b"/big", b"x" * 6_000_000)
    inventory = scan(root)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_500_000, hard))
    try:
        with pytest.raises(UnavailableError, match="cannot write /big"):
            export(plan_for(inventory), "digest", inventory, Directory(target))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left_over(target) == []


def test_a_really_full_disk_is_said_and_left_empty(root: bytes, small_disk: bytes) -> None:
    """ENOSPC becomes one line with a hint."""
    write(root, b"/big", b"x" * 6_000_000)
    inventory = scan(root)
    with pytest.raises(UnavailableError, match="No space left") as caught:
        export(plan_for(inventory), "digest", inventory, Directory(small_disk + b"/slim"))
    assert "free some space" in caught.value.hint
    assert os.listdir(small_disk) == []


def test_a_mount_point_as_target_is_said_at_once(root: bytes, small_disk: bytes) -> None:
    """A directory cannot be renamed over a mount point."""
    inventory = scan(root)
    with pytest.raises(UnavailableError, match="is a mount point"):
        export(plan_for(inventory), "digest", inventory, Directory(small_disk))
    assert os.listdir(small_disk) == []


@pytest.mark.skipif(not IS_ROOT, reason="only root can make another user's file to begin with")
def test_without_root_an_owner_that_cannot_be_given_is_said(open_folder: bytes) -> None:
    """A copy with other owners is no copy: the export fails and leaves nothing."""
    root, target = open_folder + b"/root", open_folder + b"/slim"
    write(root, b"/a/file")
    os.chmod(root + b"/a", 0o555)
    inventory = scan(root)

    def attempt() -> None:
        with pytest.raises(UnavailableError, match="Operation not permitted") as caught:
            export(plan_for(inventory), "digest", inventory, Directory(target))
        assert "root" in caught.value.hint

    assert as_ordinary_user(attempt)
    assert left_over(target) == [b"root"]


def test_an_ordinary_user_copies_what_is_theirs(open_folder: bytes) -> None:
    """No right is needed for one's own files; read-only directories are copied as such."""
    root, target = open_folder + b"/root", open_folder + b"/slim"

    def attempt() -> None:
        write(root, b"/a/b/file")
        os.chmod(root + b"/a/b", 0o555)
        inventory = scan(root)
        export(plan_for(inventory), "digest", inventory, Directory(target))
        assert state(target) == state(root)
        with pytest.raises(RefusedError, match="vanished"):
            os.chmod(root + b"/a/b", 0o755)
            os.unlink(root + b"/a/b/file")
            export(plan_for(inventory), "digest", inventory, Directory(target + b"-2"))

    assert as_ordinary_user(attempt)
    assert sorted(left_over(target)) == [b"root", b"slim"]
