"""Whose a process is: for a watcher and for a check the same answer, wherever the process went."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time

import psutil
import pytest
from command_line import wait_until
from hypothesis import given
from hypothesis import strategies as st

from slimagent.linux import marks
from slimagent.linux.command import Command
from slimagent.linux.family import Family, spawn

ENVIRONMENT = {"PATH": os.environ["PATH"]}
# Prints the number of a process that has left its parents and its session, and goes on.
DAEMON = "setsid sh -c 'sleep 1000 & echo $!'"
DAEMON_AND_ON = f"{DAEMON}; exec sleep 1000"
LOWER = "import resource, os; resource.setrlimit(resource.RLIMIT_RTTIME, (200000, 200000)); "


def shell(line: str) -> Command:
    return Command(("sh", "-c", line), env=ENVIRONMENT, stdout=subprocess.PIPE, new_session=True)


def number(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    with process.stdout:
        return int(process.stdout.readline())


def lives(process: int) -> bool:
    return psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE


@given(st.integers(0, 5))
def test_a_mark_holds_those_that_were_made_within_it(depth: int) -> None:
    """And none beside it: neither what encloses it nor what its neighbours hold."""
    first, other = marks.drawn(), marks.drawn()
    chain = [first]
    for _ in range(depth):
        chain.append(marks.within(chain[-1]))
    for at, mark in enumerate(chain):
        assert all(marks.holds(mark, inner) for inner in chain[at:])
        assert all(inner == mark or not marks.holds(inner, mark) for inner in chain[at:])
        assert not marks.holds(mark, other)
    one, two = marks.within(first), marks.within(first)
    assert not marks.holds(one, two)
    assert not marks.holds(two, marks.within(one))
    assert not any(marks.holds(mark, limit) for mark in chain for limit in (0, resource.RLIM_INFINITY, 1 << 63))


@given(st.integers(0, marks.LOWEST))
def test_a_limit_that_is_no_mark_of_ours_is_lowered(limit: int) -> None:
    """Where somebody has limited us, the family has that limit or a lower one: a program can only go further down."""
    mark = marks.within(limit)
    assert mark == max(limit - 1, 0)
    assert marks.holds(mark, mark)
    assert marks.holds(mark, 0)
    assert not marks.holds(mark, limit + 1)


def test_families_at_once_are_told_apart() -> None:
    """Of two commands one ends with all that it has started, also what has left it; the other one does not notice."""
    with Family() as one, Family() as two:
        first, second = spawn(shell(DAEMON_AND_ON)), spawn(shell(DAEMON_AND_ON))
        one.follow(first)
        two.follow(second)
        gone, stays = number(first), number(second)
        assert (one.has(gone), one.has(stays), two.has(gone), two.has(stays)) == (True, False, False, True)
        assert "sleep 1000" in one.stop()
        assert not lives(gone)
        assert lives(stays)
        assert second.poll() is None
        two.stop()
    assert (first.returncode, second.returncode) == (-signal.SIGTERM, -signal.SIGTERM)
    assert not lives(stays)


def test_a_command_of_a_family_is_a_family() -> None:
    """What a check starts under a watcher belongs to both, and is stopped by the one without the other's commands."""
    with Family() as run, Family() as check:
        other = run.spawn(shell("exec sleep 1000"))
        process = run.spawn(shell(DAEMON))
        check.follow(process)
        daemon = number(process)
        assert process.wait(timeout=60) == 0
        assert (run.has(daemon), check.has(daemon), check.has(other.pid)) == (True, True, False)
        check.stop()
        assert not psutil.pid_exists(daemon)
        assert other.poll() is None
        run.stop()
    assert other.returncode == -signal.SIGTERM


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_status_is_for_who_started_the_process(end: signal.Signals) -> None:
    """However many families collect what ended: a command that was killed does not look as if it had ended well."""
    with Family() as run, Family() as check:
        process, plain = run.spawn(shell("exec sleep 1000")), spawn(shell("exec sleep 1000"))
        check.follow(process)
        for each in (process, plain):
            each.send_signal(end)
            os.waitid(os.P_PID, each.pid, os.WEXITED | os.WNOWAIT)
        while check.reap() or run.reap():
            pass
        check.stop()
        run.stop()
    assert (process.wait(timeout=60), plain.wait(timeout=60)) == (-end, -end)


def test_a_process_with_a_limit_of_its_own_is_found() -> None:
    """Audio servers lower it: then it is no mark any more, but whose child it is tells, or that nobody else's came."""
    with Family() as family:
        process = spawn(Command(("python3", "-c", LOWER + "os.system('sleep 1000 &'); print(1, flush=True)"),
                                env=ENVIRONMENT, stdout=subprocess.PIPE))  # fmt: skip
        family.follow(process)
        assert number(process) == 1
        wait_until(lambda: process.poll() is not None, "it ends")
        assert "sleep 1000" in family.stop()


def test_it_does_not_wait_for_what_cannot_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in an uninterruptible sleep (here: all signals are lost) stays, after `patience`."""
    with Family() as family:
        process = family.spawn(Command(("sleep", "1000"), env=ENVIRONMENT))
        monkeypatch.setattr("slimagent.linux.family._signal", lambda process, number: None)
        began = time.monotonic()
        assert family.stop(grace=0.1, patience=0.2) == ("sleep 1000",)
        assert time.monotonic() - began < 30
        assert process.poll() is None
        process.kill()
        process.wait()


def test_what_is_still_ending_is_collected() -> None:
    """A watcher hears that a process has left its filter before the process is a zombie: none stays behind."""
    with Family() as family:
        process = family.spawn(shell("setsid sh -c 'sleep 0.5 & echo $!'"))
        daemon = number(process)
        assert process.wait(timeout=60) == 0
        assert family.stop(lambda: True) == ()
        assert not psutil.pid_exists(daemon)


def test_a_limit_of_its_own_does_not_give_a_process_to_another_family() -> None:
    """Its parent says whose it is, while the parent lives. Checks that run side by side depend on it."""
    with Family() as one, Family() as two:
        first = spawn(shell(f'{sys.executable} -c \'{LOWER}os.execvp("sleep", ["sleep", "1000"])\' & echo $!; wait'))
        second = spawn(shell("echo $$; exec sleep 1000"))
        one.follow(first)
        two.follow(second)
        own = number(first)
        number(second)
        wait_until(lambda: marks.limit(own) == 200000, "the limit")
        assert (one.has(own), two.has(own)) == (True, False)
        two.stop()
        assert lives(own)
        assert "sleep 1000" in one.stop()
        assert not lives(own)


def test_a_family_that_was_stopped_starts_nothing() -> None:
    """A check in a thread of its own may not notice at once that all is over."""
    with Family() as family:
        family.stop()
        with pytest.raises(OSError, match="cancel"):
            family.spawn(shell("true"))
