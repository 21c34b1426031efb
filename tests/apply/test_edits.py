"""A plan's edits, carried out in a tar, in a directory and in place."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from apply_images import IS_ROOT, state, write
from package_images import (
    ADMIN,
    EXCLUDES,
    LOG,
    STATUS,
    TARGETS,
    alternatives,
    build_package,
    carry_out,
    dpkg,
    edit_of,
    empty_root,
    owned,
    plan,
)

from slimagent.apply import Tar, export
from slimagent.apply.decide import decide, sums
from slimagent.apply.edits.edit import edit
from slimagent.apply.in_place import removal as in_place
from slimagent.inventory.scan import scan
from slimagent.model.edit import Edit
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Entry, Plan

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="edits make files of root's, which needs root")

EDITOR = ADMIN + b"editor"
LISTED = b'[{"identifier":{"id":"A.one"}},{"identifier":{"id":"b.two"}}]'
MOMENT = 1_500_000_000_123_456_789


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def two_editors(directory: Path) -> tuple[bytes, set[bytes], tuple[Edit, ...]]:
    """An image with two editors, made by dpkg and update-alternatives, all of it old; a plan's drops and edits."""
    root = empty_root(directory / "root")
    for name, priority in (("alpha", 50), ("beta", 10)):
        files = [f"/usr/bin/ed-{name}", f"/usr/share/man/ed-{name}.1"]
        dpkg(root, "-i", build_package(directory, name, files))
        slave = ["--slave", "/usr/share/man/editor.1", "editor.1", files[1]]
        more = ["--slave", "/usr/share/man/more.1", "more.1", files[1]] if name == "beta" else []
        only = ["--slave", "/usr/share/man/only.1", "only.1", files[1]] if name == "alpha" else []
        alternatives(root, "--install", "/usr/bin/editor", "editor", files[0], str(priority), *slave, *more, *only)
    alternatives(root, "--set", "editor", "/usr/bin/ed-alpha")
    write(root, b"/ext/extensions.json", LISTED, 0o640)
    for number, path in enumerate(reversed(scan(root).paths)):
        os.utime(root + path, ns=(MOMENT, MOMENT + number * 1_000_000_007), follow_symlinks=False)
    edits = (
        edit_of(STATUS, "dpkg-status", "alpha:all"),
        edit_of(EDITOR, "dpkg-alternatives", "/usr/bin/ed-alpha"),
        edit_of(b"/ext/extensions.json", "vscode-extensions", "a.ONE"),
        edit_of(EXCLUDES, "dpkg-exclude", "path-exclude=/usr/share/info/*"),
    )
    return root, owned(root, "alpha"), edits


@pytest.mark.parametrize("how", TARGETS)
def test_dpkg_and_update_alternatives_agree_with_what_is_there(directory: Path, how: str) -> None:
    """One of two packages goes: dpkg does not know it and has nothing to complain of; the other editor is chosen."""
    root, drop, edits = two_editors(directory)
    result, receipt = carry_out(how, plan(root, drop, *edits), root, directory)
    assert receipt.left_alone == ()
    assert dpkg(result, "--audit") == ""
    assert [line.split()[1] for line in dpkg(result, "-l").split("\n") if line[:2] == "ii"] == ["beta"]
    assert dpkg(result, "--verify", "beta") == ""
    query = alternatives(result, "--query", "editor")
    assert "Status: auto\nBest: /usr/bin/ed-beta\nValue: /usr/bin/ed-beta\n" in query
    assert "alpha" not in query
    before = state(result, without=[LOG.encode()])
    alternatives(result, "--auto", "editor")  # it would repair a broken group
    after = state(result, without=[LOG.encode()])
    assert {path for path in before if before[path][5] != after[path][5]} == set()
    assert before.keys() == after.keys()
    assert os.readlink(result + b"/etc/alternatives/editor.1") == b"/usr/share/man/ed-beta.1"
    assert os.readlink(result + b"/usr/share/man/more.1") == b"/etc/alternatives/more.1"
    assert not os.path.lexists(result + b"/usr/share/man/only.1")
    assert not os.path.lexists(result + b"/etc/alternatives/only.1")


