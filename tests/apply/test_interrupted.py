"""Removals in place that meet other files, other removals, other roots and full disks: nothing of anybody's goes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from apply_images import DROP, IS_ROOT, plan_for, small_disk, state, write
from command_line import SLIMAGENT, assert_error, environment, slimagent, wait_until

from slimagent.apply import Journal, remove
from slimagent.apply.in_place.journal_format import decode_start, temporary_name
from slimagent.documents import decode_receipt, encode_plan
from slimagent.errors import DocumentError, RefusedError, UnavailableError
from slimagent.inventory.fingerprint import fingerprint
from slimagent.inventory.scan import scan
from slimagent.model.edit import Edit
from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt
from tests.apply.test_strip import build, image, planned, program_that, tools

__all__ = ["small_disk"]  # a fixture

EXTENSIONS = b"/ext/extensions.json"
HOLDS = """
import sys, time
from slimagent.apply import alone
with alone(sys.argv[1].encode()):
    print(flush=True)
    time.sleep(99)
"""
LISTED = b'[{"identifier":{"id":"a.one"}},{"identifier":{"id":"b.two"}}]'
EDIT = Edit(path=EXTENSIONS, kind="vscode-extensions", keys=("a.one",))


def go(plan: Plan, root: bytes, journal: Path, **changes: Any) -> Receipt:
    """A whole run, as `apply --in-place` has it."""
    with Journal(os.fsencode(journal), "digest", root) as opened:
        receipt = remove(plan, "digest", scan(root), journal=opened, tools=tools(**changes))
        opened.finish(root)
    return receipt


def dropping(plan: Plan, drop: set[bytes]) -> Plan:
    """A plan that drops these paths, too."""
    entries = (each._replace(reason=DROP) if each.path in drop else each for each in plan.entries)
    return replace(plan, entries=tuple(entries))


@pytest.fixture
def programs() -> Iterator[Path]:
    """A directory whose programs everybody can run: pytest's own are private."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.parametrize("name", [b".%b.slimagent-partial", b".slimagent-%b", b".%b.1.partial", b".%b.partial"])
def test_no_name_of_a_file_makes_it_ours(tmp_path: Path, name: bytes) -> None:
    """D1: a file of the image stays whatever it is called, beside what is edited and beside what is stripped."""
    root = os.fsencode(image(tmp_path / "root"))
    write(root, EXTENSIONS, LISTED)
    odd = {b"/ext/" + name % b"extensions.json", b"/usr/lib/" + name % b"liba.so", b"/opt/" + name % b"tool"}
    for path in odd:
        write(root, path, b"precious")
    plan, inventory = planned(tmp_path / "root", edits=(EDIT,))
    receipt = go(plan, root, tmp_path / "journal")
    assert (receipt.edited, receipt.stripped, receipt.dropped) == (1, 3, 0)
    assert receipt.kept == len(inventory)
    assert odd <= set(scan(root).paths)
    assert scan(root).paths == inventory.paths


def test_what_has_the_name_of_a_temporary_file_is_not_replaced(tmp_path: Path) -> None:
    """D1: such a name is made exclusively; should something have it, the run ends and that is still there."""
    root = os.fsencode(tmp_path.resolve() / "root")
    write(root, EXTENSIONS, LISTED)
    plan = plan_for(scan(root), edits=(EDIT,))
    with Journal(os.fsencode(tmp_path / "journal"), "digest", root) as journal:
        path = b"/ext/" + temporary_name(journal.token, EXTENSIONS)
        write(root, path, b"precious")
        with pytest.raises(UnavailableError, match="File exists"):
            remove(plan, "digest", scan(root), journal=journal)
    assert Path(os.fsdecode(root + path)).read_bytes() == b"precious"
    assert Path(os.fsdecode(root + EXTENSIONS)).read_bytes() == LISTED


def test_hard_links_whose_names_begin_alike_are_stripped_together(tmp_path: Path) -> None:
    """D4: each name has a temporary name of its own, however much of it they share, in one directory and in several."""
    root = tmp_path.resolve() / "root"
    build(root / "lib" / ("n" * 200 + "1"))
    for name in ("lib/" + "n" * 200 + "2", "lib/" + "n" * 254, "other/" + "n" * 200 + "1"):
        (root / name).parent.mkdir(exist_ok=True)
        os.link(root / "lib" / ("n" * 200 + "1"), root / name)
    plan, inventory = planned(root)
    receipt = go(plan, os.fsencode(root), tmp_path / "journal")
    assert (receipt.stripped, receipt.unstripped) == (1, ())
    after = scan(os.fsencode(root))
    assert after.paths == inventory.paths
    assert len({after.inodes[at] for at, mode in enumerate(after.modes) if stat.S_ISREG(mode)}) == 1


