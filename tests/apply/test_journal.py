"""The journal of a removal in place: whatever kills it and wherever, the next run ends as one run would have."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from apply_images import DROP, fill, plan_for, state, write
from command_line import SLIMAGENT, environment, slimagent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slimagent.apply import Journal
from slimagent.apply.in_place import removal as in_place
from slimagent.apply.in_place.journal_format import (
    Start,
    decode_outcomes,
    decode_start,
    encode_outcome,
    encode_start,
)
from slimagent.apply.strip.outcome import Outcome
from slimagent.documents import encode_plan
from slimagent.errors import DocumentError, RefusedError, UnavailableError
from slimagent.inventory.fingerprint import fingerprint
from slimagent.inventory.scan import scan
from slimagent.linux.temporary import remove_left
from slimagent.model.edit import Edit
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt

STATUS, EXCLUDE = b"/var/lib/dpkg/status", b"/etc/dpkg/dpkg.cfg.d/zz-slim"
DROPPED = {b"/bin/a", b"/odd/latin1-\xe9", b"/odd/to-\xff", b"/empty", b"/fifo", b"/dangling", b"/bin/suid"}
KILLED = 9
# Every way in which a go changes a disk; an `open` counts if it makes a file.
CHANGING = ("open", "write", "unlink", "rename", "rmdir", "symlink", "utime", "chown", "fchown", "fchmod", "setxattr")
EDITS = (
    Edit(path=STATUS, kind="dpkg-status", keys=("vim:amd64",)),
    Edit(path=EXCLUDE, kind="dpkg-exclude", keys=("path-exclude=/usr/share/man/*",)),
    Edit(path=b"/var/lib/dpkg/alternatives/editor", kind="dpkg-alternatives", keys=("/usr/bin/vim",)),
)


def build(root: bytes) -> Plan:
    """An image with every corner and every kind of edit, and a plan for it."""
    os.makedirs(root)
    write(root, STATUS, b"Package: vim\nArchitecture: amd64\n\nPackage: dash\nArchitecture: amd64\n\n")
    write(root, b"/etc/dpkg/dpkg.cfg.d/other", b"")
    for name in (b"vim", b"nano"):
        write(root, b"/usr/bin/" + name, b"#!" + name, 0o755)
    os.makedirs(root + b"/etc/alternatives")
    os.symlink(b"/usr/bin/vim", root + b"/etc/alternatives/editor")
    os.symlink(b"/etc/alternatives/editor", root + b"/usr/bin/editor")
    choices = b"auto\n/usr/bin/editor\n\n/usr/bin/nano\n40\n/usr/bin/vim\n50\n\n"
    write(root, b"/var/lib/dpkg/alternatives/editor", choices)
    fill(root)
    inventory = scan(root)
    return plan_for(inventory, DROPPED | {b"/usr/bin/vim"}, edits=EDITS)


def go(plan: Plan, root: bytes, journal: bytes) -> Receipt:
    """A whole go, as `apply --in-place` has it."""
    with Journal(journal, "digest", root) as opened:
        receipt = in_place.remove(plan, "digest", scan(root), None, opened)
        opened.finish(root)
    return receipt


def killed_at(number: int, action: Callable[[], object]) -> bool:
    """Do something in a child that dies before its `number`th change of the disk; whether it died of that."""
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, KILLED)
        return status == KILLED
    try:
        left = [number]
        for name in CHANGING:
            setattr(os, name, _mortal(getattr(os, name), left))
        action()
        os._exit(0)
    finally:
        os._exit(1)


_OPEN = os.open


def _mortal(call: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    def die_or_call(*arguments: Any, **options: Any) -> Any:
        if call is not _OPEN or arguments[1] & os.O_CREAT:
            if not left[0]:
                os._exit(KILLED)
            left[0] -= 1
        return call(*arguments, **options)

    return die_or_call


@pytest.fixture
def scratch(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path.resolve())


def test_wherever_it_is_killed_the_next_go_ends_as_one_go_would(scratch: bytes) -> None:
    """Before each single change, the journal's own ones too: tree and receipt are those of an uninterrupted go."""
    root, journal, original = scratch + b"/root", scratch + b"/plan.journal", scratch + b"/original"
    plan = build(original)
    copy_tree(original, root)
    expected = go(plan, root, journal)
    left = state(root)
    assert (expected.edited, expected.left_alone) == (4, ())
    number = 0
    while True:
        shutil.rmtree(root)
        copy_tree(original, root)
        if not killed_at(number, lambda: go(plan, root, journal)):
            break
        # a kill after the journal went, but before the process ended, leaves nothing to take up
        if os.path.exists(journal) or state(root) != left:
            assert go(plan, root, journal) == expected, f"killed before change {number}"
        assert state(root) == left, f"killed before change {number}"
        assert os.listdir(scratch).count(b"plan.journal") == 0
        number += 1
    assert number > 30
    remove_left(scratch)
    assert sorted(os.listdir(scratch)) == [b"original", b"root"]


