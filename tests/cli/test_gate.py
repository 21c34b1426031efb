"""`slimagent gate` and `slimagent history` on a real run, and both in the run itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_line import assert_error, environment, slimagent
from document_values import AUDIT
from hostile_texts import HOSTILE, assert_printable
from python_images import record
from schemas import problems, problems_in

from slimagent.documents import decode_lines, decode_summary, encode_audit, encode_line, encode_summary
from slimagent.model.history import PastRun
from slimagent.trace.seccomp.backend import Seccomp

pytestmark = pytest.mark.skipif(Seccomp.unavailable() is not None, reason=f"seccomp: {Seccomp.unavailable()}")

ENVIRONMENT = {**environment(), "GITHUB_ACTIONS": ""}
GITHUB = {**ENVIRONMENT, "GITHUB_ACTIONS": "true"}


def tree_in(base: Path) -> Path:
    """A virtual environment with two packages, of which one is used."""
    tree = base / "tree"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tree)], check=True)
    (site,) = tree.glob("lib/python*/site-packages")
    for name in ("used", "other"):
        (site / name).mkdir()
        (site / name / "__init__.py").write_text("WORD = 'works'\n" * 30_000)
        record(site, name, [f"{name}/__init__.py"])
    return tree


def run(tree: Path, out: Path, *options: str, code: str = "import used") -> subprocess.CompletedProcess[str]:
    command = ("--", str(tree / "bin/python"), "-B", "-c", code)
    return slimagent("run", "--scope", tree, "--out", out, *options, *command, cwd=out.parent, env=ENVIRONMENT)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documents of a run."""
    base = tmp_path_factory.mktemp("run").resolve()
    done = run(tree_in(base), base / "out", "--quiet")
    assert done.returncode == 0, done.stderr
    return base / "out"


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    shutil.copytree(finished, tmp_path / "out", ignore=shutil.ignore_patterns("*.tar"))
    return tmp_path / "out"


def gate(out: Path, *arguments: str, env: dict[str, str] = ENVIRONMENT) -> subprocess.CompletedProcess[str]:
    return slimagent("gate", "out", *arguments, cwd=out.parent, env=env)