def test_the_three_targets_end_the_same(directory: Path) -> None:
    """Contents, modes, owners, times of files, links and directories; the receipts count the same."""
    root, drop, edits = two_editors(directory)
    made, receipts, states = plan(root, drop, *edits), [], []
    for how in TARGETS:
        result, receipt = carry_out(how, made, root, directory)
        states.append(state(result))
        receipts.append(receipt)
    assert states[0] == states[1] == states[2]
    for field in ("kept", "dropped", "bytes_kept", "bytes_dropped", "edited", "left_alone"):
        assert len({getattr(receipt, field) for receipt in receipts}) == 1, field
    inventory = scan(root)
    assert receipts[0].kept == len(inventory)
    assert receipts[0].bytes_kept == sums(inventory, list(range(len(inventory))), [])[0]
    # status, group, 2 links retargeted, 2 made, 2 removed, extensions and the excludes
    assert receipts[0].edited == 10


def test_edited_files_keep_everything_but_their_contents(directory: Path) -> None:
    """Mode, owner, attributes, time; new files are root's and as old as dpkg's status."""
    root = os.fsencode(directory / "root")
    write(root, b"/ext/extensions.json", LISTED, 0o640)
    write(root, STATUS, b"")
    os.makedirs(root + b"/etc/dpkg/dpkg.cfg.d")
    os.symlink(b"/nowhere", root + b"/link")
    try:
        os.setxattr(root + b"/ext/extensions.json", b"user.note", b"kept")
    except OSError:
        pytest.skip("the file system has no extended attributes")
    os.chown(root + b"/ext/extensions.json", 1000, 1001)
    for path in (b"/ext/extensions.json", STATUS):
        os.utime(root + path, ns=(0, MOMENT))
    edits = (
        edit_of(b"/ext/extensions.json", "vscode-extensions", "b.two"),
        edit_of(EXCLUDES, "dpkg-exclude", "path-exclude=/usr/share/info/*"),
    )
    before, made = state(root), plan(root, (), *edits)
    for how in TARGETS:
        result, _ = carry_out(how, made, root, directory)
        after = state(result)
        new = after.pop(EXCLUDES)
        assert new[:4] == (stat.S_IFREG | 0o644, 0, 0, MOMENT)
        assert after.keys() == before.keys()
        for path in before:
            if path == b"/ext/extensions.json":
                assert after[path][5] == b'[{"identifier":{"id":"A.one"}}]'
                assert after[path][:5] + after[path][6:] == before[path][:5] + before[path][6:]
            else:
                assert after[path] == before[path]


def test_the_same_tar_twice(directory: Path) -> None:
    """The same inputs give the same bytes, and the receipt's sum is the file's."""
    root, drop, edits = two_editors(directory)
    made = plan(root, drop, *edits)
    target = os.fsencode(directory / "out.tar")
    found = {export(made, "digest", scan(root), Tar(target)).sha256 for _ in range(2)}
    assert found == {hashlib.sha256(Path(os.fsdecode(target)).read_bytes()).hexdigest()}


@pytest.mark.parametrize("how", TARGETS)
def test_the_last_choice_takes_the_group_along(directory: Path, how: str) -> None:
    """The administrative file goes with its links; what somebody else put there stays, and the receipt says so."""
    root, drop, edits = two_editors(directory)
    for path in (b"/usr/share/man/more.1", b"/usr/share/man/only.1"):
        if os.path.lexists(root + path):
            os.unlink(root + path)
        write(root, path, b"a page by hand")
    both = edit_of(EDITOR, "dpkg-alternatives", "/usr/bin/ed-alpha", "/usr/bin/ed-beta")
    result, receipt = carry_out(how, plan(root, drop | owned(root, "beta"), edits[0], both), root, directory)
    assert receipt.left_alone == ()
    assert os.listdir(result + b"/etc/alternatives") == []
    assert os.listdir(result + ADMIN) == []
    assert not os.path.lexists(result + b"/usr/bin/editor")
    assert not os.path.lexists(result + b"/usr/share/man/editor.1")
    assert sorted(os.listdir(result + b"/usr/share/man")) == [b"more.1", b"only.1"]


