"""What each step says, in a file of its own: whole, or its beginning and its end; and who does not hold us up."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import wait_until
from hypothesis import given
from hypothesis import strategies as st

from slimagent.errors import UnavailableError
from slimagent.workflows import step_logs
from slimagent.workflows.step_logs import StepLogs, log_name

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
LEFT_OUT = re.compile(rb"\n\[slimagent: (\d+) bytes left out\]\n")


def run(logs: StepLogs, script: str, **options: object) -> None:
    """A shell command as a step."""
    with logs.recording("it") as output:
        subprocess.run(["/bin/sh", "-c", script], stdout=output, stderr=output, check=True, **options)  # type: ignore[call-overload]


def written(logs: StepLogs) -> bytes:
    return Path(logs.path("it")).read_bytes()


@pytest.fixture
def logs(tmp_path: Path) -> StepLogs:
    return StepLogs(str(tmp_path / "logs"))


def test_all_that_a_step_says_is_in_its_log_and_shown(logs: StepLogs, capfd: pytest.CaptureFixture[str]) -> None:
    """Both streams, in their order, and what comes again begins anew."""
    run(logs, "echo gone")
    capfd.readouterr()
    run(logs, "echo one; echo two >&2; printf '\\377'; seq 20000")
    expected = b"one\ntwo\n\xff" + b"".join(b"%d\n" % number for number in range(1, 20001))
    assert written(logs) == expected
    assert capfd.readouterr().err.endswith("19999\n20000\n")


@pytest.mark.parametrize("more", [0, 1, 5, 10, 11, 999])
def test_beyond_the_bound_only_the_end_is_kept(logs: StepLogs, monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    """And how much is left out between is said."""
    monkeypatch.setattr(step_logs, "LARGEST", 100)
    monkeypatch.setattr(step_logs, "TAIL", 10)
    data = bytes(ord("a") + at % 26 for at in range(100 + more))
    code = f"import sys, time; o = sys.stdout.buffer; o.write({data[:90]!r}); o.flush(); o.write({data[90:]!r})"
    with logs.recording("it") as output:
        subprocess.run([sys.executable, "-c", code], stdout=output, check=True)
    found = written(logs)
    if more == 0:
        assert found == data
        return
    between = LEFT_OUT.search(found)
    assert between is not None
    assert found[: between.start()] == data[:100]
    assert found[between.end() :] == data[100:][-10:]
    assert int(between[1]) == max(0, more - 10)


@pytest.mark.parametrize("daemon", ["exec sleep 1000", "while :; do echo noise; done"])
def test_a_process_that_outlives_its_step_does_not_hold_it_up(logs: StepLogs, daemon: str) -> None:
    """Be it silent or not; what it said until then is there."""
    with logs.recording("it") as output:
        process = subprocess.Popen(["/bin/sh", "-c", f"echo begun; {daemon}"], stdout=output, stderr=output)
        time.sleep(0.3)
    assert process.poll() is None
    process.kill()
    process.wait()
    assert written(logs).startswith(b"begun\n")


def test_a_server_that_goes_on_after_its_step_keeps_its_standard_error(
    logs: StepLogs, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is not ended by SIGPIPE; what it says from then on is shown, and is in no step's log."""
    going_on = tmp_path / "going-on"
    with logs.recording("it") as output:
        script = f"while ! test -e {going_on}; do sleep 0.05; done; echo later; exit 3"
        process = subprocess.Popen(["/bin/sh", "-c", script], stdout=output, stderr=output)
    going_on.touch()
    assert process.wait(60) == 3
    wait_until(lambda: "later" in capfd.readouterr().err, "it is shown")
    assert written(logs) == b""


def test_what_is_still_in_the_pipe_is_taken(logs: StepLogs) -> None:
    """The command's last words, however late we come to them."""
    for _ in range(20):
        run(logs, "seq 5000")
        assert written(logs).endswith(b"\n4999\n5000\n")


@needs_root
def test_another_user_can_open_its_standard_error_anew(logs: StepLogs) -> None:
    """As many entry points do."""
    nobody = pwd.getpwnam("nobody").pw_uid
    run(logs, "echo to err > /dev/stderr; echo to out > /dev/stdout", user=nobody)
    assert written(logs) == b"to err\nto out\n"


def test_no_descriptor_stays_open(logs: StepLogs) -> None:
    """However often."""
    run(logs, "true")
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(5):
        run(logs, "echo x")
    assert sorted(os.listdir("/proc/self/fd")) == before


@given(st.text(max_size=150))
def test_a_log_never_leaves_its_directory(step: str) -> None:
    """Whatever a step's name is: a check of the user's is named as its command line."""
    name = log_name(step)
    assert re.fullmatch(r"[A-Za-z0-9._-]+\.log", name)
    assert not name.startswith(".")
    assert len(os.fsencode(name)) < 255
    assert os.path.dirname(StepLogs.path(_at("/logs"), step)) == "/logs"


def _at(directory: str) -> StepLogs:
    found = StepLogs.__new__(StepLogs)
    found.directory = directory
    return found


@given(st.lists(st.text(st.sampled_from("ab /-._é"), max_size=4), max_size=4, unique=True))
def test_two_steps_have_two_logs(steps: list[str]) -> None:
    """Also where their names differ in what a file name does not show."""
    assert len({log_name(step) for step in steps}) == len(steps)


def test_where_no_log_can_be_made_it_is_said(tmp_path: Path) -> None:
    """At once, by name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="file"):
        StepLogs(str(tmp_path / "file" / "logs"))
    logs = StepLogs(str(tmp_path / "logs"))
    os.mkdir(logs.path("it"))
    with pytest.raises(UnavailableError, match=r"logs/it.log"), logs.recording("it"):
        pass
