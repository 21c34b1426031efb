"""A file that somebody else wrote is not replaced by an output of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from command_line import assert_error, slimagent

from slimagent import documents
from slimagent.cli import writing
from slimagent.profiles import shipped as profiles

MINE = "# mine, an evening's work\n"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.json"
    path.write_bytes(orjson.dumps([{"Architecture": "amd64", "Os": "linux", "Config": {"Env": ["PATH=/bin"]}}]))
    return path


@pytest.fixture(params=["dockerfile", "detect"])
def command(request: pytest.FixtureRequest, image: Path) -> tuple[str | Path, ...]:
    """A command that writes what people also write by hand; the name of the file follows."""
    return ("detect", "-o") if request.param == "detect" else ("dockerfile", "x", "--image-config", image, "-o")


def test_what_was_written_by_hand_stays(tmp_path: Path, command: tuple[str | Path, ...]) -> None:
    """Unless one insists. What slimagent wrote, and an empty file, is replaced."""
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text(MINE)
    link.symlink_to(path)
    for name in (path, link):
        assert_error(slimagent(*command, name), 3, str(name), "--overwrite")
        assert path.read_text() == MINE
    assert slimagent(*command, path, "--overwrite").returncode == 0
    made = path.read_text()
    assert made.startswith("# Written by slimagent ")
    path.write_text(made + MINE)
    assert slimagent(*command, path).returncode == 0
    assert path.read_text() == made
    path.write_text("")
    assert slimagent(*command, path).returncode == 0
    assert path.read_text() == made
    assert slimagent(*command, "/dev/null").returncode == 0


def test_a_profile_whose_first_line_was_removed_is_somebody_s(tmp_path: Path) -> None:
    """The line says so. The rest is a whole profile."""
    path = tmp_path / "mine.toml"
    assert slimagent("detect", "-o", path).returncode == 0
    first, rest = path.read_text().split("\n", 1)
    assert first.endswith("replaces the file as long as this line is here.")
    path.write_text(rest)
    assert profiles.load(str(path)).checks
    assert_error(slimagent("detect", "-o", path), 3, "slimagent wrote")
    assert path.read_text() == rest


def test_results_replace_results_only(tmp_path: Path) -> None:
    """Documents and reports of ours are replaced by the same kind; nothing runs before a refusal."""
    profile = tmp_path / "p.toml"
    profile.write_text(f"[[check]]\nkind = 'command'\nshell = 'touch {tmp_path}/ran'\n")
    check = ("check", "--quiet", "--profile", profile)
    results, report = tmp_path / "checks.json", tmp_path / "junit.xml"
    results.write_text('{"schema": "mine"}\n')
    report.write_text('<?xml version="1.0"?>\n<testsuites name="pytest tests"/>\n')
    assert_error(slimagent(*check, "-o", results), 3, "slimagent/checks")
    assert_error(slimagent(*check, "--junit", report), 3, "report that slimagent wrote")
    assert "mine" in results.read_text() and "pytest" in report.read_text()
    assert not (tmp_path / "ran").exists()
    for path in (results, report):
        path.unlink()
    for _ in range(2):
        done = slimagent(*check, "-o", results, "--junit", report)
        assert done.returncode == 0, done.stderr
    assert_error(slimagent("merge", results, "-o", results), 3, "slimagent/trace")
    assert documents.decode_checks(results.read_bytes())


@pytest.mark.parametrize("arguments", [
    lambda path: ("plan", "trace.json", "-o", path),
    lambda path: ("merge", "trace.json", "-o", path),
    lambda path: ("trace", "-o", path, "--", "true"),
    lambda path: ("verify", "plan.json", "trace.json", "-o", path),
    lambda path: ("apply", "plan.json", "--tar", "x.tar", "-o", path),
    lambda path: ("export", "trace.json", "--tar", "x.tar", "--plan", path),
    lambda path: ("export", "trace.json", "--tar", "x.tar", "--receipt", path),
])  # fmt: skip
def test_a_document_replaces_no_other_file(tmp_path: Path, arguments: Callable[[Path], tuple[str | Path, ...]]) -> None:
    """Whatever command writes it."""
    path = tmp_path / "notes"
    path.write_text(MINE)
    assert_error(slimagent(*arguments(path), cwd=tmp_path), 3, str(path), "name another file")
    assert path.read_text() == MINE


def test_each_document_is_known_by_how_it_begins() -> None:
    """As it is written now, and after a program has printed it anew."""
    for schema in (documents.TRACE, documents.PLAN, documents.RECEIPT, documents.VERIFICATION, documents.CHECKS):
        own = writing.own_document(schema).beginning
        assert own.match(orjson.dumps({"schema": schema, "version": 1}))
        assert own.match(orjson.dumps({"schema": schema, "version": 1}, option=orjson.OPT_INDENT_2))
        assert not own.match(orjson.dumps({"schema": schema + "s", "version": 1}))


NAMES = ("summary.json", "changed.txt", "plan.json", "receipt.json", "verification.json", "rootfs.tar")


@pytest.mark.parametrize("name", NAMES)
def test_a_run_leaves_a_directory_alone_that_holds_what_is_not_its_own(tmp_path: Path, name: str) -> None:
    """Nothing is run, removed or replaced; the file is named."""
    scope, out = tmp_path / "scope", tmp_path / "out"
    scope.mkdir()
    out.mkdir()
    (scope / "a").write_text("x")
    (out / name).write_text(MINE)
    assert_error(slimagent("run", "--scope", scope, "--out", out, "--", "cat", scope / "a"), 3, name)
    assert {each.name: each.read_text() for each in out.iterdir()} == {name: MINE}


def test_a_run_that_is_refused_removes_nothing(tmp_path: Path) -> None:
    """A mistyped option is found before the directory is touched."""
    (tmp_path / "changed.txt").write_text(MINE)
    done = slimagent("run", "--scope", tmp_path, "--out", tmp_path, "--strip", "nosuch", "--", "true")
    assert_error(done, 4, "nosuch")
    assert (tmp_path / "changed.txt").read_text() == MINE


def test_outputs_that_are_one_file_are_refused(tmp_path: Path) -> None:
    """One would replace the other, and the run would end well without it; the plan itself counts too."""
    scope = tmp_path / "scope"
    scope.mkdir()
    (scope / "a").write_text("x")
    run = slimagent("run", "--scope", scope, "--out", tmp_path / "out", "--", "cat", scope / "a")
    assert run.returncode == 0
    plan = tmp_path / "out/plan.json"
    before = plan.read_bytes()
    for outputs in (("--tar", tmp_path / "same", "-o", tmp_path / "same"), ("--tar", plan)):
        assert_error(slimagent("apply", plan, *outputs), 2, "is named twice")
    assert plan.read_bytes() == before and not (tmp_path / "same").exists()


def test_a_tar_replaces_no_file_of_somebody_else(tmp_path: Path) -> None:
    """Unless one insists, or it begins with the comment of ours. Nothing is read before."""
    scope, tar = tmp_path / "scope", tmp_path / "x.tar"
    scope.mkdir()
    (scope / "a").write_text("x")
    traced = slimagent("trace", "--quiet", "--scope", scope, "-o", tmp_path / "trace.json", "--", "cat", scope / "a")
    assert traced.returncode == 0, traced.stderr
    export = ("export", tmp_path / "trace.json", "--quiet", "--tar", tar)
    export = (*export, "--plan", tmp_path / "plan.json", "--receipt", tmp_path / "receipt.json")
    alone = ("apply", tmp_path / "plan.json", "--quiet", "--tar", tar)
    for command in (export, alone, ("restore", "/srv/x", "--tar", tar, "--from", "x")):
        tar.write_text(MINE)
        assert_error(slimagent(*command), 3, str(tar), "--overwrite")
        assert tar.read_text() == MINE
        tar.unlink()
    for command in (export, export, (*alone, "-o", tmp_path / "receipt.json")):
        done = slimagent(*command)
        assert done.returncode == 0, done.stderr
    tar.write_text(MINE)
    assert_error(slimagent(*export), 3, str(tar), "--overwrite")
    assert slimagent(*export, "--overwrite").returncode == 0
    tar.unlink()
    for _ in range(2):  # the first one leaves a tar of ours
        done = slimagent(*alone)
        assert done.returncode == 0, done.stderr
