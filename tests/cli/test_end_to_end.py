"""The whole way on a real small environment: trace, plan, export, verify; and what the slim one still does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import assert_error, environment, slimagent, wait_until
from python_images import record
from schemas import problems, problems_in

from slimagent.documents import decode_plan, decode_receipt, decode_trace, decode_verification
from slimagent.linux.files import digest
from slimagent.model.result import Outcome
from slimagent.trace.seccomp.backend import Seccomp

DOCUMENTS = [
    *("plan.json", "receipt.json", "removed.jsonl.gz", "rootfs.tar"),
    *("summary.json", "trace.json", "verification.json"),
]
MODULES = {
    "__init__.py": "from pkg import used\n",
    "used.py": "WORD = 'works'\n",
    "unused.py": "WORD = 'unused'\n" * 500,
    "py.typed": "",
}

pytestmark = pytest.mark.skipif(Seccomp.unavailable() is not None, reason=f"seccomp: {Seccomp.unavailable()}")

FILE_LEVEL = ("--level", "file", "--budget", "0")  # nothing stays that was not used


@dataclass(frozen=True)
class Environment:
    """A virtual environment with one package, and where the documents of a run over it go."""

    tree: Path
    out: Path

    @property
    def python(self) -> Path:
        return self.tree / "bin/python"

    @property
    def package(self) -> Path:
        (found,) = self.tree.glob("lib/python*/site-packages/pkg")
        return found

    def code(self, text: str) -> tuple[str, ...]:
        return "--", str(self.python), "-c", text

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`slimagent run` over the environment, of a command that uses the package."""
        arguments = (
            "run",
            *FILE_LEVEL,
            "--scope",
            str(self.tree),
            "--out",
            str(self.out),
            *arguments,
        )
        return slimagent(*arguments, *self.code("import pkg; print(pkg.used.WORD)"), cwd=self.out.parent)

    def verify(self, text: str) -> subprocess.CompletedProcess[str]:
        """`slimagent verify` with another command."""
        arguments = ("verify", self.out / "plan.json", self.out / "trace.json", "-o", self.out / "again.json")
        return slimagent(*arguments, *self.code(text), cwd=self.out.parent)


@pytest.fixture
def made(tmp_path: Path) -> Environment:
    """The environment, full."""
    base = tmp_path.resolve()
    found = Environment(tree=base / "tree", out=base / "out")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(found.tree)], check=True)
    (site,) = found.tree.glob("lib/python*/site-packages")
    (site / "pkg").mkdir()
    for name, text in MODULES.items():
        (site / "pkg" / name).write_text(text)
    record(site, "pkg", [f"pkg/{name}" for name in MODULES])
    subprocess.run([str(found.python), "-m", "compileall", "-q", str(site)], check=True)
    return found


def python_of(tree: Path, text: str) -> subprocess.CompletedProcess[str]:
    command = [str(tree / "bin/python"), "-c", text]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=False)


def unpacked(tar: Path, target: Path) -> Path:
    target.mkdir()
    subprocess.run(["tar", "-xf", str(tar), "-C", str(target)], check=True)
    return target


def test_a_whole_run_masked(made: Environment) -> None:
    """Status 0; five files; the unused module goes with its bytecode, and nothing is removed from the full tree."""
    done = made.run()
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(made.out)) == DOCUMENTS
    assert done.stdout.startswith("works\nworks\n")
    data = {name: (made.out / name).read_bytes() for name in DOCUMENTS}
    plan, receipt = decode_plan(data["plan.json"]), decode_receipt(data["receipt.json"])
    verification = decode_verification(data["verification.json"])
    assert plan.traces == (digest(data["trace.json"]),)
    assert receipt.plan == verification.plan == digest(data["plan.json"])
    assert receipt.sha256 == digest(data["rootfs.tar"])
    assert (verification.how, verification.passed, verification.missed) == ("masked", True, ())
    assert decode_trace(data["trace.json"]).steps[0].status == 0
    package = os.fsencode(made.package)
    verdicts = {entry.path: plan.reasons[entry.reason].verdict.value for entry in plan.entries}
    assert verdicts[package + b"/used.py"] == verdicts[package + b"/py.typed"] == "keep"
    assert verdicts[package + b"/unused.py"] == "drop"
    compiled = {path: verdict for path, verdict in verdicts.items() if path.endswith(b".pyc") and b"used" in path}
    assert sorted(compiled.values()) == ["drop", "keep"]
    assert python_of(made.tree, "import pkg.unused").returncode == 0


