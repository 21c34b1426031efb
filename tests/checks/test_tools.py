"""Kind `tools`: programs that answer to their version option, and every way in which they may not."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from checks_context import IS_ROOT, NOBODY, Place, item, place
from hypothesis import given
from hypothesis import strategies as st
from plan_images import compiler

from slimagent import checks
from slimagent.checks.tools import locate, version_line
from slimagent.errors import UsageError
from slimagent.model.profile import CheckSpec, Parameter
from slimagent.model.result import CheckResult, Outcome
from slimagent.trace.seccomp.backend import Seccomp

__all__ = ["place"]  # a fixture


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory on PATH, before the system's."""
    directory = tmp_path / "bin"
    directory.mkdir()
    return directory


def script(directory: Path, name: str, body: str, interpreter: str = "/bin/sh") -> Path:
    path = directory / name
    path.write_text(f"#!{interpreter}\n{body}\n")
    path.chmod(0o755)
    return path


def check(place: Place, programs: Path, before: CheckResult | None = None, **parameters: Parameter) -> CheckResult:
    spec = CheckSpec(kind="tools", name="it", seconds=30, parameters=parameters)
    return checks.run(spec, replace(place.context(PATH=f"{programs}:{os.environ['PATH']}"), before=before))


def test_tools_answer_with_their_version(place: Place, programs: Path) -> None:
    """The item is named by the tool, and its detail is the line with the version, also after warnings."""
    script(
        programs, "warned", "echo 'warning: no locale at 10:22:33.5' >&2; echo; echo warned, version 1.25.3; echo more"
    )
    result = check(place, programs, needed=("sh -c 'echo sh 5.1'", "warned"))
    assert [(each.name, each.detail) for each in result.items] == [
        ("sh", "sh 5.1"),
        ("warned", "warned, version 1.25.3"),
    ]
    assert (result.outcome, result.detail) == (Outcome.PASSED, "2 of 2 passed")


def test_a_needed_tool_must_be_there_and_an_optional_need_not(place: Place, programs: Path) -> None:
    """Absent from PATH is a failure for one and a skip for the other; with nothing there at all nothing was checked."""
    result = check(place, programs, needed=("sh -c true", "no-such"), optional=("no-such-either --version",))
    assert item(result, "no-such").detail == "not on PATH"
    assert item(result, "no-such").outcome is Outcome.FAILED
    assert item(result, "no-such-either").outcome is Outcome.SKIPPED
    assert item(result, "no-such-either").detail == "not installed"
    result = check(place, programs, optional=("no-such",))
    assert (result.outcome, result.detail) == (Outcome.SKIPPED, "none of the tools is installed")
    assert [each.name for each in result.items] == ["no-such"]
    assert check(place, programs).detail == "the profile names no tool"


def test_a_program_without_a_library_names_it(place: Place, programs: Path, tmp_path: Path) -> None:
    """A real program whose library was taken away: the loader's words are the reason, and one try is enough."""
    library, source = tmp_path / "libgone.so", tmp_path / "source.c"
    source.write_text("int gone(void) { return 0; }")
    subprocess.run([compiler(), "-shared", "-fPIC", "-o", library, source], check=True)
    source.write_text("int gone(void); int main(void) { return gone(); }")
    subprocess.run([compiler(), "-o", programs / "tool", source, library], check=True)
    library.unlink()
    detail = item(check(place, programs, optional=("tool",)), "tool").detail
    assert detail.startswith("tool --version: exit status 127: ")
    assert "error while loading shared libraries: " in detail
    assert "libgone.so" in detail


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("echo usage; echo no such option >&2; exit 2", "tool --version: exit status 2: no such option"),
        ("kill -SEGV $$", "tool --version: ended by SIGSEGV"),
        ("echo thinking; sleep 1000 & exec sleep 1000", "tool --version: no end after 0.5 s: thinking"),
        (
            "echo 'Traceback:'; echo \"ModuleNotFoundError: No module named 'x'\"; echo bye; exit 1",
            "No module named 'x'",
        ),
        ("exit 1", "tool --version: exit status 1"),
    ],
)
def test_a_broken_tool_says_how_it_broke(place: Place, programs: Path, body: str, expected: str) -> None:
    """Exit status, signal, hang, and the line that names the cause; also for an optional tool, since it is there."""
    script(programs, "tool", body)
    result = check(place, programs, optional=("tool",), seconds_each=0.5)
    assert item(result, "tool").outcome is Outcome.FAILED
    assert expected in item(result, "tool").detail
    assert "$ tool --version" in result.detail


def test_what_is_on_path_and_cannot_be_run_is_told_apart(place: Place, programs: Path) -> None:
    """A link to nothing, a lost mode and a lost interpreter have reasons of their own, and are no absence."""
    (programs / "linked").symlink_to("/nonexistent/tool")
    script(programs, "modeless", "true").chmod(0o644)
    script(programs, "orphan", "true", "/nonexistent/interpreter")
    result = check(place, programs, optional=("linked", "modeless", "orphan"))
    assert [each.detail for each in result.items] == [
        f"{programs}/linked leads to /nonexistent/tool, which does not exist",
        f"{programs}/modeless is not executable",
        f"{programs}/orphan: its interpreter or loader does not exist",
    ]
    assert {each.outcome for each in result.items} == {Outcome.FAILED}


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
def test_a_tool_that_the_user_may_not_run_fails(place: Place, programs: Path) -> None:
    """Tools run as the image's user: that we may run them does not count."""
    script(programs, "rootly", "true").chmod(0o700)
    spec = CheckSpec(kind="tools", name="it", parameters={"needed": (str(programs / "rootly"), "id -u")})
    result = checks.run(spec, place.context(NOBODY))
    assert result.items[0].detail == f"{programs}/rootly: Permission denied"
    assert item(result, "id").detail == "65534"


