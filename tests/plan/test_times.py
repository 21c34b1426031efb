"""The times that a plan gives directories: those of the image, whatever the run and the container did to them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from plan_images import evidence_for, plan_for, reason, write

from slimagent.model.plan import Plan
from slimagent.model.trace import Change, ChangeKind
from slimagent.plan.decide import decide

OLD, FILE, DIRECTORY, NOW = 1_000_000_000, 2_000_000_000, 3_000_000_000, 4_000_000_007


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with a directory beside a file, all of known times."""
    write(tmp_path, "/top/file")
    (tmp_path / "top/directory").mkdir()
    date(tmp_path, "/top/file", FILE)
    date(tmp_path, "/top/directory", DIRECTORY)
    date(tmp_path, "/top", NOW)
    date(tmp_path, "/", NOW)
    return tmp_path


def date(root: Path, path: str, nanoseconds: int) -> None:
    os.utime(root / path.lstrip("/"), ns=(nanoseconds, nanoseconds), follow_symlinks=False)


def times(plan: Plan) -> dict[bytes, int]:
    return {entry.path: entry.mtime_ns for entry in plan.entries}


def test_untouched_directories_and_all_files_have_their_own_time(root: Path) -> None:
    """Nothing happened, nothing is changed."""
    assert times(plan_for(root)) == {b"/": NOW, b"/top": NOW, b"/top/file": FILE, b"/top/directory": DIRECTORY}


def test_a_directory_that_the_run_touched_has_the_time_of_before(root: Path) -> None:
    """A temporary file of the run leaves its directory's time unchanged; a modified file keeps its time of now."""
    changes = (
        Change(path=b"/top", kind=ChangeKind.MODIFIED, mtime_ns=OLD),
        Change(path=b"/top/file", kind=ChangeKind.MODIFIED, mtime_ns=OLD),
        Change(path=b"/top/gone", kind=ChangeKind.REMOVED, mtime_ns=OLD),
    )
    found = times(plan_for(root, changes=changes))
    assert (found[b"/top"], found[b"/top/file"]) == (OLD, FILE)


def test_a_volume_is_as_new_as_what_it_holds_where_the_engine_mounted_its_copy(root: Path) -> None:
    """The copy's own directory was made with the container; a declared volume that is not mounted has its own time."""
    evidence = replace(evidence_for(root, ()), volumes=(b"/top",))
    assert times(decide(evidence, "file"))[b"/top"] == NOW
    evidence.inventory.devices[evidence.inventory.index[b"/top"]] += 1
    found = times(decide(evidence, "file"))
    assert (found[b"/top"], found[b"/"]) == (DIRECTORY, NOW)


@pytest.mark.parametrize("name", [b"/top/agent", b"/top/.dockerenv"])
def test_a_directory_that_we_or_the_engine_put_something_into_is_as_new_as_what_it_holds(
    root: Path, name: bytes
) -> None:
    """What its time was before cannot be known: it has that of the newest thing in it, in every container the same."""
    assert times(plan_for(root, excluded=(name,)))[b"/top"] == DIRECTORY


def test_what_the_run_created_or_touched_does_not_date_a_directory(root: Path) -> None:
    """Created files do not count, and a touched directory counts with the time of before."""
    write(root, "/top/new")
    changes = (
        Change(path=b"/top/new", kind=ChangeKind.CREATED, mtime_ns=0),
        Change(path=b"/top/directory", kind=ChangeKind.MODIFIED, mtime_ns=OLD),
    )
    assert times(plan_for(root, changes=changes, excluded=(b"/top/agent",)))[b"/top"] == FILE


def test_touched_directories_date_each_other_from_the_inside(root: Path) -> None:
    """A directory that holds a touched one takes what that one takes."""
    write(root, "/top/directory/inner")
    date(root, "/top/directory/inner", OLD)
    found = times(plan_for(root, excluded=(b"/top/agent", b"/top/directory/agent", b"/agent")))
    assert (found[b"/top/directory"], found[b"/top"], found[b"/"]) == (OLD, FILE, FILE)


@pytest.fixture
def mounted(root: Path) -> Iterator[Path]:
    """The tree with another file system on `/top/mount`; its time there is not the image's."""
    point = root / "top/mount"
    point.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(point)], capture_output=True)
    if made.returncode:
        pytest.skip(f"cannot mount here: {made.stderr.decode(errors='replace').strip()}")
    (point / "inside").write_text("x")
    yield root
    subprocess.run(["umount", str(point)], check=True)


def test_a_mount_point_stays_and_nothing_of_what_is_mounted(mounted: Path) -> None:
    """The directory is kept as a mount point, dated as its holder, which is dated by what else it holds."""
    plan = plan_for(mounted)
    assert reason(plan, "/top/mount").kind == "mount-point"
    assert b"/top/mount/inside" not in times(plan)
    assert times(plan)[b"/top/mount"] == times(plan)[b"/top"] == DIRECTORY
