"""By hand, step by step: what a test changes, copies of an image, a verification in the wrong place, and repair."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import assert_error, slimagent
from plan_images import access, evidence_for, kinds, with_run
from python_images import record

from slimagent.apply import altered
from slimagent.documents import decode_plan, decode_trace, decode_verification, encode_trace, identified
from slimagent.inventory.scan import scan
from slimagent.model.plan import Plan
from slimagent.model.proof import Verification
from slimagent.model.reason import ReasonKind, Verdict
from slimagent.model.trace import BlindSpot, Change, ChangeKind
from slimagent.plan.decide import decide
from slimagent.trace.seccomp.backend import Seccomp

needs_seccomp = pytest.mark.skipif(Seccomp.unavailable() is not None, reason=f"seccomp: {Seccomp.unavailable()}")
FILE_LEVEL = ("--level", "file", "--budget", "0")
START = "mv config.default.json config.json; rm seed.sql; echo more >> grown; cat config.json > /dev/null"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A directory with what a start script needs once, and more."""
    folder = tmp_path.resolve() / "image/site-packages"
    folder.mkdir(parents=True)
    names = ("config.default.json", "seed.sql", "grown", "unused")
    record(folder, "app", names)
    for name in names:
        (folder / name).write_text(name * 100)
        os.utime(folder / name, (1_600_000_000, 1_600_000_000))
    return folder


def renewed(image: Path, aside: Path) -> None:
    """The image as it was, at the same place: what another container of it has."""
    shutil.rmtree(image)
    subprocess.run(["cp", "-a", aside, image], check=True)