# Other roots, other plans, other removals


class Roots:
    """Two roots like one another, and a plan in a file that fits both."""

    def __init__(self, directory: Path) -> None:
        self.a, self.b, self.plan = directory / "a", directory / "b", directory / "plan.json"
        self.journal = directory / "plan.json.journal"
        for root in (self.a, self.b):
            for number in range(40):
                write(os.fsencode(root), b"/gone/%d" % number)
                write(os.fsencode(root), b"/kept/%d" % number)
                os.utime(root / f"gone/{number}", ns=(7, 7))
        inventory = scan(os.fsencode(self.a))
        drop = {path for path in inventory.paths if path.startswith(b"/gone")}
        made = plan_for(inventory, drop, fingerprints=(fingerprint(inventory),))
        self.plan.write_bytes(encode_plan(made))

    def apply(self, root: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
        """`apply --in-place` of the plan."""
        return slimagent("apply", self.plan, "--in-place", "--root", root, *more)

    def interrupt(self, root: Path) -> None:
        """What is there when a removal was killed after its first change."""
        digest = hashlib.sha256(self.plan.read_bytes()).hexdigest()
        inventory = scan(os.fsencode(root))
        with Journal(os.fsencode(self.journal), digest, inventory.root) as journal:
            journal.begin(inventory, {})
            os.unlink(root / "gone/0")


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return Roots(tmp_path.resolve())


def test_a_journal_belongs_to_one_root(roots: Roots) -> None:
    """D2: with another root it is refused, and the hint finishes what was begun; neither root is changed by that."""
    roots.interrupt(roots.a)
    before = [state(os.fsencode(root)) for root in (roots.a, roots.b)]
    refused = roots.apply(roots.b, "--quiet")
    assert_error(refused, 3, f"in {roots.a}", f"--root {roots.a} --journal {roots.journal}")
    assert [state(os.fsencode(root)) for root in (roots.a, roots.b)] == before
    assert roots.apply(roots.b, "--journal", roots.journal.with_name("other")).returncode == 0
    assert roots.apply(roots.a).returncode == 0
    assert sorted(os.listdir(roots.a)) == sorted(os.listdir(roots.b)) == ["kept"]


def test_a_journal_that_somebody_began_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """D2: two that both found none begin at once: the second is refused, and the first one's journal stays."""
    root = os.fsencode(tmp_path.resolve() / "root")
    write(root, b"/x")
    path = os.fsencode(tmp_path / "journal")
    with Journal(path, "one", root) as first, Journal(path, "two", root) as second:
        first.begin(scan(root), {})
        with pytest.raises(RefusedError, match="is using the journal"):
            second.begin(scan(root), {})
    assert decode_start(Path(os.fsdecode(path)).read_bytes().splitlines()[0], "journal").plan == "one"
    assert sorted(os.listdir(tmp_path)) == ["journal", "root"]


def test_two_removals_in_one_image_refuse_each_other(roots: Roots) -> None:
    """D3: also with two journals; and what keeps them apart is gone with the one that is killed."""
    command = [sys.executable, "-c", HOLDS, str(roots.a)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline()
            refused = roots.apply(roots.a, "--journal", roots.journal.with_name("other"), "--quiet")
            assert_error(refused, 3, "another slimagent is removing files", str(roots.a))
            assert roots.apply(roots.b, "--journal", roots.journal.with_name("third")).returncode == 0
        finally:
            other.kill()
    assert len(os.listdir(roots.a / "gone")) == 40
    assert roots.apply(roots.a).returncode == 0


def test_two_removals_at_once_in_one_tmpdir_let_each_other_be(tmp_path: Path, programs: Path) -> None:
    """D3: a second one strips, and ends, while the first one is at it; both come to their end."""
    shared = tmp_path / "tmp"
    shared.mkdir()
    gate, waits = programs / "gate", programs / "waits"
    os.mkfifo(gate)
    gate.chmod(0o644)
    waits.mkdir()
    waits.chmod(0o777)
    slow = program_that(programs, f'touch {waits}/it; cat {gate}; exec strip "$@"')
    roots = [image(tmp_path.resolve() / name) for name in ("a", "b")]
    plans = []
    for root in roots:
        made, inventory = planned(root)
        plans.append(replace(made, fingerprints=(fingerprint(inventory),)))
        (tmp_path / f"{root.name}.json").write_bytes(encode_plan(plans[-1]))
    options = {"env": environment() | {"TMPDIR": str(shared)}}
    first, second = (
        ("apply", tmp_path / f"{root.name}.json", "--in-place", "--root", root, "-o", tmp_path / f"{root.name}.out")
        for root in roots
    )
    with subprocess.Popen([*SLIMAGENT, *map(str, first), "--strip", slow], **options) as process:
        wait_until(lambda: (waits / "it").exists(), "strip of the first one runs")
        done = slimagent(*second, **options)
        gate.write_text("go")
    assert (done.returncode, process.returncode) == (0, 0), done.stderr
    receipts = [decode_receipt((tmp_path / f"{root.name}.out").read_bytes(), "receipt") for root in roots]
    assert [(each.stripped, each.unstripped) for each in receipts] == [(3, ())] * 2
    assert os.listdir(shared) == []


@pytest.mark.skipif(not IS_ROOT, reason="needs two users")
def test_what_another_user_has_in_tmpdir_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D3: whatever is there, and whoever made it, there is a free name."""
    shared = tmp_path / "tmp"
    for name in (".slimagent-strip", f".slimagent-{tmp_path.stat().st_ino}-{'0' * 32}.partial"):
        (shared / name).mkdir(parents=True)
        os.chown(shared / name, 1234, 1234)
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    root = image(tmp_path.resolve() / "root")
    plan, _ = planned(root)
    assert go(plan, os.fsencode(root), tmp_path / "journal").stripped == 3
    assert len(os.listdir(shared)) == 2


# What strip lacks


LACKING = (
    "echo strip: stX: No space left on device >&2; exit 1",
    "echo strip: a: Memory exhausted >&2; exit 1",
    "echo strip: a: Too many open files >&2; exit 1",
    "kill -KILL $$",
    "sh -c 'kill -KILL $$'; exit $?",
)


@pytest.mark.parametrize("text", LACKING)
def test_what_strip_lacked_is_tried_again(tmp_path: Path, programs: Path, text: str) -> None:
    """K1: nothing is removed before, and the next run of the same ends as a run that lacked nothing."""
    drop = {b"/etc/text"}
    reference = image(tmp_path / "reference")
    plan, _ = planned(reference)
    whole = go(dropping(plan, drop), os.fsencode(reference), tmp_path / "other")
    root = image(tmp_path / "root")
    plan, inventory = planned(root)
    plan = dropping(plan, drop)
    lacks = programs / "lacks"
    lacks.touch()
    size = inventory.sizes[inventory.index[b"/usr/lib/liba.so"]]
    program = program_that(
        programs,
        f'test -e {lacks} && for f; do test -f "$f" && test $(stat -c %s "$f") = {size} && {{ {text}; }}; done\n'
        'exec strip "$@"',
    )
    with pytest.raises(UnavailableError) as caught:
        go(plan, os.fsencode(root), tmp_path / "journal", program=program)
    assert "same command again" in caught.value.hint
    assert (root / "etc/text").exists()
    lacks.unlink()
    again = go(plan, os.fsencode(root), tmp_path / "journal", program=program)
    assert replace(again, target="") == replace(whole, target="")
    assert state(os.fsencode(root)) == state(os.fsencode(reference))


def test_what_is_said_of_a_file_is_not_tried_again(tmp_path: Path, programs: Path) -> None:
    """K1: a program that cannot strip a file, or crashes on it, says something about the file: that is an outcome."""
    for number, text in enumerate(("echo cannot >&2; exit 1", "kill -SEGV $$")):
        root = image(tmp_path / f"root-{number}")
        plan, _ = planned(root)
        receipt = go(plan, os.fsencode(root), tmp_path / "journal", program=program_that(programs, text))
        assert (receipt.stripped, len(receipt.unstripped)) == (0, 3)


def test_a_full_disk_is_tried_again(tmp_path: Path, small_disk: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """K1: copies lie on a disk that has room for some of them and for what strip makes of none."""
    reference, root = image(tmp_path / "reference"), image(tmp_path.resolve() / "root")
    whole = go(planned(reference)[0], os.fsencode(reference), tmp_path / "other")
    plan, inventory = planned(root)
    largest = max(inventory.sizes[inventory.index[path]] for path, _ in plan.strips)
    monkeypatch.setattr(tempfile, "tempdir", os.fsdecode(small_disk))
    for room in (0, largest // 2, largest + 4096, 3 * largest):
        free = os.statvfs(small_disk)
        with open(small_disk + b"/ballast", "wb") as file:
            file.write(bytes(max(0, free.f_bavail * free.f_frsize - room)))
        with contextlib.suppress(UnavailableError):
            receipt = go(plan, os.fsencode(root), tmp_path / "journal")
            assert replace(receipt, target="") == replace(whole, target="")
        assert os.listdir(small_disk) == [b"ballast"]
        os.unlink(small_disk + b"/ballast")
        if not (tmp_path / "journal").exists():
            break
    if (tmp_path / "journal").exists():
        receipt = go(plan, os.fsencode(root), tmp_path / "journal")
        assert replace(receipt, target="") == replace(whole, target="")
    assert state(os.fsencode(root)) == state(os.fsencode(reference))


# What was done before


def test_what_was_done_before_is_said_to_be_done(roots: Roots, tmp_path: Path) -> None:
    """K2: the same command after success, or after a kill that came when the journal was gone: status 0."""
    receipt = tmp_path / "receipt.json"
    assert roots.apply(roots.a, "-o", receipt).returncode == 0
    before = receipt.read_bytes(), state(os.fsencode(roots.a))
    listed = (tmp_path / "removed.jsonl.gz").read_bytes()
    again = roots.apply(roots.a, "-o", receipt)
    assert again.returncode == 0
    assert again.stdout == f"nothing to do: everything that the plan drops is gone from {roots.a}\n"
    assert (receipt.read_bytes(), state(os.fsencode(roots.a))) == before
    assert (tmp_path / "removed.jsonl.gz").read_bytes() == listed
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "plan.json", "receipt.json", "removed.jsonl.gz"]


@pytest.mark.parametrize(
    "change", ["a file that stays is gone", "it has another size", "a file that goes is back", "there is a new one"]
)
def test_what_is_another_image_is_not_said_to_be_done(roots: Roots, change: str) -> None:
    """K2: it is refused as before: one that lacks what the plan keeps, or has what it drops or does not know."""
    assert roots.apply(roots.a).returncode == 0
    if change == "a file that stays is gone":
        (roots.a / "kept/1").unlink()
    elif change == "it has another size":
        (roots.a / "kept/1").write_bytes(b"")
    elif change == "a file that goes is back":
        write(os.fsencode(roots.a), b"/gone/3")
        os.utime(roots.a / "gone/3", ns=(7, 7))
    else:
        (roots.a / "new").touch()
    assert_error(roots.apply(roots.a, "--quiet"), 3, "not the image that the plan was made for")


def test_edits_count_as_done_only_if_they_are(tmp_path: Path) -> None:
    """K2: a plan that only edits is done when its file is as it makes it, and is carried out as long as it is not."""
    root = tmp_path.resolve() / "root"
    write(os.fsencode(root), EXTENSIONS, LISTED)
    write(os.fsencode(root), b"/gone")
    inventory = scan(os.fsencode(root))
    made = plan_for(inventory, {b"/gone"}, edits=(EDIT,), fingerprints=(fingerprint(inventory),))
    (tmp_path / "plan.json").write_bytes(encode_plan(made))
    arguments = ("apply", tmp_path / "plan.json", "--in-place", "--root", root, "--quiet")
    assert slimagent(*arguments).returncode == 0
    assert slimagent(*arguments).returncode == 0
    listing = root / "ext/extensions.json"
    listing.write_bytes(LISTED)
    os.utime(listing, ns=(0, inventory.mtimes[inventory.index[EXTENSIONS]]))
    assert_error(slimagent(*arguments), 3, "not the image that the plan was made for")


# Damaged journals


@pytest.mark.parametrize("targets", ["[[0,null]]", "[[0,7]]", '[[0,["x"]]]', "[[0]]", "[0]"])
def test_a_link_target_that_is_not_a_text_is_damage(tmp_path: Path, targets: str) -> None:
    """R1: any value of any kind in a journal is read or refused."""
    root = os.fsencode(tmp_path.resolve() / "root")
    write(root, b"/x")
    with Journal(os.fsencode(tmp_path / "journal"), "digest", root) as journal:
        journal.begin(scan(root), {})
    data = (tmp_path / "journal").read_bytes()
    assert b'"targets":[]' in data
    with pytest.raises(DocumentError):
        decode_start(data.replace(b'"targets":[]', f'"targets":{targets}'.encode()).strip(), "journal")