def copy_tree(source: bytes, target: bytes) -> None:
    """A copy with everything, that the same plan fits."""
    subprocess.run(["cp", "-a", source, target], check=True)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 45), max_size=4), st.sets(st.sampled_from(sorted(DROPPED)), max_size=7))
def test_it_may_be_killed_again_and_again(tmp_path: Path, numbers: list[int], dropped: set[bytes]) -> None:
    """Any sequence of kills, and any plan: the last run's receipt covers the whole removal."""
    scratch = os.fsencode(tmp_path.resolve()) + b"/again"
    root, journal = scratch + b"/root", scratch + b"/journal"
    os.mkdir(scratch)
    try:
        plan = build(scratch + b"/original")
        plan = replace(
            plan,
            entries=tuple(
                each._replace(reason=0) if each.reason == DROP and each.path not in dropped else each
                for each in plan.entries
            ),
        )
        copy_tree(scratch + b"/original", root)
        expected, left = go(plan, root, journal), state(root)
        shutil.rmtree(root)
        copy_tree(scratch + b"/original", root)
        for number in numbers:
            was_killed = killed_at(number, lambda: go(plan, root, journal))
            # a kill after the journal went leaves nothing to take up: the next go would be one over the slim image
            if not was_killed or not (os.path.exists(journal) or state(root) != left):
                break
        if os.path.exists(journal) or state(root) != left:
            assert go(plan, root, journal) == expected
        assert state(root) == left
    finally:
        shutil.rmtree(scratch)


@pytest.fixture
def halfway(scratch: bytes) -> Iterator[tuple[Plan, bytes, bytes]]:
    """An image of which some is removed, its plan and its journal."""
    root, journal = scratch + b"/root", scratch + b"/journal"
    plan = build(root)
    assert killed_at(12, lambda: go(plan, root, journal))
    assert os.path.exists(journal)
    yield plan, root, journal


def test_another_plan_is_refused(halfway: tuple[Plan, bytes, bytes]) -> None:
    """The image is neither what that plan was made for, nor anything that it makes."""
    _, root, journal = halfway
    with pytest.raises(RefusedError, match="of plan digest in") as caught, Journal(journal, "another", root):
        pytest.fail("the journal was opened")
    assert os.fsdecode(root) in caught.value.message
    assert f"--root {os.fsdecode(root)} --journal {os.fsdecode(journal)}" in caught.value.hint


def test_two_at_once_are_refused(halfway: tuple[Plan, bytes, bytes]) -> None:
    """While one works, the other may not."""
    _, root, journal = halfway
    with open(journal, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RefusedError, match="is using the journal"), Journal(journal, "digest", root):
            pytest.fail("the journal was opened")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: os.unlink(root + b"/bin/b"), "/bin/b is gone, but the plan keeps it"),
        (lambda root: write(root, b"/new", b""), "/new is new"),
        (lambda root: write(root, b"/odd/-dash", b"other"), "/odd/-dash is neither"),
        (lambda root: os.chmod(root + b"/usr/bin/nano", 0o700), "/usr/bin/nano is neither"),
        (lambda root: write(root, STATUS, b"cut"), "/var/lib/dpkg/status is neither"),
        (lambda root: point(root + b"/long-link"), "/long-link is neither"),
    ],
)
def test_an_image_that_changed_otherwise_is_refused(
    halfway: tuple[Plan, bytes, bytes], change: Callable[[bytes], object], words: str
) -> None:
    """One path is neither before nor after: nothing more is done, and the path is named."""
    plan, root, journal = halfway
    change(root)
    before = state(root)
    with pytest.raises(RefusedError) as caught, Journal(journal, "digest", root) as opened:
        in_place.remove(plan, "digest", scan(root), None, opened)
    assert words in caught.value.message
    assert state(root) == before
    assert os.path.exists(journal)