def test_the_export_unpacks_to_an_environment_that_runs(made: Environment, tmp_path: Path) -> None:
    """What was tested works in the unpacked tree, what was dropped is gone, modes and times are those of the image."""
    assert made.run("--quiet", "--verify", "none").returncode == 0
    root = unpacked(made.out / "rootfs.tar", tmp_path / "root")
    slim = root / made.tree.relative_to("/")
    assert python_of(slim, "import pkg; print(pkg.used.WORD)").stdout == "works\n"
    assert "unused" in python_of(slim, "import pkg.unused").stderr
    assert (slim / "bin/activate").exists()  # nobody's, in a tree of which something was used
    for path in slim.rglob("*"):
        full = (made.tree / path.relative_to(slim)).lstat()
        assert (path.lstat().st_mode, path.lstat().st_mtime_ns) == (full.st_mode, full.st_mtime_ns)


def test_a_whole_run_in_place(made: Environment) -> None:
    """The tree itself is slim afterwards, and the command was proved in it."""
    done = made.run("--verify", "in-place")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(made.out)) == sorted([*DOCUMENTS, "in-place.json"])
    verification = decode_verification((made.out / "verification.json").read_bytes())
    assert (verification.how, verification.passed) == ("in-place", True)
    assert not (made.package / "unused.py").exists()
    assert (made.package / "used.py").exists()
    assert python_of(made.tree, "import pkg; print(pkg.used.WORD)").stdout == "works\n"


def test_the_same_trace_gives_the_same_bytes_again(made: Environment) -> None:
    """A second plan and a second export from one trace are those of the first run."""
    assert made.run("--quiet").returncode == 0
    plan, tar = made.out / "again.json", made.out / "again.tar"
    assert slimagent("plan", "--quiet", *FILE_LEVEL, made.out / "trace.json", "-o", plan).returncode == 0
    assert slimagent("apply", "--quiet", plan, "--tar", tar, "-o", made.out / "receipt2.json").returncode == 0
    assert tar.read_bytes() == (made.out / "rootfs.tar").read_bytes()
    first, second = (decode_plan((made.out / name).read_bytes()) for name in ("plan.json", "again.json"))
    assert (first.entries, first.reasons) == (second.entries, second.reasons)


def test_explain_says_why(made: Environment) -> None:
    """A kept and a dropped path with their chains, for people and for programs; links on the way are followed."""
    assert made.run("--quiet").returncode == 0
    used, unused = made.package / "used.py", made.package / "unused.py"
    shown = slimagent("explain", made.out / "plan.json", used, unused).stdout
    assert f"{used}  keep" in shown
    assert "opened in command" in shown or "looked up in command" in shown
    assert f"{unused}  drop\n" in shown
    assert "- no test asked for it" in shown
    over_link = made.tree.parent / "link"
    over_link.symlink_to(made.tree)
    asked = slimagent("explain", "--json", made.out / "plan.json", over_link / "pyvenv.cfg", "/no/such")
    found, unknown = json.loads(asked.stdout)
    assert (found["what"], found["verdict"]) == (str(made.tree / "pyvenv.cfg"), "keep")
    assert unknown["verdict"] is None


def test_a_command_that_needs_a_dropped_file_is_a_regression(made: Environment) -> None:
    """It fails, the file is named as missed with its step, and the status is 1."""
    assert made.run("--quiet").returncode == 0
    done = made.verify("import pkg.unused")
    assert done.returncode == 1
    assert f"removed, but needed: {made.package / 'unused.py'}  (command)" in done.stdout
    again = decode_verification((made.out / "again.json").read_bytes())
    assert not again.passed
    assert [each.name for each in again.comparisons if each.worse] == ["command"]
    assert os.fsencode(made.package / "unused.py") in {each.path for each in again.missed}


