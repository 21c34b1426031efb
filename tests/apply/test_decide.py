"""What goes, what stays, what is left alone."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from apply_images import DROP, KEEP, REASONS, plan_for, write
from hypothesis import given
from hypothesis import strategies as st

from slimagent.apply.decide import Decision, decide
from slimagent.inventory.scan import scan
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Entry
from slimagent.paths.algebra import parent


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path.resolve())


def names(inventory: Inventory, entries: list[int]) -> set[bytes]:
    return {inventory.paths[at] for at in entries}


def after(root: bytes, drop: set[bytes], created: set[bytes] = frozenset()) -> tuple[Inventory, Decision]:  # type: ignore[assignment]
    inventory = scan(root)
    return inventory, decide(plan_for(inventory, drop, created), inventory)


def test_only_what_the_plan_drops_goes(root: bytes) -> None:
    """Drops and what the run created go; only what the image loses counts; the rest stays."""
    for path in (b"/a", b"/b", b"/c"):
        write(root, path, b"x" * 10)
    inventory, decision = after(root, {b"/a"}, {b"/b"})
    assert names(inventory, decision.dropped) == {b"/a", b"/b"}
    assert names(inventory, decision.kept) == {b"/", b"/c"}
    assert (decision.bytes_kept, decision.bytes_dropped, decision.lost) == (10, 10, 1)
    assert decision.left_alone == ()


def test_a_path_that_the_plan_does_not_list_stays_with_its_directories(root: bytes) -> None:
    """A new file keeps the directories above it, although the plan drops them."""
    write(root, b"/a/b/old")
    inventory = scan(root)
    plan = plan_for(inventory, {b"/a", b"/a/b", b"/a/b/old"})
    write(root, b"/a/b/new")
    fresh = scan(root)
    decision = decide(plan, fresh)
    assert names(fresh, decision.dropped) == {b"/a/b/old"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda path: Path(os.fsdecode(path)).write_bytes(b"longer than before"), "size"),
        (lambda path: os.utime(path, ns=(0, 7)), "modified"),
        (lambda path: (os.unlink(path), os.mkdir(path)), "modified"),
        (lambda path: (os.unlink(path), os.symlink(b"elsewhere", path)), "size"),
    ],
)
def test_what_changed_since_the_plan_is_left_alone(root: bytes, change: object, why: str) -> None:
    """A file of another size, time or kind stays, and the reason is named; so for what the run created."""
    for verdict in ("drop", "created"):
        path = b"/file-" + verdict.encode()
        write(root, path)
        inventory = scan(root)
        plan = plan_for(inventory, **{verdict: {path}})  # type: ignore[arg-type]
        change(root + path)  # type: ignore[operator]
        fresh = scan(root)
        decision = decide(plan, fresh)
        assert not decision.dropped
        assert [(left, why in reason) for left, reason in decision.left_alone] == [(path, True)]


def test_a_file_where_a_filled_directory_was_is_left_alone(root: bytes) -> None:
    """A dropped directory that is a file now stays."""
    write(root, b"/f/x")
    plan = plan_for(scan(root), {b"/f", b"/f/x"})
    os.unlink(root + b"/f/x")
    os.rmdir(root + b"/f")
    write(root, b"/f")
    decision = decide(plan, scan(root))
    assert decision.left_alone == ((b"/f", "it was a directory when the plan was made"),)


def test_what_is_gone_already_is_no_matter(root: bytes) -> None:
    """A dropped path that the image does not have any more is neither dropped nor left alone."""
    write(root, b"/f/x")
    write(root, b"/f/y")
    plan = plan_for(scan(root), {b"/f", b"/f/x", b"/f/y"})
    os.unlink(root + b"/f/x")
    fresh = scan(root)
    decision = decide(plan, fresh)
    assert names(fresh, decision.dropped) == {b"/f", b"/f/y"}
    assert decision.left_alone == ()


def test_directories_have_the_time_of_the_plan_and_files_their_own(root: bytes) -> None:
    """The run's temporary files touched the directories; what the files say is kept."""
    write(root, b"/f/x")
    inventory = scan(root)
    plan = plan_for(inventory)
    os.utime(root + b"/f/x", ns=(0, 5))
    os.utime(root + b"/f", ns=(0, 6))
    fresh = scan(root)
    decision = decide(plan, fresh)
    assert decision.mtimes[fresh.index[b"/f"]] == inventory.mtimes[inventory.index[b"/f"]]
    assert decision.mtimes[fresh.index[b"/f/x"]] == 5