def test_a_link_by_hand_stays(directory: Path) -> None:
    """A group with a link to a program of the user's own loses the choice, and nothing else changes."""
    root, drop, edits = two_editors(directory)
    write(root, b"/opt/mine")
    os.unlink(root + b"/etc/alternatives/editor")
    os.symlink(b"/opt/mine", root + b"/etc/alternatives/editor")
    _, receipt = carry_out("in-place", plan(root, drop, edits[1]), root, directory)
    assert receipt.edited == 1
    assert os.readlink(root + b"/etc/alternatives/editor") == b"/opt/mine"
    assert os.readlink(root + b"/usr/bin/editor") == b"/etc/alternatives/editor"
    both = edit_of(EDITOR, "dpkg-alternatives", "/usr/bin/ed-beta")
    _, receipt = carry_out("in-place", plan(root, owned(root, "beta"), both), root, directory)
    assert [path for path, _ in receipt.left_alone] == [b"/etc/alternatives/editor"]
    assert os.readlink(root + b"/usr/bin/editor") == b"/etc/alternatives/editor"
    assert not os.path.exists(root + EDITOR)


def test_links_that_the_plan_drops_are_not_made_again(directory: Path) -> None:
    """Neither the first run nor the next brings them back."""
    root, drop, edits = two_editors(directory)
    gone = {b"/etc/alternatives/editor", b"/usr/bin/editor", b"/usr/share/man/editor.1"}
    made = plan(root, drop | gone, *edits)
    for _ in range(2):
        carry_out("in-place", made, root, directory)
        assert not any(os.path.lexists(root + path) for path in gone)
    assert "Status: auto\nBest: /usr/bin/ed-beta\nValue: none" in alternatives(root, "--query", "editor")


def test_generic_links_in_a_merged_usr(directory: Path) -> None:
    """A link's directory may be reached through a link; what leads out of the root is left alone."""
    root = empty_root(directory / "root")
    os.symlink(b"usr/bin", root + b"/bin")
    write(root, b"/usr/bin/a")
    write(root, b"/usr/bin/b")
    write(root, b"/usr/share/slave")
    group = b"auto\n/bin/x\ns\n/../../bin/s\n\n/bin/a\n2\n\n/bin/b\n1\n/usr/share/slave\n\n"
    write(root, ADMIN + b"x", group)
    os.symlink(b"/etc/alternatives/x", root + b"/usr/bin/x")
    os.symlink(b"/bin/a", root + b"/etc/alternatives/x")
    made = plan(root, {b"/usr/bin/a"}, edit_of(ADMIN + b"x", "dpkg-alternatives", "/bin/a"))
    results = [state(carry_out(how, made, root, directory)[0]) for how in TARGETS]
    assert results[0] == results[1] == results[2]
    assert results[0][b"/etc/alternatives/x"][5] == b"/bin/b"
    assert results[0][b"/usr/bin/s"][5] == b"/etc/alternatives/s"
    assert results[0][b"/etc/alternatives/s"][5] == b"/usr/share/slave"


# What is left alone


def broken(root: bytes) -> None:
    write(root, b"/ext/extensions.json", LISTED[:-3])


def linked(root: bytes) -> None:
    os.link(root + b"/ext/extensions.json", root + b"/ext/other")


def not_a_file(root: bytes) -> None:
    os.rename(root + b"/ext/extensions.json", root + b"/ext/real")
    os.symlink(b"real", root + b"/ext/extensions.json")


@pytest.mark.parametrize("how", TARGETS)
@pytest.mark.parametrize(
    ("action", "why"), [(broken, "not whole JSON"), (linked, "other names"), (not_a_file, "not a regular file")]
)
def test_what_cannot_be_edited_is_left_alone(
    directory: Path, how: str, action: Callable[[bytes], None], why: str
) -> None:
    """It stays byte for byte, and the receipt says why and what that means."""
    root = os.fsencode(directory / "root")
    write(root, b"/ext/extensions.json", LISTED)
    action(root)
    before = state(root)
    made = plan(root, (), edit_of(b"/ext/extensions.json", "vscode-extensions", "a.one"))
    result, receipt = carry_out(how, made, root, directory)
    assert state(result) == before
    assert receipt.edited == 0
    ((path, reason),) = receipt.left_alone
    assert path == b"/ext/extensions.json"
    assert why in reason
    assert reason.endswith("what is gone stays listed in it")