def run(image: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`slimagent run` of a script that works in the image."""
    options = ("--quiet", *FILE_LEVEL, "--scope", str(image), "--out", str(image.parent / "out"), "--verify", "none")
    return slimagent("run", *options, *arguments, "--", "sh", "-ec", f"cd {image}; {script}", cwd=image.parent)


def exported(out: Path) -> set[str]:
    shown = subprocess.run(["tar", "-tf", out / "rootfs.tar"], capture_output=True, text=True, check=True).stdout
    return {
        line.rsplit("/", 1)[1] for line in shown.splitlines() if not line.endswith("/") and ".dist-info/" not in line
    }


# What the test changed


@needs_seccomp
def test_what_the_test_changed_and_removed_is_not_exported(image: Path) -> None:
    """Status 3, each is named with what was done, the whole list is a file; nothing is exported."""
    done = run(image, START)
    assert_error(
        done, 3, "3 files", f"{image}/grown (modified)", f"{image}/seed.sql (removed)", "--accept-change", "plan"
    )
    out = image.parent / "out"
    assert sorted(os.listdir(out)) == ["changed.txt", "plan.json", "summary.json", "trace.json"]
    assert (out / "changed.txt").read_text().splitlines() == [
        f"removed\t{image}/config.default.json",
        f"modified\t{image}/grown",
        f"removed\t{image}/seed.sql",
    ]


@needs_seccomp
def test_changes_that_are_accepted_are_exported(image: Path) -> None:
    """By name or by pattern; what was not accepted is still refused. The list of an earlier run does not stay."""
    aside = image.with_name("aside")
    subprocess.run(["cp", "-a", image, aside], check=True)
    assert_error(run(image, START, "--accept-change", f"{image}/*.sql"), 3, "2 files", "config.default.json", "grown")
    renewed(image, aside)
    done = run(image, START, "--accept-change", f"{image}/**")
    assert done.returncode == 0, done.stderr
    assert exported(image.parent / "out") == {"grown"}
    assert not (image.parent / "out/changed.txt").exists()
    assert_error(run(image, "true", "--accept-change", "grown"), 2, "--accept-change grown", "absolute")


@needs_seccomp
@pytest.mark.parametrize(
    "script",
    ["echo x > new", "cat grown > /dev/null; mkdir d; touch d/x; rm -r d", "touch -d '2001-01-01' new; rm new"],
)
def test_what_the_test_only_made_is_no_change(image: Path, script: str) -> None:
    """Files of its own, and directories that it wrote in, are nothing to accept."""
    done = run(image, script)
    assert done.returncode == 0, done.stderr


@needs_seccomp
@pytest.mark.parametrize(
    "script", ["chmod 600 grown", "echo x > other; cp -p grown x; cat other > grown; touch -r x grown"]
)
def test_a_change_counts_whatever_the_time_says(image: Path, script: str) -> None:
    """Another mode, or other contents under the former time."""
    assert_error(run(image, script), 3, "1 file ", "grown (modified)")


# Two containers of one image


@needs_seccomp
def test_what_the_start_moves_and_removes_stays_in_the_image(image: Path) -> None:
    """Traced in one copy, planned and exported in another: the slim image can start as the full one does."""
    aside, out = image.with_name("aside"), image.parent
    subprocess.run(["cp", "-a", image, aside], check=True)
    traced = slimagent(
        "trace", "--quiet", "--scope", image, "-o", out / "trace.json", "--", "sh", "-ec", f"cd {image}; {START}"
    )
    assert traced.returncode == 0, traced.stderr
    trace = decode_trace((out / "trace.json").read_bytes())
    assert {each.path.rsplit(b"/", 1)[1]: each.kind.value for each in trace.changes[1:]} == {
        b"config.default.json": "removed",
        b"config.json": "created",
        b"grown": "modified",
        b"seed.sql": "removed",
    }
    used = slimagent("plan", "--quiet", *FILE_LEVEL, out / "trace.json", "-o", out / "after.json")
    assert used.returncode == 0, used.stderr
    here = slimagent("apply", "--quiet", out / "after.json", "--tar", out / "rootfs.tar")
    assert_error(here, 3, "3 files", "config.default.json (removed)", "grown (modified)", "seed.sql (removed)")
    renewed(image, aside)
    planned = slimagent("plan", "--quiet", *FILE_LEVEL, out / "trace.json", "-o", out / "plan.json")
    assert planned.returncode == 0, planned.stderr
    done = slimagent("apply", "--quiet", out / "plan.json", "--tar", out / "rootfs.tar")
    assert done.returncode == 0, done.stderr
    assert exported(out) == {"config.default.json", "seed.sql", "grown"}
    (out / "root").mkdir()
    subprocess.run(["tar", "-xf", out / "rootfs.tar", "-C", out / "root"], check=True)
    assert (out / f"root/{image}/grown").read_text() == "grown" * 100
    again = subprocess.run(["sh", "-ec", START], cwd=out / f"root/{image}", capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr


def plan_after(root: Path, changes: tuple[Change, ...], **run: object) -> Plan:
    """The plan of an image as it was before a run that changed this; the run left another image."""
    evidence = evidence_for(root, [access("/used")], changes=changes)
    return decide(dataclasses.replace(evidence, trace=with_run(evidence.trace, after="f" * 64, **run)), "file")


def test_what_a_blind_trace_saw_changed_stays(tmp_path: Path) -> None:
    """A backend that sees no lookups misses a removal and a renaming; directories and what was made are nothing."""
    for name in ("used", "usr/removed", "usr/modified", "usr/unused", "usr/folder/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    modified = [Change(path=b"/usr/" + name, kind=ChangeKind.MODIFIED, mtime_ns=1) for name in (b"folder", b"modified")]
    changes = (*modified, Change(path=b"/usr/removed", kind=ChangeKind.REMOVED, mtime_ns=1))
    blind = plan_after(tmp_path, changes, blind_spots=(BlindSpot.LOOKUPS,))
    assert kinds(blind, "/usr/removed", "/usr/modified", "/usr/folder") == ["changed", "changed", "folder"]
    seeing = plan_after(tmp_path, changes)
    assert kinds(seeing, "/usr/removed", "/usr/modified", "/usr/unused") == ["unused"] * 3


def test_in_the_image_as_it_was_nothing_is_of_the_runs_making(tmp_path: Path) -> None:
    """A path that the run seems to have made, and that a new container has: the run opened a closed directory."""
    (tmp_path / "used").write_text("x")
    changes = (Change(path=b"/used", kind=ChangeKind.CREATED, mtime_ns=0),)
    assert kinds(plan_after(tmp_path, changes), "/used") == ["opened"]


@pytest.mark.parametrize("traced_here", [True, False])
def test_only_what_stays_is_altered(tmp_path: Path, traced_here: bool) -> None:
    """What goes does not matter; of a file with its former time only the container that was traced in knows more."""
    (tmp_path / "usr").mkdir()
    for name in ("kept", "touched", "dropped"):
        (tmp_path / "usr" / name).write_text(name)
        os.utime(tmp_path / "usr" / name, ns=(7, 7))
    times = {"kept": 7, "touched": 1, "dropped": 1}
    changes = tuple(
        Change(path=b"/usr/" + name.encode(), kind=ChangeKind.MODIFIED, mtime_ns=mtime) for name, mtime in times.items()
    )
    plan = decide(evidence_for(tmp_path, [access("/usr/kept"), access("/usr/touched")], changes=changes), "file")
    assert {each.path for each in plan.entries if plan.reasons[each.reason].verdict is Verdict.DROP} == {
        b"/usr/dropped"
    }
    found = altered(plan, scan(os.fsencode(tmp_path.resolve())), lambda path: None, traced_here=traced_here)
    assert [each.path for each in found] == ([b"/usr/kept", b"/usr/touched"] if traced_here else [b"/usr/touched"])


# Verify in the wrong place


@pytest.fixture
def made(image: Path) -> Path:
    """Where the documents of a whole run are; it kept `grown` and dropped three files."""
    for number in range(20):
        (image / f"kept{number}").write_text("x")
    done = run(image, "cat grown kept* > /dev/null")
    assert done.returncode == 0, done.stderr
    return image.parent / "out"


def verify(made: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    given = arguments or (made / "plan.json", made / "trace.json")
    return slimagent("verify", "--quiet", *given, "-o", made / "verification.json", "--", "true")


@needs_seccomp
def test_a_trace_of_another_image_is_no_baseline(made: Path) -> None:
    """Status 3, and both documents are named."""
    trace = decode_trace((made / "trace.json").read_bytes())
    (made / "other.json").write_bytes(encode_trace(identified(dataclasses.replace(trace, before="0" * 64))))
    assert_error(verify(made, made / "plan.json", made / "other.json"), 3, "other.json is of another image than")


@needs_seccomp
def test_a_machine_without_what_stays_is_another_image(image: Path, made: Path) -> None:
    """Status 3 says so, and nothing speaks of removing files."""
    assert verify(made).returncode == 0
    for number in range(20):
        (image / f"kept{number}").unlink()
    done = verify(made)
    assert_error(done, 3, "not the image that the plan was made for", "20 of 23 kept files", "kept0", "new container")
    assert "in-place" not in done.stderr


@needs_seccomp
def test_half_of_what_goes_is_no_image_of_the_plan(image: Path, made: Path) -> None:
    """Neither the full image nor the slim one: status 3, and no word of removing the rest."""
    (image / "unused").unlink()
    done = verify(made)
    assert_error(done, 3, "neither the image that the plan was made for nor the slim one", "2 of 3 dropped files")
    assert "in-place" not in done.stderr


# Repair by hand


def verified(made: Path, *arguments: str | Path) -> tuple[subprocess.CompletedProcess[str], Verification]:
    """A verification whose options and command are given, and the document of the last one."""
    to = made / "verification.json"
    done = slimagent("verify", "--quiet", made / "plan.json", made / "trace.json", "-o", to, *arguments)
    return done, decode_verification(to.read_bytes())


@needs_seccomp
def test_only_the_named_steps_run_and_are_compared(image: Path) -> None:
    """Another step may fail meanwhile; a name that no step has is a usage error that lists those that there are."""
    line = f"cat {image}/grown"
    assert run(image, "true", "--also", line).returncode == 0
    made = image.parent / "out"
    done, found = verified(made, "--only", line, "--also", line, "--", "false")
    assert done.returncode == 0, done.stderr
    assert ([each.name for each in found.comparisons], [each.name for each in found.steps]) == ([line], [line])
    done, found = verified(made, "--also", line, "--", "false")
    assert (done.returncode, {each.name for each in found.steps}) == (1, {line, "command"})
    assert_error(verified(made, "--only", "nobody", "--", "true")[0], 2, "no step is called 'nobody'", "command", line)


@needs_seccomp
def test_the_full_image_shows_at_once_what_a_step_would_miss_one_by_one(image: Path, made: Path) -> None:
    """A masked run ends at the first missing file. --full names both; it proves nothing; a plan brings both back."""
    command = ("--", "sh", "-ec", f"cat {image}/unused; cat {image}/seed.sql")
    done, found = verified(made, *command)
    assert (done.returncode, [os.path.basename(each.path) for each in found.missed]) == (1, [b"unused"])
    shutil.copy(made / "verification.json", made / "first.json")
    done, found = verified(made, "--full", *command)
    assert (done.returncode, found.how, found.passed) == (1, "full", False)
    assert sorted(os.path.basename(each.path) for each in found.missed) == [b"seed.sql", b"unused"]
    assert not any(each.worse for each in found.comparisons)
    repairs = ("--repair", made / "first.json", "--repair", made / "verification.json")
    scope = ("--scope", str(image), "--quiet", *FILE_LEVEL)
    again = slimagent("plan", made / "trace.json", "-o", made / "again.json", *scope, *repairs)
    assert again.returncode == 0, again.stderr
    plan = decode_plan((made / "again.json").read_bytes())
    reasons = {os.path.basename(each.path): plan.reasons[each.reason] for each in plan.entries}
    assert {reasons[name].kind for name in (b"unused", b"seed.sql")} == {ReasonKind.MISSED}
    assert "in vain, round 1" in reasons[b"unused"].detail
    assert "used it in the full image" in reasons[b"seed.sql"].detail
    assert reasons[b"config.default.json"].verdict is Verdict.DROP