def test_a_mount_point_stays_and_has_no_time_of_its_own(root: bytes) -> None:
    """What is mounted is not the image's: the directory stays, with its holder's time."""
    os.makedirs(root + b"/f/mnt")
    inventory = scan(root)
    inventory.mount_points.add(b"/f/mnt")
    inventory.mtimes[inventory.index[b"/f"]] = 11
    decision = decide(plan_for(inventory, {b"/f", b"/f/mnt"}), inventory)
    assert not decision.dropped
    assert decision.left_alone == ((b"/f/mnt", "another file system is mounted on it"),)
    assert decision.mtimes[inventory.index[b"/f/mnt"]] == 11


def test_hard_links_lead_to_the_first_name_that_stays(root: bytes) -> None:
    """When the first name goes, the second is the file; its bytes are kept, not dropped."""
    write(root, b"/a", b"12345")
    os.link(root + b"/a", root + b"/b")
    os.link(root + b"/a", root + b"/c")
    inventory, decision = after(root, {b"/a"})
    assert decision.first == {inventory.index[b"/c"]: inventory.index[b"/b"]}
    assert (decision.bytes_kept, decision.bytes_dropped) == (5, 0)
    _, decision = after(root, {b"/a", b"/b", b"/c"})
    assert (decision.bytes_kept, decision.bytes_dropped) == (0, 5)


PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda parts: b"/" + "/".join(parts).encode())


def built(directories_and_files: set[bytes]) -> Inventory:
    """An inventory in memory: a path is a directory if another lies below it."""
    paths = {b"/"}
    for path in directories_and_files:
        while path != b"/":
            paths.add(path)
            path = parent(path)
    inventory = Inventory(root=b"/", scopes=(b"/",))
    holders = {parent(path) for path in paths}
    for at, path in enumerate(sorted(paths, key=lambda path: path.split(b"/") if path != b"/" else [])):
        inventory.index[path] = at
        inventory.paths.append(path)
        inventory.modes.append(0o40755 if path in holders else 0o100644)
        for column in (inventory.uids, inventory.gids, inventory.devices, inventory.ctimes):
            column.append(0)
        inventory.inodes.append(at)
        inventory.links.append(1)
        inventory.sizes.append(3)
        inventory.mtimes.append(at)
    return inventory


@given(st.sets(PATHS, min_size=1), st.data())
def test_laws(paths: set[bytes], data: st.DataObject) -> None:
    """Kept and dropped part the inventory; only drops go; what stays has its directory; deciding again adds nothing."""
    inventory = built(paths)
    drop = data.draw(st.sets(st.sampled_from(inventory.paths)))
    plan = plan_for(inventory, drop)
    decision = decide(plan, inventory)
    assert sorted(decision.kept + decision.dropped) == list(range(len(inventory)))
    assert names(inventory, decision.dropped) <= drop
    kept = names(inventory, decision.kept)
    assert all(parent(path) in kept for path in kept)
    assert all(any(parent(other) == path for other in kept) for path in kept & drop)


def test_two_hundred_thousand_entries_take_a_second() -> None:
    """The cost is linear and small."""
    paths = {b"/%d/%d/%d" % (a, b, c) for a in range(20) for b in range(50) for c in range(200)}
    inventory = built(paths)
    entries = tuple(
        Entry(path, KEEP if at % 3 else DROP, inventory.sizes[at], inventory.mtimes[at])
        for at, path in enumerate(inventory.paths)
    )
    plan = plan_for(inventory, entries=entries, reasons=REASONS)
    start = time.process_time()
    decision = decide(plan, inventory)
    assert time.process_time() - start < 2
    assert len(decision.dropped) > 60_000