def test_a_file_that_changed_since_the_plan_is_left_alone(directory: Path) -> None:
    """Unless it does not name the keys any more."""
    root = os.fsencode(directory / "root")
    write(root, b"/ext/extensions.json", LISTED)
    made = plan(root, (), edit_of(b"/ext/extensions.json", "vscode-extensions", "a.one"))
    write(root, b"/ext/extensions.json", LISTED + b"\n")
    _, receipt = carry_out("in-place", made, root, directory)
    assert "modified after the plan" in receipt.left_alone[0][1]
    write(root, b"/ext/extensions.json", b"[]")
    _, receipt = carry_out("in-place", made, root, directory)
    assert (receipt.left_alone, receipt.edited) == ((), 0)


def test_edits_of_what_is_not_there(directory: Path) -> None:
    """A file that is gone lists nothing; a directory is not made for the excludes; unknown kinds are named."""
    root = os.fsencode(directory / "root")
    write(root, b"/a")
    os.makedirs(root + b"/etc")
    os.symlink(directory, root + b"/etc/dpkg")
    (directory / "dpkg.cfg.d").mkdir()
    edits = (
        edit_of(STATUS, "dpkg-status", "a:all"),
        edit_of(EDITOR, "dpkg-alternatives", "/a"),
        edit_of(EXCLUDES, "dpkg-exclude", "path-exclude=/b"),
        edit_of(b"/a", "other", "x"),
    )
    _, receipt = carry_out("in-place", plan(root, (), *edits), root, directory)
    assert [path for path, _ in receipt.left_alone] == [b"/a", EXCLUDES]
    assert "does not exist" in receipt.left_alone[1][1]
    assert os.listdir(directory / "dpkg.cfg.d") == []


def test_hostile_plans_and_groups(directory: Path) -> None:
    """Keys and links of any kind: nothing is raised, and nothing outside changes."""
    root = os.fsencode(directory / "root")
    write(root, b"/a")
    write(root, b"/opt/kept", b"mine")
    group = b"auto\n/opt/kept\n" + b"s" * 255 + b"\n/" + b"x/" * 400 + b"y\n\n/a\n1\n\n/b\xff\n1\n/a\n\n"
    write(root, EDITOR, group)
    os.makedirs(root + b"/etc/alternatives")
    os.symlink(b"/a", root + b"/etc/alternatives/editor")
    write(root, b"/b\xff")
    for keys in (["/a"], ["\\x"], ["/b\\xff", ""], []):
        edits = (edit_of(EDITOR, "dpkg-alternatives", *keys), edit_of(b"/a", "dpkg-status", "\ud800"))
        inventory = scan(root)
        edit(made := plan(root, (), *edits), inventory, decide(made, inventory), lambda at: group)
    made = plan(root, {b"/a"}, edit_of(EDITOR, "dpkg-alternatives", "/a"))
    results = [state(carry_out(how, made, root, directory)[0]) for how in TARGETS]
    assert results[0] == results[1] == results[2]
    assert results[0][b"/opt/kept"][5] == b"mine"
    assert results[0][b"/etc/alternatives/editor"][5] == b"/b\xff"


# Interruptions in place


class Interruption(BaseException):
    """What Ctrl-C, or a killed process, is to a program."""


