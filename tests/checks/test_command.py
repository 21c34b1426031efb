"""Kind `command`, the processes that a check leaves, and what holds for every kind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from checks_context import IS_ROOT, NOBODY, Place, place
from hypothesis import given
from hypothesis import strategies as st

from slimagent import checks
from slimagent.checks.output import Output, last_lines
from slimagent.errors import UsageError
from slimagent.model.profile import CheckSpec
from slimagent.model.result import Outcome
from slimagent.trace.seccomp.backend import Seccomp

__all__ = ["place"]  # a fixture
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")


def test_a_command_that_ends_well_passes(place: Place) -> None:
    """Status 0 is a pass, with the status and no detail."""
    result = place.check("command", argv=("true",))
    assert (result.outcome, result.status, result.detail, result.kind) == (Outcome.PASSED, 0, "", "command")


def test_a_failure_shows_status_and_last_lines(place: Place) -> None:
    """The detail of a failure is the exit status and the end of what was written to either stream, without colours."""
    result = place.shell("seq 100; printf '\\033[31mred\\033[0m\\n' >&2; exit 3")
    assert (result.outcome, result.status) == (Outcome.FAILED, 3)
    assert result.detail.splitlines() == ["exit status 3", *map(str, range(92, 101)), "red"]


def test_a_fatal_signal_is_named(place: Place) -> None:
    """A command that a signal ended has the status that a shell gives it, and the signal's name in the detail."""
    result = place.shell("kill -SEGV $$")
    assert (result.status, result.detail) == (128 + signal.SIGSEGV, "ended by SIGSEGV")


def test_arguments_go_through_no_shell(place: Place) -> None:
    """`argv` is given as it is."""
    assert place.check("command", argv=("sh", "-c", 'test "$1" = "a b; *"', "sh", "a b; *")).outcome is Outcome.PASSED


def test_the_commands_directory_is_the_contexts(place: Place, tmp_path: Path) -> None:
    """A command runs in the context's directory."""
    spec = CheckSpec(kind="command", name="it", parameters={"shell": f"test $(pwd -P) = {tmp_path.resolve()}"})
    assert checks.run(spec, place.context(cwd=str(tmp_path))).outcome is Outcome.PASSED


def test_a_program_that_is_not_there_is_a_failed_check(place: Place) -> None:
    """What cannot be started fails the check with the system's reason, and ends nothing else."""
    result = place.check("command", argv=("no-such-program",))
    assert (result.outcome, result.detail) == (Outcome.FAILED, "no-such-program: No such file or directory")


@needs_root
def test_a_command_runs_as_the_user(place: Place) -> None:
    """User, group and supplementary groups are the user's, and /dev/stderr can be opened anew by it."""
    result = place.shell('echo "$(id -u) $(id -g) $(id -G)" > /dev/stderr; exit 1', user=NOBODY)
    assert result.detail.splitlines() == ["exit status 1", "65534 65534 65534"]


def test_a_command_without_end_is_stopped_at_its_limit(place: Place) -> None:
    """At the limit the check fails, says so, and shows what was written until then."""
    result = place.shell("echo begun; exec sleep 1000", 0.5)
    assert (result.outcome, result.status) == (Outcome.FAILED, None)
    assert result.detail.splitlines() == ["no end after 0.5 s", "begun"]


def test_a_grandchild_that_ignores_sigterm_is_killed(place: Place) -> None:
    """What does not end on SIGTERM gets SIGKILL, in the whole session."""
    stubborn = "trap '' TERM; while :; do sleep 1; done"
    result = place.shell(f'trap "" TERM; sh -c "{stubborn}" & wait', 1)
    assert result.detail.startswith("no end after")


_DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(0)
os.wait()
"""


def test_a_daemon_is_stopped(place: Place) -> None:
    """A process that left session and parent is stopped too, when the command itself has long ended well."""
    assert place.check("command", argv=(sys.executable, "-c", _DAEMON)).outcome is Outcome.PASSED


@needs_root
def test_another_users_daemon_is_stopped_and_collected(place: Place) -> None:
    """A daemon is found by whom it fell to, not by what we may read of it; not even a zombie stays."""
    assert place.shell("setsid sh -c 'sleep 1000 & sleep 0.1'", user=NOBODY).outcome is Outcome.PASSED
    assert [child.status() for child in psutil.Process().children()] == []


def test_other_children_of_ours_are_left_alone(place: Place) -> None:
    """What this process started before, or in its own session, is none of a check's."""
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as ours:
        assert place.shell("true").outcome is Outcome.PASSED
        assert ours.poll() is None
        ours.kill()


@pytest.mark.skipif(Seccomp.unavailable() is not None, reason=f"no seccomp: {Seccomp.unavailable()}")
@pytest.mark.parametrize("user", [None, pytest.param(NOBODY, marks=needs_root)])
def test_a_watched_daemon_is_stopped_by_its_check(place: Place, user: object) -> None:
    """Under tracing orphans fall to us: the check stops them itself, whoever they run as, and the tracer finds none."""
    with Seccomp() as watcher:
        watcher.step("it")
        context = place.context(user)  # type: ignore[arg-type]
        context = checks.Context(spawn=watcher.spawn, env=context.env, user=context.user, cwd="/")
        shell = "setsid sh -c 'sleep 1000 & sleep 0.1'; test -e /etc/passwd"
        result = checks.run(CheckSpec(kind="command", name="it", parameters={"shell": shell}), context)
        observed = watcher.finish()
    assert (result.outcome, observed.stopped, observed.losses) == (Outcome.PASSED, (), ())
    assert b"/etc/passwd" in observed.accesses