def point(path: bytes) -> None:
    os.unlink(path)
    os.symlink(b"elsewhere", path)


def test_what_changes_by_itself_is_no_reason(halfway: tuple[Plan, bytes, bytes]) -> None:
    """Only lasting entries are looked at; what came meanwhile stays."""
    plan, root, journal = halfway
    write(root, b"/odd/new", b"")

    def lasting(inventory: Inventory) -> list[int]:
        return [at for at, path in enumerate(inventory.paths) if not path.startswith(b"/odd")]

    with Journal(journal, "digest", root) as opened:
        in_place.remove(plan, "digest", scan(root), None, opened, lasting)
        opened.finish(root)
    assert os.path.exists(root + b"/odd/new")
    assert not os.path.exists(journal)


def test_a_journal_that_cannot_be_written_stops_all(scratch: bytes) -> None:
    """Nothing is changed without one."""
    root = scratch + b"/root"
    plan = build(root)
    before = state(root)
    with pytest.raises(UnavailableError), Journal(scratch + b"/absent/journal", "digest", root) as opened:
        in_place.remove(plan, "digest", scan(root), None, opened)
    assert state(root) == before


@pytest.mark.parametrize("data", [b"", b"{}\n", b"[]", b'{"schema": "slimagent/journal", "version": 3}\n', b"\xff\n"])
def test_what_is_no_journal_is_refused(scratch: bytes, data: bytes) -> None:
    """Somebody's file of that name is not taken for one, and stays."""
    with open(scratch + b"/journal", "wb") as file:
        file.write(data)
    with pytest.raises(DocumentError), Journal(scratch + b"/journal", "digest", scratch):
        pytest.fail("the journal was opened")
    assert os.path.exists(scratch + b"/journal")


def test_a_link_of_that_name_is_not_followed(scratch: bytes) -> None:
    """Nor is anything written through it."""
    os.symlink(b"elsewhere", scratch + b"/journal")
    with pytest.raises(UnavailableError), Journal(scratch + b"/journal", "digest", scratch):
        pytest.fail("the journal was opened")
    assert not os.path.exists(scratch + b"/elsewhere")


def test_a_journal_in_the_image_leaves_no_trace(scratch: bytes) -> None:
    """The directory that holds it keeps its time."""
    root = scratch + b"/root"
    plan = build(root)
    before = os.stat(root + b"/empty").st_mtime_ns
    with Journal(root + b"/empty/journal", "digest", root) as journal:
        journal.begin(scan(root), {})
        assert os.stat(root + b"/empty").st_mtime_ns == before
        assert os.listdir(root + b"/empty") == [b"journal"]
        journal.finish(root)
    assert os.stat(root + b"/empty").st_mtime_ns == before
    assert os.listdir(root + b"/empty") == []
    assert plan.entries


def test_decode_after_encode_is_the_identity(scratch: bytes) -> None:
    """Of every corner; only change times are not kept."""
    build(scratch + b"/root")
    inventory = scan(scratch + b"/root")
    inventory.ctimes = type(inventory.ctimes)("q", [0] * len(inventory))
    start = Start(plan="digest", token="0" * 32, inventory=inventory, contents={1: b"\x00\xff", 3: None})
    decoded = decode_start(encode_start(start).rstrip(b"\n"), "journal")
    assert decoded == start


