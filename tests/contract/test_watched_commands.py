"""What every backend promises to the command, which does not notice, and to the agent, which stays clean."""

from __future__ import annotations

import contextlib
import ctypes
import glob
import os
import signal
import subprocess
import threading
import time
from typing import Any

import psutil
import pytest

from slimagent.linux.command import Command
from slimagent.linux.signals import foreground
from tests.contract.file_calls import ENVIRONMENT, FileCalls, below, knows_whose

GET_CHILD_SUBREAPER = 37  # <linux/prctl.h>


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_the_exit_status_passes(watcher_class: Any, calls: FileCalls, status: int) -> None:
    """The process returns the command's own exit status."""
    with watcher_class() as watcher:
        watcher.step("exit")
        calls.start(watcher, "exit", status).end(status)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGSEGV, signal.SIGKILL])
def test_the_signal_that_ended_it_passes(watcher_class: Any, calls: FileCalls, number: int) -> None:
    """A command that a signal of its own ended says so, as subprocess does: minus the signal's number."""
    with watcher_class() as watcher:
        watcher.step("raise")
        calls.start(watcher, "raise", int(number)).end(-number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_signals_reach_the_command(watcher_class: Any, calls: FileCalls, number: int) -> None:
    """A signal sent to the process arrives with its default action, also while the agent holds its own back."""
    with watcher_class() as watcher, foreground():
        watcher.step("signal")
        process = watcher.spawn(Command(calls.argv("wait"), env=ENVIRONMENT, stdout=subprocess.PIPE))
        assert process.stdout is not None
        while process.stdout.readline() != b"ready\t1\n":
            pass
        process.send_signal(number)
        assert process.wait(timeout=60) == -number
        process.stdout.close()


def test_input_and_output_pass_through(watcher_class: Any) -> None:
    """A megabyte of any bytes through the standard streams arrives unchanged."""
    data = os.urandom(1 << 20)
    with watcher_class() as watcher:
        watcher.step("cat")
        process = watcher.spawn(
            Command(["cat"], env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )
        assert process.communicate(data, timeout=60) == (data, b"")
        assert process.returncode == 0


def test_the_command_starts_as_under_popen(watcher_class: Any) -> None:
    """Open descriptors, signals, groups, capabilities, folder and environment are Popen's."""
    # SigQ counts what is queued for all processes of the user, those beside us too
    script = "ls /proc/self/fd; grep -E '^(Sig[^Q]|Shd|Uid|Gid|Groups|Cap)' /proc/self/status; umask; pwd; env"
    command = ["/bin/sh", "-c", script]
    environment = {**ENVIRONMENT, "X": "\xe9 \n"}
    options: dict[str, Any] = {"env": environment, "cwd": "/usr", "stdin": subprocess.DEVNULL}
    plain = subprocess.run(command, stdout=subprocess.PIPE, timeout=60, **options).stdout
    with watcher_class() as watcher:
        watcher.step("environment")
        process = watcher.spawn(Command(command, stdout=subprocess.PIPE, **options))
        watched = process.communicate(timeout=60)[0]
    assert watched.decode() == plain.decode()


def test_a_new_session_is_made_when_asked_for(watcher_class: Any, calls: FileCalls) -> None:
    """With `new_session` the command leads a session of its own; without, it shares the agent's."""
    with watcher_class() as watcher:
        watcher.step("session")
        own, shared = calls.start(watcher, "wait", new_session=True), calls.start(watcher, "wait")
        assert os.getsid(own.process.pid) == os.getpgid(own.process.pid) == own.process.pid
        assert os.getsid(shared.process.pid) == os.getsid(0)
        for running in (own, shared):
            running.process.terminate()
            running.end(-signal.SIGTERM)


def test_a_status_that_nobody_asked_for_is_kept(watcher_class: Any, calls: FileCalls) -> None:
    """A command that ended unobserved still tells its status, beside one that had to be stopped."""
    with watcher_class() as watcher:
        watcher.step("exit")
        ended, waiting = calls.start(watcher, "exit", 7), calls.start(watcher, "wait")
        while psutil.Process(ended.process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
    ended.end(7)
    assert waiting.process.wait(timeout=10) < 0


def test_nothing_is_left_behind(watcher_class: Any, calls: FileCalls) -> None:
    """After the exit there is no thread, process, descriptor or setting that was not there before."""
    before = _surroundings()
    with watcher_class() as watcher:
        watcher.step("first")
        calls.run(watcher, "forks")
        with pytest.raises(FileNotFoundError):
            watcher.spawn(Command(["/no/such/command"], env=ENVIRONMENT))
        watcher.step("second")
        calls.run(watcher, "daemon-stays", 5)
        calls.run(watcher, "threads")
    assert _surroundings() == before


def test_orphans_that_ended_are_collected(watcher_class: Any, calls: FileCalls) -> None:
    """A daemon that ended by itself is no zombie after the exit."""
    before = _surroundings()
    with watcher_class() as watcher:
        helpers = psutil.Process().children()
        watcher.step("daemon")
        calls.run(watcher, "daemon", 5)
        deadline = time.monotonic() + 30
        while any(child.status() != psutil.STATUS_ZOMBIE for child in set(psutil.Process().children()) - {*helpers}):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert _surroundings() == before


def test_an_error_in_the_block_leaves_nothing_behind(watcher_class: Any, calls: FileCalls) -> None:
    """An exception passes out of the block, and what ran is stopped."""
    before = _surroundings()
    with pytest.raises(ZeroDivisionError), watcher_class() as watcher:
        watcher.step("error")
        running = calls.start(watcher, "wait")
        raise ZeroDivisionError
    running.process.wait(timeout=10)
    running.output.close()
    running.complaints.close()
    assert _surroundings() == before


def test_a_process_of_the_agent_itself_is_left_alone(watcher_class: Any) -> None:
    """What the agent started by other means is neither watched nor stopped nor reaped."""
    mine = subprocess.Popen(["sleep", "300"])
    ended = subprocess.Popen(["false"])
    try:
        with watcher_class() as watcher:
            watcher.step("other")
            inside = subprocess.Popen(["false"])
            process = watcher.spawn(Command(["true"], env=ENVIRONMENT))
            assert process.wait(timeout=60) == 0
        assert mine.poll() is None
        assert (ended.wait(timeout=10), inside.wait(timeout=10)) == (1, 1)
    finally:
        mine.kill()
        mine.wait()


def test_finishing_twice_says_the_same(watcher_class: Any, calls: FileCalls) -> None:
    """`finish` may be called again, inside the block or after it."""
    with watcher_class() as watcher:
        watcher.step("leaf")
        calls.run(watcher, "leaf", "one")
        first = watcher.finish()
    assert watcher.finish() == first


def test_a_run_without_a_command_is_empty(watcher_class: Any, calls: FileCalls) -> None:
    """A watcher that watched nothing has seen nothing and lost nothing."""
    with watcher_class() as watcher:
        watcher.step("nothing")
    observed = watcher.finish()
    if knows_whose(watcher):
        assert (dict(observed.accesses), observed.losses) == ({}, ())
    assert below(observed, calls.folder) == {}


def _surroundings() -> tuple[object, ...]:
    subreaper = ctypes.c_int()
    ctypes.CDLL(None).prctl(GET_CHILD_SUBREAPER, ctypes.byref(subreaper), 0, 0, 0)
    return (
        sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)),
        {thread.name for thread in threading.enumerate()},
        psutil.Process().children(recursive=True),
        [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGCHLD, signal.SIGTERM)],
        signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        (os.getresuid(), os.getresgid(), os.getgroups(), os.getcwd(), subreaper.value),
        _marks(),
    )


def _marks() -> list[str]:
    """The watches and marks that we hold, as proc_pid_fdinfo(5) shows them."""
    marks = []
    for path in glob.glob("/proc/self/fdinfo/*"):
        with contextlib.suppress(FileNotFoundError), open(path) as file:
            marks += [line for line in file if line.startswith(("inotify", "fanotify"))]
    return sorted(marks)


def _is_open(descriptor: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{descriptor}")