@pytest.mark.parametrize("proof", ["masked", "in-place"])
def test_a_file_looked_for_in_vain_is_reported_although_the_test_passes(made: Environment, proof: str) -> None:
    """Status 0, and the file is named: the next test may need it. Masked and gone look the same."""
    assert made.run("--quiet", "--verify", proof).returncode == 0
    file = made.package / "unused.py"
    done = made.verify(f"import os, sys; sys.exit(os.path.exists({str(file)!r}))")
    assert done.returncode == 0, done.stdout + done.stderr
    again = decode_verification((made.out / "again.json").read_bytes())
    assert (again.passed, [each.path for each in again.missed]) == (True, [os.fsencode(file)])
    assert "1 removed file needed" in done.stdout


def test_the_run_s_own_files_are_no_part_of_the_image(made: Environment) -> None:
    """What the command creates in the image is not exported, and folders have the time that they had before."""
    before = made.package.stat().st_mtime_ns
    text = f"import pkg; open({str(made.package / 'new')!r}, 'w').write('x')"
    arguments = (
        "run",
        "--quiet",
        "--level",
        "file",
        "--budget",
        "0",
        "--scope",
        made.tree,
        "--out",
        made.out,
        *made.code(text),
    )
    assert slimagent(*arguments).returncode == 0
    assert (made.package / "new").exists()
    root = unpacked(made.out / "rootfs.tar", made.out.parent / "root")
    slim = root / made.package.relative_to("/")
    assert not (slim / "new").exists()
    assert slim.stat().st_mtime_ns == before


def test_an_output_folder_in_the_image_is_no_part_of_it(made: Environment) -> None:
    """The documents may lie in the tree that is looked at."""
    inside = Environment(tree=made.tree, out=made.tree / "slimagent-out")
    assert inside.run("--quiet").returncode == 0
    plan = decode_plan((inside.out / "plan.json").read_bytes())
    assert not [entry for entry in plan.entries if entry.path.startswith(os.fsencode(inside.out))]


def test_a_summary_for_programs(made: Environment) -> None:
    """`--json` prints it alone, as it is in the output directory; what the command says goes to standard error."""
    done = made.run("--json")
    assert done.stdout == (made.out / "summary.json").read_text()
    assert done.stderr == "works\nworks\n"
    summary = json.loads(done.stdout)
    receipt = decode_receipt((made.out / "receipt.json").read_bytes())
    assert summary["bytes_after"] == receipt.bytes_kept < summary["bytes_before"]
    assert summary["export"] == {"sha256": receipt.sha256, "bytes": (made.out / "rootfs.tar").stat().st_size}
    assert summary["plan"] == digest((made.out / "plan.json").read_bytes())
    assert (summary["verified"], summary["passed"], summary["worse"], summary["missed"]) == ("masked", True, [], [])
    assert (summary["status"], summary["error"], summary["image"], summary["tag"]) == (0, None, None, None)
    assert [(each["name"], each["before"], each["after"]) for each in summary["checks"]] == [
        ("command", "passed", "passed")
    ]
    assert sum(each["bytes"] for each in summary["dropped"]) == summary["bytes_dropped"]
    phases = {each["name"]: each["seconds"] for each in summary["phases"]}
    assert set(phases) >= {"scan the image", "run under trace", "plan", "export"}
    assert summary["seconds"] >= max(phases.values())


@pytest.mark.parametrize("proof", ["masked", "in-place", "none"])
def test_every_document_is_as_its_schema_says(made: Environment, proof: str) -> None:
    """Those of a whole run, with a receipt of a removal where there is one."""
    assert made.run("--quiet", "--verify", proof).returncode == 0
    assert problems_in(made.out) == []


def test_the_results_of_a_checklist_are_as_their_schema_says(made: Environment) -> None:
    """Of a check with items, and of one that fails."""
    profile, output = made.out.parent / "profile.toml", made.out.parent / "checks.json"
    command = '[[check]]\nkind = "command"\nshell = "echo why; false"\n'
    profile.write_text(f'name = "mine"\n{command}[[check]]\nkind = "python-imports"\nenvironments = ["{made.tree}"]\n')
    done = slimagent("check", "--quiet", "--profile", profile, "-o", output)
    assert done.returncode == 1, done.stderr
    found = json.loads(output.read_text())
    assert problems("checks", found) == []
    assert [bool(each["items"]) for each in found["results"]] == [False, True]


