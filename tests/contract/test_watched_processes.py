"""What every backend promises about processes: threads, forks, daemons and other users are all watched."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Any

import psutil
import pytest

from slimagent.linux.command import Command
from slimagent.model.user import User
from tests.contract.file_calls import ENVIRONMENT, FileCalls, lost, missed, unsaid

NOBODY = User(name="nobody", uid=65534, gid=65534, groups=(65534,), home="/")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")


@pytest.mark.parametrize(
    "mode",
    [
        ("threads",),
        ("churn",),
        ("thread-folders",),
        ("thread-chdir",),
        ("exec-thread",),
        ("exec-chain", 50),
        ("forks",),
        ("vfork",),
        ("crowd", 300),
    ],
    ids=lambda mode: mode[0],
)
def test_threads_and_forks_are_seen(watcher_class: Any, calls: FileCalls, mode: tuple[object, ...]) -> None:
    """However calls are spread over threads and descendants, each is seen and nothing is lost."""
    with watcher_class() as watcher:
        watcher.step("processes")
        said = calls.run(watcher, *mode)
    if "own-folders-refused" in said.results:
        pytest.skip("this container forbids a thread a working folder of its own")
    assert said.expected
    assert missed(said, watcher) == []
    assert unsaid(said, watcher, calls.folder) == {}
    assert lost(watcher, calls.folder) == []


@pytest.mark.parametrize("mode", ["storm", "restart"])
def test_a_storm_of_signals_does_no_harm(watcher_class: Any, calls: FileCalls, mode: str) -> None:
    """A timer every 200 microseconds makes no call fail that restarts after signals, and none is missed."""
    with watcher_class() as watcher:
        watcher.step("storm")
        said = calls.run(watcher, "storm", mode)
    assert missed(said, watcher) == []
    assert said.results["alarms"] > 0
    assert mode == "storm" or said.results["interrupted"] == 0


def test_two_commands_at_once(watcher_class: Any, calls: FileCalls) -> None:
    """Commands that run at the same time are both seen whole."""
    with watcher_class() as watcher:
        watcher.step("both")
        threads, forks = calls.start(watcher, "threads"), calls.start(watcher, "forks")
        said = threads.end() + forks.end()
    assert missed(said, watcher) == []
    assert unsaid(said, watcher, calls.folder) == {}


def test_many_commands_at_once(watcher_class: Any, calls: FileCalls) -> None:
    """Commands that start while others run are seen from their first call on."""
    with watcher_class() as watcher:
        watcher.step("many")
        running = [calls.start(watcher, "threads")]
        running += [calls.start(watcher, "leaf", f"leaf-{i}") for i in range(30)]
        said = [each.end() for each in running]
    assert [missed(each, watcher) for each in said] == [[]] * 31
    assert lost(watcher, calls.folder) == []


def test_accesses_belong_to_their_steps(watcher_class: Any, calls: FileCalls) -> None:
    """A path carries the index of each step that used it, in order."""
    with watcher_class() as watcher:
        assert watcher.step("first") == 0
        calls.run(watcher, "leaf", "only-first", "both")
        assert watcher.step("second") == 1
        calls.run(watcher, "leaf", "only-second", "both")
    accesses = watcher.finish().accesses
    assert tuple(accesses[calls.path("only-first")][1]) == (0,)
    assert tuple(accesses[calls.path("only-second")][1]) == (1,)
    assert tuple(accesses[calls.path("both")][1]) == (0, 1)


def test_nothing_is_missed_after_ready(watcher_class: Any, calls: FileCalls) -> None:
    """On entry a watcher is ready: of each of twelve the first file that its command opens is seen."""
    misses = []
    for i in range(12):
        with watcher_class() as watcher:
            watcher.step("first")
            said = calls.run(watcher, "leaf", f"first-{i}")
        misses += missed(said, watcher)
    assert misses == []


def test_the_agents_own_accesses_are_not_seen(watcher_class: Any, calls: FileCalls) -> None:
    """What the agent opens and lists before, between and after commands is not in the trace, unless they do so, too."""
    for name in ("own-first", "own-between", "own-last", "shared"):
        os.close(os.open(calls.path(name), os.O_CREAT | os.O_WRONLY, 0o666))

    def touch(name: str) -> None:
        os.listdir(calls.path("at"))
        with open(calls.path(name), "rb"), open(calls.path("shared"), "rb"):
            pass

    with watcher_class() as watcher:
        touch("own-first")
        watcher.step("one")
        touch("own-first")
        said = calls.run(watcher, "leaf", "one", "shared")
        touch("own-between")
        watcher.step("two")
        touch("own-between")
        said += calls.run(watcher, "leaf", "two")
        touch("own-last")
    assert missed(said, watcher) == []
    assert unsaid(said, watcher, calls.folder) == {}
    assert tuple(watcher.finish().accesses[calls.path("shared")][1]) == (0,)


def test_a_daemon_is_seen_after_its_parents_are_gone(watcher_class: Any, calls: FileCalls) -> None:
    """A process that forked twice and left its session is watched until it ends by itself."""
    with watcher_class() as watcher:
        watcher.step("daemon")
        said = calls.run(watcher, "daemon", 100)
        assert _daemon(calls)[0] == 100
    assert missed(said, watcher) == []
    assert lost(watcher, calls.folder) == []


@pytest.mark.parametrize("mode", ["daemon-stays", "daemon-stubborn"])
def test_a_daemon_that_stays_is_stopped(watcher_class: Any, calls: FileCalls, mode: str) -> None:
    """`finish` stops what a command left running, even what ignores SIGTERM, and keeps what it had done."""
    with watcher_class() as watcher:
        watcher.step("daemon")
        said = calls.run(watcher, mode, 20)
        count, process = _daemon(calls)
        assert count == 20
        assert psutil.pid_exists(process)
        watcher.finish()
    assert missed(said, watcher) == []
    assert not psutil.pid_exists(process)


def test_a_running_command_is_stopped_at_the_end(watcher_class: Any, calls: FileCalls) -> None:
    """A command that nobody waited for ends with the watcher, and its Popen tells how."""
    with watcher_class() as watcher:
        watcher.step("left")
        running = calls.start(watcher, "wait")
        _until(lambda: "ready" in running.said().results)
    assert missed(running.said(), watcher) == []
    assert running.process.wait(timeout=10) in (-signal.SIGTERM, -signal.SIGKILL)


def test_a_killed_command_leaves_the_watcher_well(watcher_class: Any, calls: FileCalls) -> None:
    """SIGKILL in the midst of calls loses nothing done before it, and the next command is watched."""
    with watcher_class() as watcher:
        watcher.step("killed")
        running = calls.start(watcher, "forever")
        _until(lambda: "ready" in running.said().results)
        running.process.kill()
        assert running.process.wait(timeout=60) == -signal.SIGKILL
        said = calls.run(watcher, "leaf", "after-kill")
    observed = watcher.finish()
    assert missed(said, watcher) == []
    assert {calls.path(f"forever-{i}") for i in range(100)} <= set(observed.accesses)
    assert missed(running.said(), watcher) == []


@as_root
def test_a_command_as_another_user_is_seen(watcher_class: Any, calls: FileCalls) -> None:
    """`user` is who the command runs as, from its first execution on; all of it is seen."""
    with watcher_class() as watcher:
        watcher.step("user")
        command = ["/bin/sh", "-c", "id -u; id -g; id -G"]
        process = watcher.spawn(Command(command, env=ENVIRONMENT, user=NOBODY, stdout=subprocess.PIPE))
        assert process.communicate(timeout=60)[0].split() == [b"65534", b"65534", b"65534"]
        said = calls.run(watcher, "calls", user=NOBODY)
    observed = watcher.finish()
    assert missed(said, watcher) == []
    assert lost(watcher, calls.folder) == []
    assert os.fsencode(calls.program) in observed.accesses


@as_root
def test_a_process_that_changes_its_user_is_seen(watcher_class: Any, calls: FileCalls) -> None:
    """After setuid and execve everything is seen, the execution too."""
    with watcher_class() as watcher:
        watcher.step("setuid")
        said = calls.run(watcher, "setuid", 65534)
    assert missed(said, watcher) == []
    assert lost(watcher, calls.folder) == []


@as_root
def test_a_process_in_another_root_is_seen_from_outside(watcher_class: Any, calls: FileCalls) -> None:
    """Absolute and relative paths after chroot(2) are those of the image, not of the new root."""
    with watcher_class() as watcher:
        watcher.step("chroot")
        said = calls.run(watcher, "chroot", os.fsdecode(calls.path("jail")))
    observed = watcher.finish()
    assert missed(said, watcher) == []
    assert not {b"/absolute", b"/absolute-at", b"/looked-up"} & set(observed.accesses)


def _daemon(calls: FileCalls) -> tuple[int, int]:
    """Wait for the daemon's file: how many files it opened, and its process."""
    path = calls.path("daemon-count")
    _until(lambda: os.path.exists(path))
    with open(path) as file:
        count, process = map(int, file.read().split())
    return count, process


def _until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