def history(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return slimagent("history", *arguments, cwd=out.parent, env=ENVIRONMENT)


def runs_in(path: Path) -> tuple[PastRun, ...]:
    return decode_lines(path.read_bytes())


def earlier(out: Path, **changes: object) -> Path:
    """A history with a run of the same image before this one."""
    assert history(out, "add", "out", "--file", "h.jsonl", "--quiet").returncode == 0
    path = out.parent / "h.jsonl"
    (found,) = runs_in(path)
    line = {**json.loads(encode_line(found)), "plan": "before", "when": "2020-01-01T00:00:00Z", **changes}
    path.write_text(json.dumps(line) + "\n")
    return path


# The gate


def test_rules_that_hold(out: Path) -> None:
    """Status 0, a line each, and the answer last."""
    done = gate(out, "--gate", "worse = 0", "--gate", "missed=0", "--gate", "package present: python:used")
    assert (done.returncode, done.stderr) == (0, "")
    first, second, third, last = done.stdout.splitlines()
    assert first == "✓ no check or item is worse than before: as it must be"
    assert second == "✓ no removed file was needed: as it must be"
    assert third.startswith("✓ python:used is in the slim image (")
    assert last == "gate: 3 of 3 rules passed"


def test_a_rule_that_fails(out: Path) -> None:
    """Status 1; the figure, the limit and the rule."""
    done = gate(out, "--gate", "size < 1 kB", "--gate", "package absent: python:other")
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("✗ size is ") and lines[0].endswith(" above the limit of 1 kB")
    assert lines[1] == "    rule: size < 1 kB  (--gate)"
    assert lines[2] == "✓ no package of the slim image is python:other"
    assert lines[3] == "gate: 1 of 2 rules failed"
    assert gate(out, "--gate", "size < 1 kB", "--quiet").stdout == done.stdout.replace(lines[2] + "\n", "").replace(
        "1 of 2 rules failed", "1 of 1 rule failed"
    )
    assert gate(out, "--gate", "worse = 0", "--quiet").stdout == ""


@pytest.mark.parametrize("rule", ["size < 2 gb", "smaller 40 %", "package absent: python-other", ""])
def test_a_rule_that_cannot_be_read(out: Path, rule: str) -> None:
    """Status 2 and the nearest rule, whatever else is wrong."""
    assert_error(gate(out, "--gate", "worse = 0", "--gate", rule), 2, "--gate", repr(rule), "did you mean ")
    done = slimagent("image", "no-such-image", "-t", "x", "--gate", rule, "--", "false", env=ENVIRONMENT)
    assert_error(done, 2, "--gate", repr(rule), "did you mean ")


def test_the_rules_of_a_profile(out: Path) -> None:
    """With their place, their reason, and what becomes of them; the command line's come last."""
    (out.parent / "app.toml").write_text(
        '[[gate]]\nrule = "size < 1 kB"\nlevel = "warn"\nwhy = "nodes pull it"\n[[gate]]\nrule = "missed = 0"\n'
    )
    done = gate(out, "--profile", "./app.toml", "--gate", "worse = 0")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert lines[0].startswith("! warned: size is ")
    assert lines[1:3] == ["    rule: size < 1 kB  (profile ./app.toml: gate[0])", "    why: nodes pull it"]
    assert lines[-1] == "gate: 2 of 3 rules passed, 1 warned"
    strict = gate(out, "--profile", "./app.toml", "--gate", "size < 1 kB")
    assert strict.returncode == 1 and strict.stdout.count("size is") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('rule = "siez < 1 GB"', ("gate[0]", "'siez < 1 GB'", "did you mean 'size < 1 GB'?")),
        ('rule = "size < 1 GB"\nlevel = "wran"', ("gate[0].level", "'warn'")),
        ('rule = "size < 1 GB"\nwhen = "x"', ("gate[0]", "unknown key 'when'")),
        ('why = "x"', ("gate[0]", "rule is missing")),
    ],
)
def test_a_profile_whose_gate_is_wrong(out: Path, text: str, words: tuple[str, ...]) -> None:
    """The place in the file is named; also before a test runs."""
    (out.parent / "app.toml").write_text(f"[[gate]]\n{text}\n")
    assert_error(gate(out, "--profile", "./app.toml"), 2, *words)
    for command in (("image", "no-such-image", "-t", "x"), ("run", "--force", "--out", "o2")):
        done = slimagent(*command, "--profile", "./app.toml", "--", "false", cwd=out.parent, env=ENVIRONMENT)
        assert_error(done, 2, *words)


def with_image_id(out: Path, image_id: str) -> None:
    """What the engine said of the run's image."""
    (out / "image.json").write_text(
        json.dumps([{"Id": image_id, "Architecture": "amd64", "Os": "linux", "Config": {"Env": ["PATH=/bin"]}}])
    )


def test_a_package_whose_record_cannot_be_read_is_not_called_absent(tmp_path: Path) -> None:
    """orjson takes no NaN, conda does: the rule is skipped in the run, and later by the run's plan."""
    tree = tree_in(tmp_path)
    (tree / "conda-meta").mkdir()
    (tree / "conda-meta/gpl-1-0.json").write_text('{"name": "gpl", "version": "1", "files": [], "x": NaN}')
    out = tmp_path / "out"
    rules = ("--gate", "package absent: conda:gpl", "--gate", "package absent: r:gpl")
    done = run(tree, out, *rules)
    assert done.returncode == 0, done.stderr
    assert problems_in(out) == []
    for shown in (done.stdout, gate(out, *rules).stdout):
        assert "- skipped: it is unknown whether a package of the slim image is conda:gpl: 1 package record " in shown
        assert "✓ no package of the slim image is r:gpl" in shown
    image_id = f"sha256:{'ab' * 32}"
    with_image_id(out, image_id)
    (out / "audit.json").write_bytes(encode_audit(replace(AUDIT, image_id=image_id, findings=())))
    found = gate(out, "--gate", "finding none: duplicate", "--audit", "out/audit.json")
    assert "- skipped: it is unknown whether a finding is duplicate: 1 package record could not be read" in found.stdout
    (out / "audit.json").write_bytes(encode_audit(replace(AUDIT, image_id=image_id, findings=(), traced=False)))
    assert gate(out, "--gate", "finding none: hidden", "--audit", "out/audit.json").stdout.startswith("✓ ")