@given(
    st.dictionaries(
        st.binary(min_size=1, max_size=9)
        .filter(lambda name: name not in (b".", b"..") and not set(b"/\0") & set(name))
        .map(lambda name: b"/" + name),
        st.text(st.characters(exclude_categories=["Cs"])),
    )
)
def test_outcomes_survive_and_a_torn_line_does_not_count(reasons: dict[bytes, str]) -> None:
    """Cut anywhere, what was whole before the cut is read."""
    outcomes = {path: Outcome(path=path, size=7, why=why) for path, why in reasons.items()}
    lines = [encode_outcome(each) for each in outcomes.values()]
    assert decode_outcomes(b"".join(lines), "journal") == outcomes
    if lines:
        assert len(decode_outcomes(b"".join(lines)[:-1], "journal")) == len(lines) - 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_journal_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes that flip or lack raise DocumentError and nothing else."""
    root = os.fsencode(tmp_path.resolve()) + b"/small"
    if not os.path.isdir(root):
        write(root, b"/f/x")
        os.symlink(b"x", root + b"/f/l")
    whole = bytearray(encode_start(Start(plan="digest", token="0" * 32, inventory=scan(root), contents={2: b"data"})))
    for _ in range(data.draw(st.integers(0, 2))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.sampled_from(b'0-9"[]{},.x/\\'))
    with contextlib.suppress(DocumentError):
        decode_start(bytes(whole[: data.draw(st.integers(0, len(whole)))]), "journal")


def test_sigkill_in_the_middle_of_a_large_removal(scratch: bytes) -> None:
    """A real process, a real signal, whenever it comes."""
    root, journal = scratch + b"/root", scratch + b"/journal"
    for number in range(3000):
        write(root, b"/d%d/f%d" % (number % 50, number))
    plan = plan_for(scan(root), {b"/d%d/f%d" % (number % 50, number) for number in range(0, 3000, 2)})
    copy_tree(root, scratch + b"/one-go")
    expected = go(plan, scratch + b"/one-go", scratch + b"/other")
    child = os.fork()
    if not child:
        try:
            go(plan, root, journal)
        finally:
            os._exit(0)
    while not os.path.exists(journal) or len(os.listdir(root + b"/d0")) > 40:
        assert os.waitpid(child, os.WNOHANG)[0] == 0, "it was over before it could be killed"
    os.kill(child, KILLED)
    os.waitpid(child, 0)
    assert os.path.exists(journal)
    assert replace(go(plan, root, journal), target="") == replace(expected, target="")
    assert state(root) == state(scratch + b"/one-go")


def kill_halfway(command: list[str], journal: bytes, directory: bytes) -> None:
    """Start a command and kill it when it has begun to remove files of a directory."""
    whole = len(os.listdir(directory))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()) as process:
        # On a busy machine the directory may be gone before we look again; others are left to remove.
        while not os.path.exists(journal) or (os.path.exists(directory) and len(os.listdir(directory)) == whole):
            assert process.poll() is None, "it was over before it could be killed"
        process.kill()
    assert process.returncode == -KILLED


def test_the_command_takes_up_what_was_killed(scratch: bytes) -> None:
    """Beside the plan lies the journal; another plan is refused meanwhile; the receipt covers the whole removal."""
    root, original, journal = scratch + b"/root", scratch + b"/original", scratch + b"/plan.json.journal"
    for number in range(6000):
        write(original, b"/d%d/f%d" % (number % 50, number))
    inventory = scan(original)
    dropped = {path for path in inventory.paths if path.startswith(b"/d1")}
    plan = plan_for(inventory, dropped, root=root, fingerprints=(fingerprint(inventory),))
    for name, made in (("plan.json", plan), ("other.json", replace(plan, level="cruft"))):
        Path(os.fsdecode(scratch), name).write_bytes(encode_plan(made))
    directory = os.fsdecode(scratch)
    arguments = (
        "apply",
        f"{directory}/plan.json",
        "--in-place",
        "--root",
        f"{directory}/root",
        "-o",
        f"{directory}/receipt.json",
    )
    copy_tree(original, root)
    assert slimagent(*arguments).returncode == 0
    expected, left = Path(directory, "receipt.json").read_bytes(), state(root)
    os.unlink(f"{directory}/receipt.json")
    shutil.rmtree(root)
    copy_tree(original, root)
    kill_halfway([*SLIMAGENT, *arguments], journal, root + b"/d11")
    refused = slimagent("apply", f"{directory}/other.json", *arguments[2:], "--journal", os.fsdecode(journal))
    assert (refused.returncode, "journal of another removal" in refused.stderr) == (3, True)
    done = slimagent(*arguments)
    assert done.returncode == 0, done.stderr
    assert (Path(directory, "receipt.json").read_bytes(), state(root)) == (expected, left)
    assert not os.path.exists(journal)