def test_a_run_that_is_not_proved_tells_a_script_why(made: Environment) -> None:
    """Status 1; the summary has what is worse, and the error that people read."""
    seen = made.out.parent / "seen"
    text = f"import os, pkg; was = os.path.exists({str(seen)!r}); open({str(seen)!r}, 'w').close(); exit(7 * was)"
    arguments = ("run", "--json", *FILE_LEVEL, "--scope", made.tree, "--out", made.out)
    done = slimagent(*arguments, *made.code(text), cwd=made.out.parent)
    assert done.returncode == 1
    assert problems_in(made.out) == []
    assert done.stdout == (made.out / "summary.json").read_text()
    summary = json.loads(done.stdout)
    assert [(each["name"], each["before"], each["after"]) for each in summary["worse"]] == [
        ("command", "passed", "failed")
    ]
    assert (summary["status"], summary["passed"], summary["error"]["slug"]) == (1, False, "check-failed")
    assert_error(done, 1, summary["error"]["message"], summary["error"]["hint"])


def test_a_run_that_ends_early_tells_a_script_why(made: Environment) -> None:
    """A step that fails on the full image: what there is by then. An earlier run's summary does not stay beside it."""
    assert made.run("--quiet").returncode == 0
    arguments = ("run", "--json", "--scope", made.tree, "--out", made.out)
    done = slimagent(*arguments, *made.code("exit(3)"), cwd=made.out.parent)
    assert done.returncode == 1
    assert done.stdout == (made.out / "summary.json").read_text()
    summary = json.loads(done.stdout)
    assert problems("summary", summary) == []
    assert [(each["before"], each["after"]) for each in summary["checks"]] == [("failed", None)]
    assert (summary["status"], summary["passed"], summary["plan"], summary["bytes_after"]) == (1, None, None, None)
    assert_error(done, 1, summary["error"]["message"], summary["error"]["hint"])


def test_a_run_that_does_not_begin_tells_a_script_why(made: Environment) -> None:
    """A profile that is not there: the summary is printed, and nothing is written."""
    arguments = ("run", "--json", "--profile", "nosuch", "--scope", made.tree, "--out", made.out)
    done = slimagent(*arguments, *made.code("0"), cwd=made.out.parent)
    summary = json.loads(done.stdout)
    assert problems("summary", summary) == []
    assert (summary["status"], summary["error"]["slug"]) == (2, "usage")
    assert_error(done, 2, summary["error"]["message"])
    assert not made.out.exists()


def test_a_run_that_is_interrupted_plans_nothing(made: Environment) -> None:
    """SIGTERM to the agent ends the command; the trace is kept, no plan is made of it, and the status is not 0."""
    ready = made.out.parent / "ready"
    text = f"import pkg, signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); open({str(ready)!r}, 'w'); "
    arguments = (
        "run",
        "--quiet",
        "--level",
        "file",
        "--budget",
        "0",
        "--scope",
        str(made.tree),
        "--out",
        str(made.out),
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "slimagent", *arguments, *made.code(text + "time.sleep(60)")],
        stderr=subprocess.PIPE, env=environment(),
    )  # fmt: skip
    wait_until(ready.exists, "the command runs")
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"the traced run was interrupted" in error
    assert sorted(os.listdir(made.out)) == ["summary.json", "trace.json"]
    assert json.loads((made.out / "summary.json").read_text())["error"]["message"] == "the traced run was interrupted"


@pytest.mark.parametrize(("shell", "status"), [("exit 3", 3), ("kill -KILL $$", 128 + signal.SIGKILL)])
def test_a_status_is_the_commands_own_where_ended_children_are_ignored(tmp_path: Path, shell: str, status: int) -> None:
    """Whoever starts us may ignore SIGCHLD: no failed or killed step passes because its status was lost."""
    done = slimagent(
        "trace", "--quiet", "--scope", tmp_path, "-o", tmp_path / "trace.json", "--", "sh", "-c", shell,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    (result,) = decode_trace((tmp_path / "trace.json").read_bytes()).steps
    assert (result.outcome, result.status) == (Outcome.FAILED, status)