def test_findings_of_an_audit(out: Path) -> None:
    """Without an audit of this very image the rule is skipped; a kind that does not exist is an error."""
    audit, image_id = out / "audit.json", f"sha256:{'ab' * 32}"
    with_image_id(out, image_id)
    audit.write_bytes(encode_audit(replace(AUDIT, image_id=image_id)))
    done = slimagent("gate", out, "--gate", "finding none: unused", "--audit", audit, env=ENVIRONMENT)
    assert done.returncode == 1
    assert "1 finding is unused (4 B)" in done.stdout
    done = slimagent("gate", out, "--gate", "finding none: dup*", "--audit", audit, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")
    done = slimagent("gate", out, "--gate", "finding none: duplicate", env=ENVIRONMENT)
    assert (done.returncode, "skipped" in done.stdout, "--audit FILE" in done.stdout) == (0, True, True)
    done = slimagent("gate", out, "--gate", "finding none: dupplicate", "--audit", audit, env=ENVIRONMENT)
    assert_error(done, 2, "no such kind of finding", "did you mean duplicate?")


def test_the_audit_of_another_image_proves_nothing(out: Path) -> None:
    """By its ID, which also tells two images of one name apart; without IDs the rule is skipped."""
    audit, rule = out / "audit.json", ("--gate", "finding none: duplicate", "--audit", "out/audit.json")
    audit.write_bytes(encode_audit(replace(AUDIT, image_id="sha256:aa")))
    assert "- skipped: out does not say which image it is of" in gate(out, *rule).stdout
    with_image_id(out, "sha256:bb")
    assert_error(gate(out, *rule), 2, "audit of another image", "sha256:aa", "slimagent audit")
    with_image_id(out, "aa")  # as Podman writes it
    assert gate(out, *rule).stdout.startswith("✓ ")
    audit.write_bytes(encode_audit(replace(AUDIT, image_id="")))
    assert "- skipped: out/audit.json was made inside a container" in gate(out, *rule).stdout


def test_no_rule_is_a_mistake(out: Path) -> None:
    assert_error(gate(out), 2, "no rule was given")
    assert_error(gate(out, "--profile", "base"), 2, "no rule was given")


def test_growth_since_another_run(out: Path) -> None:
    """Of a history the run before, of another directory that one; without either the rule is skipped."""
    size = decode_summary((out / "summary.json").read_bytes()).bytes_after
    assert size is not None
    earlier(out, bytes_after=size - 50_000)
    done = gate(out, "--gate", "growth < 40 kB", "--history", "h.jsonl")
    assert done.returncode == 1
    assert done.stdout.startswith("✗ growth since 2020-01-01 00:00 is 50.0 kB: 10.0 kB above the limit of 40 kB\n")
    assert gate(out, "--gate", "growth < 60 kB", "--history", "h.jsonl").returncode == 0
    same = gate(out, "--gate", "growth <= 0", "--against", "out")
    assert same.stdout.startswith("✓ growth since the run in out is 0 B: exactly the limit of 0\n")
    skipped = gate(out, "--gate", "growth < 4 MB")
    assert (skipped.returncode, skipped.stdout.splitlines()[-2]) == (0, "gate: 0 of 1 rule passed, 1 skipped")
    assert skipped.stdout.splitlines()[-1] == "  hint: growth needs an earlier run: --history FILE, or --against DIR"
    assert_error(gate(out, "--gate", "growth < 4 MB", "--history", "h.jsonl", "--against", "out"), 2, "together")


def test_a_document_for_scripts(out: Path) -> None:
    """As its schema says, with the exit status; and Markdown for people."""
    done = gate(out, "--gate", "size < 1 kB", "--gate", "growth < 1 B", "--json")
    document = json.loads(done.stdout)
    assert problems("gate", document) == []
    assert (done.returncode, document["status"]) == (1, 1)
    assert [each["outcome"] for each in document["rules"]] == ["failed", "skipped"]
    shown = gate(out, "--gate", "size < 1 kB", "--format", "markdown")
    assert shown.returncode == 1 and "\n| **failed** | `size < 1 kB` |" in shown.stdout


def test_github_is_told(out: Path) -> None:
    """In a job of GitHub Actions, on standard error, so that a document stays one."""
    rule = 'rule = "size < 2 kB"\nlevel = "warn"\nwhy = "100 %,\\n::error::x"'
    (out.parent / "app.toml").write_text(f"[[gate]]\n{rule}\n")
    arguments = ("--profile", "./app.toml", "--gate", "size < 1 kB", "--json")
    done = gate(out, *arguments, env=GITHUB)
    warning, error = done.stderr.splitlines()
    assert warning.startswith("::warning title=slimagent gate%3A size < 2 kB::size is ")
    assert warning.endswith("(100 %25,%0A\\x3a:error::x)")
    assert error.startswith("::error title=slimagent gate%3A size < 1 kB::size is ")
    assert json.loads(done.stdout)["status"] == 1
    assert gate(out, *arguments).stderr == ""


def test_junit_xml(out: Path) -> None:
    """A report that a later one replaces, and that replaces nothing else."""
    for _ in range(2):
        assert gate(out, "--gate", "size < 1 kB", "--junit", "report.xml").returncode == 1
    root = ElementTree.parse(out.parent / "report.xml").getroot()  # noqa: S314  # our own
    assert (root.get("tests"), root.get("failures")) == ("1", "1")
    (out.parent / "notes.xml").write_text("mine")
    assert_error(gate(out, "--gate", "size < 1 kB", "--junit", "notes.xml"), 3, "notes.xml")
    assert (out.parent / "notes.xml").read_text() == "mine"


def test_documents_of_several_runs_are_not_mixed(out: Path) -> None:
    """Rules about packages would be held against another plan."""
    plan = out / "plan.json"
    plan.write_bytes(plan.read_bytes() + b"\n")
    assert_error(gate(out, "--gate", "worse = 0"), 2, "summary.json belongs to another plan than plan.json", "again")
    whole = plan.read_bytes()
    plan.write_bytes(whole[: len(whole) // 2])  # was cut off: that is what is wrong, and not the summary
    for rule in ("worse = 0", "package absent: dpkg:x"):
        assert_error(gate(out, "--gate", rule), 2, "plan.json: not a whole JSON document", "make it again")
    plan.unlink()
    assert gate(out, "--gate", "worse = 0").returncode == 0
    assert_error(gate(out, "--gate", "package absent: dpkg:x"), 2, "out has no plan.json")
    verification = out / "verification.json"
    verification.write_bytes(verification.read_bytes().replace(b'"plan": "', b'"plan": "0'))
    assert_error(gate(out, "--gate", "worse = 0"), 2, "verification.json belongs to another plan than summary.json")


def test_the_steps_done_by_hand_have_a_gate_too(out: Path) -> None:
    """They leave no summary: plan, receipt and verification say the same."""
    rules = ("--gate", "size < 1 kB", "--gate", "worse = 0", "--gate", "package absent: python:other")
    before = gate(out, *rules)
    (out / "summary.json").unlink()
    assert gate(out, *rules).stdout == before.stdout
    (out / "receipt.json").unlink()
    assert_error(gate(out, *rules), 2, "out has no result of a run: looked for summary.json and receipt.json")
    assert_error(slimagent("gate", "nowhere", *rules, cwd=out.parent), 2, "nowhere does not exist", "slimagent image")


def test_a_run_that_failed_does_not_pass(out: Path) -> None:
    """Whatever the rules say: there is no image."""
    path = out / "summary.json"
    error = {"slug": "check-failed", "message": "the slim image does not do it", "hint": "keep it"}
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": 1, "error": error}))
    done = gate(out, "--gate", "worse = 0")
    assert done.returncode == 1 and "made no slim image that is proved: the slim image does not do it" in done.stderr


def test_a_proof_that_failed_by_hand_does_not_pass(out: Path) -> None:
    """`slimagent verify` says no in its document alone."""
    path = out / "verification.json"
    path.write_bytes(path.read_bytes().replace(b'"passed": true', b'"passed": false', 1))
    done = gate(out, "--gate", "size < 1 GB")
    assert done.returncode == 1 and "✓ size is" in done.stdout and "made no slim image that is proved" in done.stderr
    assert history(out, "add", "out").returncode == 0
    assert history(out, "show").stdout.splitlines()[1].endswith("not proved")


# The history


def test_a_run_is_added_once(out: Path) -> None:
    """Its line goes to the end; the same run again is refused, and nothing is written."""
    assert history(out, "add", "out", "--label", "first").stdout == (
        "added to slimagent-history.jsonl, which has 1 run\n"
    )  # fmt: skip
    path = out.parent / "slimagent-history.jsonl"
    written = path.read_bytes()
    assert problems("history-line", json.loads(written)) == []
    (found,) = runs_in(path)
    assert (found.label, found.passed, found.worse, found.missed) == ("first", True, 0, 0)
    assert [each.name for each in found.packages] == ["python:used"] and found.packages_kept == 1
    assert_error(history(out, "add", "out"), 3, "has the run in out already")
    assert path.read_bytes() == written


def test_other_lines_stay_as_they_are(out: Path) -> None:
    """Byte for byte, whoever wrote them, with and without a line break at the end."""
    path = out.parent / "slimagent-history.jsonl"
    before = b'{ "schema":"other/tool",  "x": 1.0 }\r\n\n{"z":[]}'
    path.write_bytes(before)
    path.chmod(0o664)
    assert history(out, "add", "out").returncode == 0
    assert path.read_bytes().startswith(before + b"\n") and len(runs_in(path)) == 1
    assert path.stat().st_mode & 0o777 == 0o664


def test_a_history_that_is_damaged_is_not_touched(out: Path) -> None:
    """The line is named, by every command, and before anything is traced."""
    path = out.parent / "h.jsonl"
    path.write_text('{"schema": "other"}\n<<<<<<< HEAD\n')
    words = ("h.jsonl, line 2", "merge conflict")
    assert_error(history(out, "add", "out", "--file", "h.jsonl"), 2, *words)
    assert_error(history(out, "show", "--file", "h.jsonl"), 2, *words)
    assert_error(gate(out, "--gate", "growth < 1 MB", "--history", "h.jsonl"), 2, *words)
    for command in (("run", "--force", "--out", "o2"), ("image", "no-such-image", "-t", "x")):
        done = slimagent(*command, "--history", "h.jsonl", "--", "false", cwd=out.parent, env=ENVIRONMENT)
        assert_error(done, 2, *words)
    assert path.read_text() == '{"schema": "other"}\n<<<<<<< HEAD\n'


def test_another_file_is_no_history(out: Path) -> None:
    """It is said what it is, and nothing is written."""
    before = (out / "summary.json").read_bytes()
    assert_error(history(out, "show", "--file", "out/summary.json"), 2, "is not a history", "slimagent/summary")
    assert_error(history(out, "add", "out", "--file", "out/summary.json"), 2, "is not a history")
    assert (out / "summary.json").read_bytes() == before
    (out.parent / "notes").write_text("mine\n")
    assert_error(history(out, "show", "--file", "notes"), 2, "notes is not a history: no line of it is a run")


def test_growth_between_two_levels_warns(out: Path) -> None:
    """It says nothing of the image; a rule that fails still fails."""
    earlier(out, level="cruft")
    done = gate(out, "--gate", "growth < 4 GB", "--history", "h.jsonl")
    assert done.returncode == 0
    assert done.stdout.startswith("! warned: growth since 2020-01-01 00:00 is ")
    assert "; the levels differ: cruft then, package now\n" in done.stdout
    assert gate(out, "--gate", "growth < 0 B", "--history", "h.jsonl").returncode == 1


def test_a_history_is_shown(out: Path) -> None:
    """A table, a plot in what the terminal can show, Markdown and a document."""
    path = earlier(out, bytes_after=1_000_000_000)
    added = history(out, "add", "out", "--file", "h.jsonl")
    first, last = added.stdout.splitlines()[0], added.stdout.splitlines()[-1]
    assert first.startswith("since 2020-01-01 00:00: ") and first.endswith("smaller")
    assert last == "added to h.jsonl, which has 2 runs"
    shown = history(out, "show", "--file", "h.jsonl").stdout.splitlines()
    assert shown[0].split() == ["when", "image", "before", "after", "smaller", "by", "change"]
    assert len(shown) == 5 and shown[4].endswith("█▁") and max(map(len, shown)) <= 80
    plain = slimagent(
        "history", "show", "--file", path, "--by", "component", env={**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    )
    assert plain.returncode == 0 and plain.stdout.isascii()
    assert plain.stdout.splitlines()[-1].startswith("the slim image") and plain.stdout.splitlines()[-1].endswith("#_")
    document = json.loads(history(out, "show", "--file", "h.jsonl", "--json").stdout)
    assert problems("history", document) == []
    change = document["runs"][1]["bytes_after"] - 1_000_000_000
    assert [each["change"] for each in document["runs"]] == [None, change]
    assert history(out, "show", "--file", "h.jsonl", "--format", "markdown").stdout.count("\n") == 4
    last_one = history(out, "show", "--file", "h.jsonl", "--last", "1").stdout.splitlines()
    assert last_one[0] == "(1 earlier run: --last 2 shows all)" and len(last_one) == 3


def test_a_run_that_exported_nothing_has_no_sizes(out: Path) -> None:
    """It is refused, and no file is made."""
    path = out / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "plan": None}))
    (out / "verification.json").unlink()
    assert_error(history(out, "add", "out"), 3, "the run in out made no slim image")
    assert not (out.parent / "slimagent-history.jsonl").exists()


def test_a_history_without_runs(out: Path) -> None:
    assert_error(history(out, "show"), 2, "slimagent-history.jsonl does not exist", "slimagent history add")
    (out.parent / "slimagent-history.jsonl").touch()
    assert_error(history(out, "show"), 2, "slimagent-history.jsonl has no runs", "slimagent history add")


def test_hostile_names_in_a_history(out: Path) -> None:
    """Another could have written the file, and the image's packages have any names."""
    path = earlier(out, tag=HOSTILE, label=HOSTILE, packages=[[HOSTILE, 10**9]], components=[[HOSTILE, 5]])
    path.write_bytes(path.read_bytes() + path.read_bytes().replace(b'"before"', b'"other"'))
    assert history(out, "add", "out", "--file", "h.jsonl", "--label", HOSTILE.replace("\0", "")).returncode == 0
    for options in ((), ("--by", "component"), ("--format", "markdown"), ("--json",)):
        done = history(out, "show", "--file", "h.jsonl", *options)
        assert done.returncode == 0 and "PWNED" in done.stdout
        assert_printable(done.stdout + done.stderr)


# In the run itself


def test_a_run_is_judged_and_added(tmp_path: Path) -> None:
    """The summary has the rulings and what changed; a run that fails the gate is not added to the history."""
    base = tmp_path.resolve()
    tree, path = tree_in(base), base / "h.jsonl"
    done = run(tree, base / "one", "--history", "h.jsonl", "--gate", "missed = 0", "--gate", "growth < 10 kB")
    assert done.returncode == 0, done.stderr
    assert "added to h.jsonl" in done.stderr
    assert "gate: 1 of 2 rules passed, 1 skipped" in done.stdout.splitlines()
    assert len(runs_in(path)) == 1
    more = ("--history", "h.jsonl", "--gate", "growth < 10 kB")
    done = run(tree, base / "two", *more, code="import used, other")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    day = runs_in(path)[0].minute
    assert any(line.startswith(f"since {day}: ") and "new: python:other" in line for line in lines)
    assert any(line.startswith("✗ growth since ") for line in lines)
    assert lines[-1].startswith("the slim image: ")  # it was made
    assert f"to accept it: slimagent history add {base / 'two'} --file h.jsonl" in done.stderr
    assert "above the limit of 10 kB" in done.stderr.splitlines()[-2]
    assert done.stderr.splitlines()[-1] == f"  hint: to see what it holds: slimagent explain {base / 'two'}"
    assert len(runs_in(path)) == 1
    assert problems_in(base / "two") == []
    summary = decode_summary((base / "two/summary.json").read_bytes())
    assert summary.failure is not None and (summary.failure.slug, summary.failure.status) == ("gate-failed", 1)
    assert summary.made and summary.since is not None and summary.since.new[0].name == "python:other"
    assert encode_summary(summary) == (base / "two/summary.json").read_bytes()
    assert slimagent("history", "add", "two", "--file", "h.jsonl", cwd=base, env=ENVIRONMENT).returncode == 0
    assert len(runs_in(path)) == 2
    assert sorted(os.listdir(base)) == ["h.jsonl", "one", "tree", "two"]


def test_a_failing_gate_as_json(tmp_path: Path) -> None:
    """Standard output is the summary, with the error of the gate."""
    base = tmp_path.resolve()
    done = run(tree_in(base), base / "out", "--gate", "size < 1 kB", "--json")
    summary = json.loads(done.stdout)
    assert problems("summary", summary) == []
    assert (done.returncode, summary["status"], summary["error"]["slug"]) == (1, 1, "gate-failed")
    assert summary["passed"] is True and summary["gate"][0]["outcome"] == "failed"