def interrupted(name: str, left: int, made: Plan, root: bytes, is_after: bool) -> bool:
    """Carry a plan out, and stop at the nth call of a function of `os`, before or after it is done."""
    real = getattr(os, name)
    calls = [left]

    def counted(*arguments: object, **options: object) -> object:
        calls[0] -= 1
        if calls[0] < 0 and not is_after:
            raise Interruption
        result = real(*arguments, **options)
        if calls[0] < 0:
            raise Interruption
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, name, counted)
        try:
            in_place.remove(made, "digest", scan(root))
        except Interruption:
            return True
    return False


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("name", ["rename", "unlink", "symlink", "fchmod"])
def test_an_interrupted_go_ends_the_same_when_run_again(directory: Path, name: str, is_after: bool) -> None:
    """Wherever it stops."""
    root, drop, edits = two_editors(directory)
    made = plan(root, drop, *edits)
    expected = None
    for left in range(40):
        copy = os.fsencode(directory / f"copy-{left}")
        subprocess.run(["cp", "-a", root, copy], check=True)
        stopped = interrupted(name, left, made, copy, is_after)
        in_place.remove(made, "digest", scan(copy))
        expected = expected or state(_whole(made, root, directory))
        assert state(copy) == expected
        if not stopped:
            break
    else:
        pytest.fail("it never came to an end")


def _whole(made: Plan, root: bytes, directory: Path) -> bytes:
    copy = os.fsencode(directory / "whole")
    subprocess.run(["cp", "-a", root, copy], check=True)
    in_place.remove(made, "digest", scan(copy))
    return copy


def test_a_second_go_does_nothing(directory: Path) -> None:
    """What is done is recognised, and nothing is left alone for it."""
    root, drop, edits = two_editors(directory)
    made = plan(root, drop, *edits)
    in_place.remove(made, "digest", scan(root))
    before = state(root)
    receipt = in_place.remove(made, "digest", scan(root))
    assert state(root) == before
    assert (receipt.edited, receipt.dropped, receipt.left_alone) == (0, 0, ())


@pytest.mark.parametrize("name", ["rename", "utime", "write"])
def test_a_fault_before_the_rename_leaves_the_old_file(directory: Path, name: str) -> None:
    """Whole and alone: no half file, and no other beside it."""
    root = os.fsencode(directory / "root")
    write(root, b"/ext/extensions.json", LISTED)
    made = plan(root, (), edit_of(b"/ext/extensions.json", "vscode-extensions", "a.one"))
    assert interrupted(name, 0, made, root, is_after=False)
    assert Path(os.fsdecode(root), "ext/extensions.json").read_bytes() == LISTED
    assert os.listdir(root + b"/ext") == [b"extensions.json"]


def test_a_file_that_changes_meanwhile_is_left_alone(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last look before the rename sees it, and a link in its place is not followed."""
    root = os.fsencode(directory / "root")
    write(root, b"/ext/extensions.json", LISTED)
    outside = directory / "outside"
    outside.write_bytes(LISTED)
    made = plan(root, (), edit_of(b"/ext/extensions.json", "vscode-extensions", "a.one"))

    def and_then(plan: Plan, inventory: Inventory, *rest: object) -> object:
        decision = edit(plan, inventory, *rest)  # type: ignore[arg-type]
        os.unlink(root + b"/ext/extensions.json")
        os.symlink(os.fsencode(outside), root + b"/ext/extensions.json")
        return decision

    monkeypatch.setattr(in_place, "edit", and_then)
    receipt = in_place.remove(made, "digest", scan(root))
    assert receipt.left_alone == ((b"/ext/extensions.json", "it was modified while the image was being slimmed"),)
    assert outside.read_bytes() == LISTED


def test_edits_cost_no_more_than_the_image_is_large(directory: Path) -> None:
    """Only what the edits name is read."""
    root = os.fsencode(directory / "root")
    write(root, b"/ext/extensions.json", LISTED)
    write(root, b"/other", b"x")
    inventory, read = scan(root), []

    def reader(at: int) -> bytes:
        read.append(inventory.paths[at])
        return LISTED

    made = plan(root, (), edit_of(b"/ext/extensions.json", "vscode-extensions", "a.one"))
    decision = edit(made, inventory, decide(made, inventory), reader)
    assert read == [b"/ext/extensions.json"]
    assert decision.bytes_kept == len(LISTED) + 1 - 30
    without = replace(made, edits=(), entries=tuple(Entry(*each) for each in made.entries))
    assert edit(without, inventory, decide(without, inventory), reader).actions == ()
