"""Removal from the image itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from apply_images import fill, plan_for, state, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slimagent.apply.in_place import removal as in_place
from slimagent.inventory.scan import scan
from slimagent.model.plan import Plan


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    directory = tmp_path.resolve() / "root"
    directory.mkdir()
    return os.fsencode(directory)


GONE = {b"/bin/a", b"/odd/latin1-\xe9", b"/odd/to-\xff", b"/empty", b"/fifo", b"/dangling"}


def test_what_the_plan_drops_is_gone_and_nothing_else_changed(root: bytes) -> None:
    """Contents, owners, modes and all times, those of the directories too, are as before."""
    fill(root)
    before = state(root, without=GONE)
    inventory = scan(root)
    seen: list[int] = []
    receipt = in_place.remove(plan_for(inventory, GONE), "digest", inventory, seen.append)
    assert state(root) == before
    assert (receipt.dropped, receipt.kept, receipt.left_alone) == (6, len(inventory) - 6, ())
    assert seen[-1] == 6
    assert receipt.target == "in-place:" + os.fsdecode(root)
    assert receipt.bytes_dropped == len(b"latin1-\xe9")  # /bin/a has other names: nothing is freed


def test_a_second_go_does_nothing(root: bytes) -> None:
    """Removing again what is gone is not an error and changes nothing."""
    fill(root)
    plan = plan_for(scan(root), GONE)
    in_place.remove(plan, "digest", scan(root))
    before = state(root)
    receipt = in_place.remove(plan, "digest", scan(root))
    assert receipt.dropped == 0
    assert state(root) == before


class Interruption(BaseException):
    """What Ctrl-C is to a program."""


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(min_value=0, max_value=8))
def test_an_interrupted_removal_ends_the_same_when_run_again(tmp_path: Path, done: int) -> None:
    """Wherever the first run stops, the second leaves the tree as one run would have."""
    root = os.fsencode(tmp_path.resolve() / "again")
    os.mkdir(root)
    try:
        fill(root)
        drop = GONE | {b"/bin", b"/bin/b", b"/bin/suid", b"/bin/suid-too", b"/bin/secret", b"/bin/ping"}
        drop |= {b"/bin/ping-too", b"/odd"}
        plan = plan_for(scan(root), drop)
        kept_directory = b"/odd"
        expected = state(root, without=drop - {kept_directory})
        _stop_after(plan, root, done)
        in_place.remove(plan, "digest", scan(root))
        assert state(root) == expected
    finally:
        shutil.rmtree(root)


def _stop_after(plan: Plan, root: bytes, done: int) -> None:
    unlink, left = os.unlink, [done]

    def counted(*arguments: object, **options: object) -> None:
        if not left[0]:
            raise Interruption
        left[0] -= 1
        unlink(*arguments, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interruption):
        patch.setattr(os, "unlink", counted)
        in_place.remove(plan, "digest", scan(root))


def test_a_file_that_changed_since_the_plan_is_left_alone(root: bytes) -> None:
    """It stays, its directory too, and the receipt names it."""
    write(root, b"/f/x")
    write(root, b"/f/y")
    plan = plan_for(scan(root), {b"/f", b"/f/x", b"/f/y"})
    write(root, b"/f/y", b"changed")
    receipt = in_place.remove(plan, "digest", scan(root))
    assert [path for path, _ in receipt.left_alone] == [b"/f/y"]
    assert os.listdir(root + b"/f") == [b"y"]


def test_a_file_that_changed_since_the_scan_is_left_alone(root: bytes) -> None:
    """The last look before unlinking sees it; new files keep their directory."""
    write(root, b"/f/x")
    write(root, b"/g/y")
    inventory = scan(root)
    write(root, b"/f/x", b"changed")
    write(root, b"/g/new")
    receipt = in_place.remove(plan_for(inventory, {b"/f/x", b"/g", b"/g/y"}), "digest", inventory)
    assert dict(receipt.left_alone) == {
        b"/f/x": "it was modified while the image was being slimmed",
        b"/g": "it holds something that the plan does not list",
    }
    assert receipt.dropped == 1
    assert os.listdir(root + b"/g") == [b"new"]


def test_a_directory_that_became_a_link_does_not_lead_out_of_the_root(root: bytes, tmp_path: Path) -> None:
    """Nothing is removed through it, however alike the file there is."""
    write(root, b"/f/x", b"same")
    inventory = scan(root)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(b"same")
    os.utime(outside / "x", ns=(0, os.stat(root + b"/f/x").st_mtime_ns))
    os.rename(root + b"/f", root + b"/moved")
    os.symlink(outside, os.fsdecode(root + b"/f"))
    receipt = in_place.remove(plan_for(inventory, {b"/f/x"}), "digest", inventory)
    assert [path for path, _ in receipt.left_alone] == [b"/f/x"]
    assert (outside / "x").exists()