def test_an_interrupt_stops_the_check_and_goes_on(place: Place) -> None:
    """Ctrl-C is no result of a check: it ends the list, after the check's processes were stopped."""
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        place.shell("sleep 1000 & sleep 1000")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (CheckSpec(kind="comand", name="it"), "unknown kind 'comand'"),
        (CheckSpec(kind="command", name="it", parameters={"arg": ("x",)}), "no parameter 'arg'"),
        (CheckSpec(kind="command", name="it", parameters={"argv": "true"}), "argv is 'true'"),
        (CheckSpec(kind="command", name="it", parameters={"shell": True}), "shell is True"),
        (CheckSpec(kind="command", name="it"), "needs either argv or shell"),
        (CheckSpec(kind="command", name="it", parameters={"argv": ()}), "needs either argv or shell"),
        (CheckSpec(kind="command", name="it", parameters={"argv": ("a",), "shell": "a"}), "needs either"),
        (CheckSpec(kind="python-imports", name="it", parameters={"seconds_each": "1"}), "seconds_each is '1'"),
        (CheckSpec(kind="command", name="it", seconds=0, parameters={"shell": "a"}), "seconds is 0"),
    ],
)
def test_a_wrong_check_is_a_usage_error(place: Place, spec: CheckSpec, message: str) -> None:
    """An unknown kind or parameter, or one of a wrong type, is named, with a hint, and nothing is run."""
    with pytest.raises(UsageError, match="check it: ") as caught:
        checks.run(spec, place.context())
    assert message in caught.value.message
    assert caught.value.hint


def test_a_broken_check_is_a_failed_one(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody expected becomes a failed result which says where it came from."""

    def broken(spec: CheckSpec, context: checks.Context) -> checks.Finding:
        raise ZeroDivisionError("oh")

    monkeypatch.setitem(checks.KINDS, "command", checks.Kind(broken, {}))
    result = place.check("command")
    assert result.outcome is Outcome.FAILED
    assert "ZeroDivisionError: oh" in result.detail
    assert "test_command.py" in result.detail


@given(st.binary(max_size=300), st.integers(1, 12))
def test_last_lines_are_printable_for_any_bytes(data: bytes, count: int) -> None:
    """Whatever a program writes, at most so many lines come out of it, without control characters but tabs."""
    lines = last_lines(data, count).split("\n")
    assert len(lines) <= count
    assert not any(ord(each) < 32 and each != "\t" for line in lines for each in line)


def test_endless_output_is_cut_and_its_end_kept() -> None:
    """Of too much output only the end is kept, then and later; writers go on where they are."""
    with Output() as output:
        os.write(output.fileno(), b"x" * (17 << 20) + b"\nlast before\n")
        output.limit()
        assert os.fstat(output.fileno()).st_size == 0
        os.write(output.fileno(), b"first after\n")
        assert output.last_lines(2).split("\n") == ["last before", "first after"]


def test_all_that_a_command_says_goes_to_its_log(place: Place, tmp_path: Path) -> None:
    """Whole, whether it ends well, badly or not at all; the detail has its last lines as without a log."""
    log = tmp_path / "it.log"
    for shell, outcome in (("", Outcome.PASSED), ("; exit 3", Outcome.FAILED), ("; exec sleep 60", Outcome.FAILED)):
        spec = CheckSpec(
            kind="command", name="it", seconds=1.0, parameters={"shell": "seq 9999; printf '\\377'" + shell}
        )
        result = checks.run(spec, replace(place.context(), log=str(log)))
        assert result.outcome is outcome
        assert log.read_bytes() == b"".join(b"%d\n" % number for number in range(1, 10000)) + b"\xff"


def test_a_command_that_writes_without_end_leaves_a_log_of_what_it_said(place: Place, tmp_path: Path) -> None:
    """It still writes when its time is over; that is not followed."""
    log = tmp_path / "it.log"
    spec = CheckSpec(kind="command", name="it", seconds=0.5, parameters={"argv": ("yes",)})
    result = checks.run(spec, replace(place.context(), log=str(log)))
    assert result.detail.startswith("no end after 0.5 s")
    assert log.read_bytes().startswith(b"y\n")


def test_a_log_that_cannot_be_written_fails_no_check(place: Place) -> None:
    """The log is for people: a disk that is full says nothing about the image."""
    spec = CheckSpec(kind="command", name="it", parameters={"shell": "echo said"})
    assert checks.run(spec, replace(place.context(), log="/dev/full")).outcome is Outcome.PASSED
    assert checks.run(spec, replace(place.context(), log="/no/such/it.log")).outcome is Outcome.PASSED


def test_a_log_has_what_was_kept_of_too_much(tmp_path: Path) -> None:
    """The end of what was thrown away, then all that came after, and nothing of what comes meanwhile."""
    with Output() as output:
        os.write(output.fileno(), b"x" * (17 << 20) + b"\nlast before\n")
        output.limit()
        os.write(output.fileno(), b"first after\n")
        output.save(str(tmp_path / "log"))
    saved = (tmp_path / "log").read_bytes()
    assert saved.endswith(b"x\nlast before\nfirst after\n")
    assert len(saved) < 1 << 20


def test_a_log_ends_where_the_output_ended_when_it_was_saved(tmp_path: Path) -> None:
    """A writer that is faster than we are would fill the disk: here, who reads the log adds what was read."""
    whole = 3 << 20
    with Output() as output:
        os.write(output.fileno(), bytes(whole))
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        sizes: list[int] = []

        def take() -> None:
            with open(pipe, "rb", buffering=0) as file:
                while data := file.read(1 << 16):
                    sizes.append(len(data))
                    if sum(sizes) <= whole:
                        os.write(output.fileno(), data)

        reader = threading.Thread(target=take)
        reader.start()
        output.save(str(pipe))
        reader.join()
    assert sum(sizes) == whole