def test_tools_have_nobody_to_talk_to(place: Place, programs: Path) -> None:
    """No input, no display, a dumb terminal; and what they leave lies in a directory that goes."""
    script(programs, "asking", 'cat; touch left; echo "1.0 [$DISPLAY] $TERM $PAGER"')
    context = place.context(PATH=f"{programs}:{os.environ['PATH']}", DISPLAY=":0", TERM="xterm")
    spec = CheckSpec(kind="tools", name="it", parameters={"needed": ("asking",)})
    assert item(checks.run(spec, context), "asking").detail == "1.0 [] dumb cat"


def test_the_option_that_a_tool_knows_is_found_and_asked_again(place: Place, programs: Path, tmp_path: Path) -> None:
    """A later run asks what the first found: another option that still works cannot hide that it is lost."""
    log = tmp_path / "log"
    tool = f'echo "$1" >> {log}; case $1 in %s) echo 1.2;; *) exit 1;; esac'
    script(programs, "tool", tool % "version|--help")
    first = check(place, programs, needed=("tool",))
    assert (first.outcome, json.loads(first.snapshot)) == (Outcome.PASSED, {"tool": "version"})
    assert log.read_text().split() == ["--version", "-version", "version"]
    assert check(place, programs, first, needed=("tool",)).outcome is Outcome.PASSED
    script(programs, "tool", tool % "--help")
    later = check(place, programs, first, needed=("tool",))
    assert item(later, "tool").detail == "tool version: exit status 1"


@pytest.mark.parametrize("snapshot", ["", "{", "[]", '{"tool": 3}', '{"tool": "--rm"}', '{"tool": null}', "[" * 100000])
def test_a_snapshot_that_says_nothing_is_passed_over(place: Place, programs: Path, snapshot: str) -> None:
    """What was kept may be cut short or made up: no option comes from it that is not one of ours."""
    script(programs, "tool", 'test "$1" = --version')
    before = CheckResult(name="it", kind="tools", outcome=Outcome.PASSED, seconds=1, snapshot=snapshot)
    assert check(place, programs, before, needed=("tool",)).outcome is Outcome.PASSED


def test_the_names_of_items_are_unique(place: Place, programs: Path) -> None:
    """A second command line of one tool is named in full; the same twice is one item."""
    names = [
        each.name
        for each in check(
            place, programs, needed=("sh -c true", "sh -c 'exit 0'", "sh"), optional=("sh -c true",)
        ).items
    ]
    assert names == ["sh", "sh -c 'exit 0'"]


def test_the_whole_check_has_a_limit_too(place: Place, programs: Path) -> None:
    """A tool that was not come to has failed, and says so."""
    script(programs, "slow", "exec sleep 1000")
    result = place.check("tools", 1, needed=(str(programs / "slow"), "true"))
    assert item(result, "true").detail == "not reached in the time of the check"


def test_privileges_that_a_traced_program_cannot_have_are_no_fault(place: Place, programs: Path) -> None:
    """A stand-in says what sudo says under a tracer that had to give up privileges."""
    script(programs, "sudo", "echo 'sudo: The \"no new privileges\" flag is set, which prevents sudo ...' >&2; exit 1")
    assert item(check(place, programs, needed=("sudo", "true")), "sudo").outcome is Outcome.SKIPPED


@pytest.mark.skipif(Seccomp.unavailable() is not None, reason=f"no seccomp: {Seccomp.unavailable()}")
def test_watched_tools_are_evidence(place: Place, programs: Path) -> None:
    """Under tracing the tool itself is seen."""
    path = script(programs, "tool", "echo 1.0")
    with Seccomp() as watcher:
        watcher.step("it")
        context = replace(place.context(PATH=f"{programs}:{os.environ['PATH']}"), spawn=watcher.spawn)
        result = checks.run(CheckSpec(kind="tools", name="it", parameters={"needed": ("tool",)}), context)
        observed = watcher.finish()
    assert (result.outcome, observed.losses, observed.stopped) == (Outcome.PASSED, (), ())
    assert os.fsencode(path) in observed.accesses


@pytest.mark.parametrize("entry", ["", "  ", "'", "''", "git \0"])
def test_a_command_line_that_is_none_is_a_usage_error(place: Place, entry: str) -> None:
    """It is named with the parameter, and a hint."""
    with pytest.raises(UsageError, match="check it: optional has ") as caught:
        place.check("tools", optional=(entry,))
    assert caught.value.hint


@given(st.lists(st.text()))
def test_any_output_has_a_line_for_a_version(lines: list[str]) -> None:
    """Whatever a tool writes, the detail is one of its lines, or the beginning of one."""
    line = version_line(lines)
    assert line == "" or any(line in each for each in lines)


def test_relative_and_empty_directories_of_path(tmp_path: Path) -> None:
    """An empty directory of PATH is passed over: it would be wherever we are."""
    script(tmp_path, "tool", "true")
    assert locate("tool", ["", str(tmp_path)]) == (str(tmp_path / "tool"), "")
    assert locate("tool", [""]) == ("", "")
    assert locate(str(tmp_path), []) == ("", "")
