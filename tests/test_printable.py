"""Whatever documents and images hold, all that any command prints is printable: the program as a user starts it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import report_documents
from command_line import SLIMAGENT, environment, slimagent
from document_values import KINDS, SAMPLES
from hostile_texts import HOSTILE, assert_printable, planted
from plan_images import access, trace_for, write

from slimagent.cli import terminal
from slimagent.documents import decode_plan, encode_trace
from slimagent.inventory.scan import scan
from slimagent.model.proof import Receipt, Verification
from slimagent.model.reason import Verdict
from slimagent.model.report import Found
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.started import KIND, START_STEP
from slimagent.model.summary import Whole
from slimagent.model.trace import How
from slimagent.report.account import account, facts
from slimagent.report.checklist import check_lines, junit, summary
from slimagent.report.explain import Explainer
from slimagent.report.failure import failed_steps, not_proved
from slimagent.report.gate import failing, gate_lines
from slimagent.report.history import BLOCKS, history_table, plots, with_changes
from slimagent.report.reach import Configured, warnings
from slimagent.report.since import since, since_line
from slimagent.report.text import plan_summary, receipt_summary, stripped_files, verification_summary
from slimagent.report.together import together

DOCUMENTS = {kind.name: (planted(kind.encode(SAMPLES[kind.name]), kind.decode), kind.decode) for kind in KINDS}
ODD = HOSTILE.replace("\r", "").replace("\n", " ")  # one line, for what is written in lines


def test_the_documents_are_hostile() -> None:
    """O1: in each of them most texts could be planted, and are read back as they are."""
    for name, (data, decode) in DOCUMENTS.items():
        assert data.count(b"PWNED") > 3 and "\x1b]0;PWNED" in repr(decode(data)).encode().decode("unicode_escape"), name


def reports() -> dict[str, list[str]]:
    """Every report on every hostile document, in lines."""
    value = {name: decode(data) for name, (data, decode) in DOCUMENTS.items()}
    plan, receipt, verification = value["plan"], value["receipt"], value["verification"]
    assert isinstance(receipt, Receipt) and isinstance(verification, Verification)
    explainer = Explainer(plan)
    whole = Whole(plan=plan, trace=value["trace"], receipt=receipt, verification=verification)
    found = Found(name=HOSTILE, sha256=None, missing=HOSTILE)
    results: tuple[CheckResult, ...] = value["checks"]
    logs = {HOSTILE: (HOSTILE, HOSTILE)}
    start = replace(results[0], name=START_STEP, kind=KIND, outcome=Outcome.FAILED)
    return {
        "plan": plan_summary(plan),
        "receipt": [*receipt_summary(receipt), *stripped_files(receipt, plan)],
        "verification": verification_summary(verification),
        "failure": [*failed_steps(results, logs), *not_proved(verification, logs)],
        "checks": [line for each in results for line in check_lines(each)],
        "gate": [*gate_lines(value["gate"].rules), failing(value["gate"].rules[:1])],
        "history": [
            *history_table(with_changes([value["history-line"]])),
            *plots(with_changes([value["history-line"]]), BLOCKS, by_component=True),
            since_line(since(replace(value["history-line"], packages=(), packages_kept=0), value["history-line"])),
        ],
        "summary": [summary(results, [], 1.0)],
        "reach": list(warnings(plan, (start,), Configured(starts=True, health_check=True), None, start)),
        "report": account(together(value["summary"], whole, None, (found,)), HOSTILE),
        "facts": facts(together(value["summary"], whole, None, (found,))),
        "explain": [
            f"{what}: {why}"
            for found in (*map(explainer.explain_package, range(len(plan.packages))), explainer.explain(b"/x"))
            for what, why in ((found.what, found.cost), (found.level, found.stripped), *found.chain)
        ],
    }


@pytest.mark.parametrize("name", sorted(reports()))
def test_every_report_is_printed_line_by_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """O1: each line of a report is one line on the terminal, and nothing of it is obeyed."""
    lines = reports()[name]
    terminal.lines(lines)
    for line in lines:
        terminal.line(line, terminal.Styled(line, "red"), err=True)
    shown = capsys.readouterr()
    assert "PWNED" in shown.out or name == "summary"
    assert_printable(shown.out)
    assert_printable(shown.err)
    assert len(shown.out.splitlines()) == len(shown.err.splitlines()) == len(lines)


def test_a_live_line_has_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """O1: what is waited for is named after an image, and brackets are no markup in it."""
    with terminal.status(f"[bold]{HOSTILE}[/nope]") as show:
        show(f"[/red]{HOSTILE}")
    assert "\x1b]0" not in capsys.readouterr().err


def test_a_report_of_the_checks_for_machines_is_printable() -> None:
    """O1: JUnit XML is read by pages of build services."""
    data, decode = DOCUMENTS["checks"]
    results = decode(data)
    text = junit(results, [None] * len(results)).decode()
    assert "PWNED" in text
    assert_printable(text)


@pytest.mark.parametrize(
    "command",
    [
        ("explain", "plan", "*", "/x", HOSTILE),
        ("explain", "--json", "plan", "*", "/x"),
        ("compare", "plan", "plan"),
        ("compare", "plan", HOSTILE),
        ("sbom", "plan", "--before"),
        ("sbom", "plan", "--format", "xml"),
        ("sbom", "plan", "--diff"),
        ("sbom", "plan", "--diff", "--json"),
        ("apply", "plan", "--to", "out"),
        ("plan", "trace", "-o", "out"),
        ("merge", "trace", "trace", "-o", "out"),
        ("merge", "--json", "trace", "trace", "-o", "out"),
        ("verify", "plan", "trace", "--", "true"),
        ("check", "--profile", "p.toml", "--baseline", "checks"),
        ("check", "--profile", "p.toml", "--json"),
        ("dockerfile", "app", "--image-config", "config", "-o", "out"),
        ("report", "run"),
        ("report", "run", "--json"),
        ("report", "run", "--format", "markdown"),
        ("report", "run", "--html", "page.html"),
        ("report", HOSTILE),
        ("plan", HOSTILE),
        ("export", HOSTILE),
        (HOSTILE,),
        ("image", HOSTILE, "-t", HOSTILE, "--", "true"),
        ("check", "--profile", HOSTILE),
        ("explain", "--no-such", HOSTILE),
    ],
    ids=lambda command: " ".join(word for word in command if word != HOSTILE),
)
def test_what_a_command_prints_about_hostile_documents(tmp_path: Path, command: tuple[str, ...]) -> None:
    """O1: on standard output and standard error, whether it does its work or refuses."""
    for name, (data, _) in DOCUMENTS.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "run").mkdir()
    report_documents.write(tmp_path / "run", report_documents.plan())
    name = json.dumps(ODD)
    said = json.dumps(f"printf %s {json.dumps(ODD)!r}; exit 1")
    (tmp_path / "p.toml").write_text(f'[[check]]\nkind = "command"\nname = {name}\nshell = {said}\n')
    config = {"Env": [f"A={ODD}"], "Labels": {ODD: ODD}, "Cmd": [HOSTILE], ODD: [1], "ExposedPorts": {ODD: {}}}
    (tmp_path / "config").write_text(json.dumps([{"Config": config, "Architecture": "amd64", "Os": "linux"}]))
    done = slimagent(*command, cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert done.stdout or done.stderr
    assert_printable(done.stdout)
    assert_printable(done.stderr)


# Images


def hostile_image(root: Path) -> None:
    """A tree with records of every manager whose texts are hostile, and odd names of files."""
    common = f"Status: install ok installed\nSection: {ODD}\nArchitecture: all\nMaintainer: x\nDescription: {ODD}\n"
    status = f"Package: vim\nVersion: 1{ODD}\n{common}\nPackage: bad\nVersion: 1\nDepends: {ODD}\n{common}\n"
    write(root, "/var/lib/dpkg/status", status)
    write(root, "/var/lib/dpkg/info/vim.list", "/usr/bin/vim\n")
    write(root, "/usr/bin/vim", "#!/bin/sh\n")
    record = {"name": HOSTILE, "version": HOSTILE, "build": "0", "files": ["bin/x"], "depends": [HOSTILE]}
    write(root, "/opt/conda/conda-meta/x-1-0.json", json.dumps(record))
    write(root, "/opt/conda/bin/x", "x" * 100)
    npm = {"name": HOSTILE, "version": HOSTILE, "dependencies": {HOSTILE: HOSTILE}}
    write(root, "/usr/lib/node_modules/x/package.json", json.dumps(npm))
    extension = {"name": HOSTILE, "publisher": HOSTILE, "version": HOSTILE, "engines": {"vscode": "*"}}
    write(root, "/home/u/.vscode/extensions/a.b-1/package.json", json.dumps(extension))
    site = "/usr/lib/python3/dist-packages"
    write(root, f"{site}/y-1.dist-info/METADATA", f"Metadata-Version: 2.1\nName: y{ODD}\nVersion: {ODD}\n"
          f"Requires-Dist: {ODD}\n")  # fmt: skip
    write(root, f"{site}/y-1.dist-info/RECORD", "y.py,,\ny-1.dist-info/METADATA,,\n")
    write(root, f"{site}/y.py", "x")
    write(root, "/usr/lib/R/library/z/DESCRIPTION", f"Package: z{ODD}\nVersion: {ODD}\nImports: {ODD}\nBuilt: x\n")
    write(root, f"/opt/{HOSTILE.replace('/', '-')[:60]}/x", "x" * 500)
    write(root, f"/srv/{HOSTILE.replace('/', '-')[:60]}", "x" * 500)


def test_what_is_printed_about_a_hostile_image(tmp_path: Path) -> None:
    """O1: plan, explain and apply of an image whose package databases and names of files are hostile."""
    root = (tmp_path / "root").resolve()
    hostile_image(root)
    accesses = [access(path, How.OPENED) for path in ("/usr/bin/vim", "/opt/conda/bin/x")]
    (tmp_path / "trace").write_bytes(encode_trace(trace_for(scan(os.fsencode(root)), accesses)))
    done = slimagent("plan", "trace", "--root", root, "-o", "plan", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    plan = decode_plan((tmp_path / "plan").read_bytes())
    kinds = {each.package.kind for each in plan.packages}
    assert {"dpkg", "conda", "component"} <= kinds
    paths = [os.fsdecode(entry.path) for entry in plan.entries]
    gone = [each for each in plan.packages if plan.reasons[each.reason].verdict is Verdict.DROP]
    assert any("\x1b" in each.package.name for each in plan.packages) and gone
    for command in (("explain", "plan", "*"), ("explain", "--json", "plan", "*"), ("explain", "plan", *paths),
                    ("apply", "plan", "--root", root, "--to", "out")):  # fmt: skip
        shown = slimagent(*command, cwd=tmp_path)
        assert (shown.returncode, shown.stderr.count("Traceback")) == (0, 0), shown.stderr
        assert_printable(shown.stdout + shown.stderr)
    assert_printable(done.stdout + done.stderr)


def test_what_a_step_is_called_and_says(tmp_path: Path) -> None:
    """O1: the names of steps and what failed in them, in a trace and on the way to it."""
    scope = tmp_path.resolve() / "scope"
    scope.mkdir()
    write(scope, "/x")
    done = slimagent("trace", "--scope", scope, "-o", "t", "--also", f": {ODD!r}; exit 3", "--", "true", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "failed" in done.stderr
    assert_printable(done.stdout + done.stderr)


def test_a_file_that_is_printed_on_a_terminal(tmp_path: Path) -> None:
    """O1: a Dockerfile goes to a file or a program byte for byte, and to a terminal line by line as printable text."""
    config = {"Env": [f"A={ODD}"], "Labels": {"x": HOSTILE.replace("\r", "")}, "Cmd": [HOSTILE]}
    (tmp_path / "config").write_text(json.dumps([{"Config": config, "Architecture": "amd64", "Os": "linux"}]))
    command = ("dockerfile", "app", "--image-config", "config")
    piped = slimagent(*command, cwd=tmp_path)
    assert "A=" in piped.stdout and "\x1b]0;PWNED" in piped.stdout
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [*SLIMAGENT, *command], stdout=theirs, stderr=subprocess.PIPE, cwd=tmp_path, env=environment(), check=True
        )
        shown = os.read(ours, 1 << 20).decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
        os.close(theirs)
    assert "PWNED" in shown
    assert_printable(shown)
