"""`slimagent export`: a trace of one container, and what stays of the image in a new one, untouched by any test."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import assert_error, slimagent
from python_images import record

from slimagent import documents
from slimagent.documents import decode_plan, decode_receipt, decode_trace, decode_verification
from slimagent.linux.files import digest
from slimagent.model import started
from slimagent.model.proof import Comparison, Missed, Verification
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.started import Reached, Started, Until
from slimagent.model.trace import How, Loss
from slimagent.trace.seccomp.backend import Seccomp

pytestmark = pytest.mark.skipif(Seccomp.unavailable() is not None, reason=f"seccomp: {Seccomp.unavailable()}")
FILE_LEVEL = ("--level", "file", "--budget", "0")
FILES = ("used", "changed", "removed", "missed", "of-start", "unused")


@dataclass(frozen=True)
class Image:
    """A tree, and a second one just like it, which takes its place when the first one was traced."""

    tree: Path
    pristine: Path
    out: Path

    def trace(self, script: str, *options: str | Path, name: str = "trace.json") -> subprocess.CompletedProcess[str]:
        arguments = ("trace", "--quiet", "--scope", self.tree, *options, "-o", self.out / name)
        command = ("--", "/bin/sh", "-ec", script) if script else ()
        return slimagent(*arguments, *command, cwd=self.out.parent)

    def in_a_new_container(self) -> None:
        shutil.rmtree(self.tree)
        self.pristine.rename(self.tree)

    def export(self, *options: str | Path, traces: Iterable[str] = ("trace.json",)) -> subprocess.CompletedProcess[str]:
        plan, receipt = self.out / "plan.json", self.out / "receipt.json"
        paths = [self.out / name for name in traces]
        return slimagent("export", *FILE_LEVEL, "--plan", plan, "--receipt", receipt, *options, *paths)

    def exported(self) -> dict[str, bytes]:
        """The files of the tree in the exported tar, with what is in them."""
        with tarfile.open(self.out / "rootfs.tar") as archive:
            inside = f"{str(self.tree)[1:]}/"
            files = {each.name.removeprefix("./"): each for each in archive if each.isfile()}
            return {
                name.removeprefix(inside): archive.extractfile(each).read()  # type: ignore[union-attr]  # it is a file
                for name, each in files.items()
                if name.startswith(inside) and ".dist-info/" not in name
            }

    @property
    def tar(self) -> tuple[str, Path]:
        return "--tar", self.out / "rootfs.tar"


@pytest.fixture
def image(tmp_path: Path) -> Image:
    base = tmp_path.resolve()
    found = Image(tree=base / "tree/site-packages", pristine=base / "pristine/site-packages", out=base / "out")
    found.out.mkdir()
    found.pristine.mkdir(parents=True)
    found.tree.parent.mkdir()
    record(found.pristine, "app", FILES)
    for name in FILES:
        (found.pristine / name).write_text(f"{name} as the image has it\n")
    subprocess.run(["cp", "-a", found.pristine, found.tree], check=True)
    return found


def test_what_was_used_is_exported_as_the_image_has_it(image: Image) -> None:
    """What the test changed, removed or made is only in the container that was traced."""
    tree = image.tree
    script = f"cat {tree}/used; echo other >> {tree}/changed; rm {tree}/removed; echo new > {tree}/new; cat {tree}/new"
    assert image.trace(script).returncode == 0
    image.in_a_new_container()
    done = image.export(*image.tar)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert image.exported() == {
        name: f"{name} as the image has it\n".encode() for name in ("used", "changed", "removed")
    }
    plan_data = (image.out / "plan.json").read_bytes()
    receipt = decode_receipt((image.out / "receipt.json").read_bytes())
    assert receipt.plan == digest(plan_data)
    assert receipt.sha256 == hashlib.sha256((image.out / "rootfs.tar").read_bytes()).hexdigest()
    assert decode_plan(plan_data).traces == (digest((image.out / "trace.json").read_bytes()),)
    assert sorted(os.listdir(tree)) == sorted((*FILES, "app-1.0.dist-info"))


def test_it_is_what_plan_and_apply_do_together(image: Image) -> None:
    """The same plan and the same tar, to the byte."""
    assert image.trace(f"cat {image.tree}/used").returncode == 0
    image.in_a_new_container()
    assert image.export("--quiet", *image.tar).stdout == ""
    plan, tar, trace = image.out / "plan2.json", image.out / "second.tar", image.out / "trace.json"
    assert slimagent("plan", "--quiet", *FILE_LEVEL, trace, "-o", plan).returncode == 0
    assert slimagent("apply", "--quiet", plan, "--tar", tar, "-o", image.out / "receipt2.json").returncode == 0
    assert tar.read_bytes() == (image.out / "rootfs.tar").read_bytes()
    first, second = (decode_plan((image.out / name).read_bytes()) for name in ("plan.json", "plan2.json"))
    assert (first.entries, first.reasons, first.traces) == (second.entries, second.reasons, second.traces)


def test_an_image_that_is_another_one_is_refused(image: Image) -> None:
    """Nothing is written then."""
    assert image.trace(f"cat {image.tree}/used").returncode == 0
    image.in_a_new_container()
    (image.tree / "more").write_text("it was not there")
    assert_error(image.export("--quiet", *image.tar), 3, "not the image")
    assert os.listdir(image.out) == ["trace.json"]


def test_several_traces_and_what_an_earlier_plan_missed(image: Image) -> None:
    """All of it stays."""
    assert image.trace(f"cat {image.tree}/used").returncode == 0
    assert image.trace(f"cat {image.tree}/changed", name="second.json").returncode == 0
    verification = Verification(
        tool="slimagent", plan="p", how="in-place", backend="seccomp", blind_spots=(), passed=False, steps=(),
        losses=(), missed=(Missed(path=os.fsencode(image.tree / "missed"), steps=("command",)),),
        comparisons=(Comparison(name="command", before=Outcome.PASSED, after=Outcome.FAILED),),
    )  # fmt: skip
    (image.out / "verification.json").write_bytes(documents.encode_verification(verification))
    image.in_a_new_container()
    repair = ("--repair", image.out / "verification.json")
    done = image.export("--quiet", *image.tar, *repair, traces=("trace.json", "second.json"))
    assert done.returncode == 0, done.stderr
    assert set(image.exported()) == {"used", "changed", "missed"}


def test_where_to_has_to_be_said_once(image: Image) -> None:
    """A tar or a layout, and where there is a directory."""
    assert image.trace(f"cat {image.tree}/used").returncode == 0
    image.in_a_new_container()
    assert_error(image.export(), 2, "--tar", "--oci")
    assert_error(image.export(*image.tar, "--oci", image.out / "layout"), 2, "--tar", "--oci")
    assert_error(image.export("--tar", image.out / "no/rootfs.tar"), 4, "no does not exist")
    assert os.listdir(image.out) == ["trace.json"]


# A start that was watched before

UP = Started(
    waited_for=Until.HEALTHY,
    backend="seccomp",
    reached=Reached(what=Until.HEALTHY, seconds=2.0),
    health=(Outcome.PASSED, ""),
)


def diary(image: Image, name: str, state: Started, *losses: Loss) -> Path:
    """A start that opened a file in the tree, and one elsewhere."""
    rows = [
        started.head(state),
        ["access", 0, int(How.OPENED), os.fsencode(image.tree / "of-start")],
        ["access", 1, int(How.LOOKED_UP), os.fsencode(image.tree / "used")],
        ["access", 0, int(How.OPENED), b"/etc/passwd"],
        *(["loss", loss.kind, loss.count, loss.example] for loss in losses),
        *([] if state.health is None else [started.health(*state.health)]),
        *([] if state.reached is None else [started.reached(state.reached)]),
        *([] if state.status is None else [started.ended(state.status)]),
    ]
    path = image.out / name
    path.write_bytes(b"".join(map(started.line, rows)))
    return path


def names(steps: Iterable[CheckResult]) -> list[tuple[str, str]]:
    return [(step.name, step.outcome.value) for step in steps]


def test_a_start_counts_as_steps_of_a_trace_and_of_its_proof(image: Image) -> None:
    """Its files stay, of those in the scope; the slim image is held against it; and a start alone is enough."""
    up = diary(image, "up.jsonl", UP)
    logs = image.out / "logs"
    assert image.trace(f"cat {image.tree}/used; echo said >&2", "--started", up, "--logs", logs).returncode == 0
    traced = decode_trace((image.out / "trace.json").read_bytes())
    assert names(traced.steps) == [("start", "passed"), ("health check", "passed"), ("command", "passed")]
    seen = {access.path: access.steps for access in traced.accesses}
    assert seen[os.fsencode(image.tree / "of-start")] == (0,)
    assert seen[os.fsencode(image.tree / "used")] == (1, 2)
    assert b"/etc/passwd" not in seen
    assert (logs / "command.log").read_text() == "used as the image has it\nsaid\n"
    assert image.trace("", "--profile", "base", "--started", up, name="alone.json").returncode == 0
    image.in_a_new_container()
    assert image.export("--quiet", *image.tar).returncode == 0
    assert set(image.exported()) == {"used", "of-start"}

    def verified(*options: str | Path) -> tuple[int, list[str]]:
        out = image.out / "verification.json"
        command = ("--", "/bin/sh", "-c", f"cat {image.tree}/used")
        done = slimagent(
            "verify", "--quiet", image.out / "plan.json", image.out / "trace.json", *options, "-o", out, *command
        )
        found = decode_verification(out.read_bytes())
        return done.returncode, [each.name for each in found.comparisons if each.worse]

    assert verified("--started", up) == (0, [])
    ended = diary(image, "ended.jsonl", Started(waited_for=Until.HEALTHY, backend="seccomp", status=1))
    status, worse = verified("--started", ended)
    assert (status, set(worse)) == (1, {"start", "start: still running", "start: healthy", "health check"})


def test_a_loss_of_a_start_is_a_loss_of_the_trace(image: Image) -> None:
    """A plan refuses it, as it refuses any other."""
    up = diary(image, "up.jsonl", UP, Loss(kind="supervisor-error", count=1, example="from here on nothing was seen"))
    image.trace(f"cat {image.tree}/used", "--started", up)
    image.in_a_new_container()
    assert_error(image.export("--quiet", *image.tar), 3, "supervisor-error")


def test_a_start_that_fails_is_evidence_all_the_same(image: Image) -> None:
    """An image that cannot start alone can be made slim; the trace's own status tells of it."""
    ended = diary(image, "ended.jsonl", Started(waited_for=Until.TIME, backend="seccomp", status=3))
    done = image.trace(f"cat {image.tree}/used", "--started", ended)
    assert done.returncode == 1
    steps = decode_trace((image.out / "trace.json").read_bytes()).steps
    assert (steps[0].name, steps[0].detail) == ("start", "exit status 3")
    image.in_a_new_container()
    assert image.export("--quiet", *image.tar).returncode == 0
    assert set(image.exported()) == {"used", "of-start"}


def test_a_damaged_start_and_one_without_its_status(image: Image) -> None:
    """Each is said by name."""
    path = image.out / "up.jsonl"
    path.write_bytes(started.line(started.head(UP)) + b"[]\n")
    done = image.trace("true", "--started", path)
    assert_error(done, done.returncode, "up.jsonl, line 2")
    ended = diary(image, "ended.jsonl", Started(waited_for=Until.TIME, backend="seccomp"))
    done = image.trace("true", "--started", ended)
    assert_error(done, done.returncode, '["ended", 0]')


def test_a_start_is_waited_for(image: Image) -> None:
    """Its file comes when the start is over; no step runs before."""
    up = diary(image, "late.jsonl", UP)
    hidden = up.rename(image.out / "hidden")
    timer = threading.Timer(1.0, hidden.rename, [up])
    timer.start()
    assert image.trace(f"test -e {up} && cat {image.tree}/used", "--started", up).returncode == 0
    timer.join()
