"""Processes that only CAP_SYS_PTRACE may look into: seen all the same, or a loss, and never silently less.

Each test runs in a forked child that gives up rights for good; only root has some to give.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slimagent.linux import kernel
from slimagent.trace.seccomp.concealed import MOST_HELD, Concealed
from tests.contract.conftest import lacking
from tests.contract.file_calls import FileCalls, missed
from tests.contract.rights import (
    CAP_SYS_PTRACE,
    NOBODY,
    container_root,
    container_root_that_traces,
    in_child,
    ordinary_user,
    usable,
    watch_whole,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give up its rights")

USER = NOBODY.uid
MASKING = ("seccomp", "seccomp+fanotify")
WAYS = (
    "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "dumpable",
)  # fmt: skip
WHOLE = ("child", "threads", "exec", "moves", "parent", "spawns", "returns", "strangers")
MOVED = ("shared", "shared-root", "thread", "apart")
OUT_OF_REACH = {
    "program": "program-unreada",
    **dict.fromkeys(("forks", "fchdir", "at", *MOVED), "file_calls"),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_give_up_rights_is_seen_through(watcher_class: Any, calls: FileCalls, way: str) -> None:
    """Absolute and relative paths after a change of user or group without an execution, and after PR_SET_DUMPABLE."""
    in_child(container_root, lambda: watch_whole(watcher_class, calls, "conceal", way, USER))


def test_a_process_that_forbids_to_be_read_is_seen_through(watcher_class: Any, calls: FileCalls) -> None:
    """An ordinary user sees what a process of theirs does after PR_SET_DUMPABLE."""
    in_child(ordinary_user, lambda: watch_whole(watcher_class, calls, "conceal", "dumpable", USER))


@pytest.mark.parametrize("mode", WHOLE)
def test_what_servers_do_after_it_is_seen(watcher_class: Any, calls: FileCalls, mode: str) -> None:
    """Workers, threads, executions that fail and one that works, a new directory, the parent of vfork(2), a child."""
    in_child(container_root, lambda: watch_whole(watcher_class, calls, f"conceal-{mode}", USER))


@pytest.mark.parametrize("mode", OUT_OF_REACH)
def test_what_is_out_of_reach_is_a_loss(watcher_class: Any, calls: FileCalls, mode: str) -> None:
    """A fork's memory, a program that cannot be read, a directory by descriptor, one that another task may have moved.

    Each is seen, or a loss that names who.
    """

    def act() -> None:
        if not usable(watcher_class):
            return
        with watcher_class() as watcher:
            watcher.step(mode)
            said = calls.run(watcher, f"conceal-{mode}", USER)
        observed = watcher.finish()
        assert said.expected
        assert missed(said, watcher) == [] or observed.losses
        if watcher.name == "seccomp":
            (loss,) = observed.losses
            assert loss.kind == "unreadable-path"
            assert f" of {OUT_OF_REACH[mode]} (process " in loss.example

    in_child(container_root, act)


@pytest.mark.parametrize("mode", OUT_OF_REACH)
def test_the_capability_that_the_hint_names_helps(watcher_class: Any, calls: FileCalls, mode: str) -> None:
    """With CAP_SYS_PTRACE nothing of that is lost."""
    if not kernel.has_capability(CAP_SYS_PTRACE):
        lacking("the tests have no CAP_SYS_PTRACE to give away")
    in_child(container_root_that_traces, lambda: watch_whole(watcher_class, calls, f"conceal-{mode}", USER))


def test_a_masked_path_is_not_there_for_it(watcher_class: Any, calls: FileCalls) -> None:
    """Masked verification holds for a process that has given up its rights."""
    if watcher_class.name not in MASKING:
        pytest.skip(f"{watcher_class.name} cannot make files look gone")
    for name in ("masked", "bare"):
        Path(os.fsdecode(calls.path(name))).touch()

    def act() -> None:
        if not usable(watcher_class):
            return
        with watcher_class(mask=lambda path: path == calls.path("masked")) as watcher:
            watcher.step("masked")
            masked = calls.run(watcher, "conceal-masked", USER, "masked")
            bare = calls.run(watcher, "conceal-masked", USER, "bare")
        assert masked.results == {"found": 0, "error": errno.ENOENT}
        assert bare.results == {"found": 1, "error": 0}
        assert watcher.finish().losses == ()

    in_child(container_root, act)


def test_another_process_of_the_same_number_is_not_taken_for_the_first() -> None:
    """What is held of a process that ended is not given for one that was started with its number."""
    last = Path("/proc/sys/kernel/ns_last_pid")
    if not os.access(last, os.W_OK):
        lacking(f"{last} cannot be written, to choose the number of a process")
    concealed = Concealed()
    first, end = _pausing()
    concealed.hold(first, os.open(f"/proc/{first}/mem", os.O_RDONLY), {"cwd": b"/first"})
    assert concealed.link(first, "cwd") == b"/first"
    os.close(concealed.memory(first))
    end()
    time.sleep(0.1)  # clock ticks tell two processes of one number apart: no number comes back within one
    for _ in range(50):  # somebody else may start a process in between
        last.write_text(str(first - 1))
        second, end = _pausing()
        try:
            if second != first:
                continue
            with pytest.raises(PermissionError):
                concealed.link(second, "cwd")
            assert not concealed
            return
        finally:
            end()
    pytest.fail("the number did not come back")


def test_what_lives_is_never_let_go_for_another() -> None:
    """With as much held as may be, one more process is not held; once others have ended, it is."""
    concealed, held = Concealed(), []
    before = len(os.listdir("/proc/self/fd"))
    try:
        for _ in range(MOST_HELD + 1):
            held.append(_pausing())
            _hold(concealed, held[-1][0])
        for process, _ in held[:-1]:
            assert concealed.link(process, "cwd") == b"%d" % process
        last = held[-1][0]
        with pytest.raises(PermissionError):
            concealed.memory(last)
        held.pop(0)[1]()
        _hold(concealed, last)
        assert concealed.link(last, "cwd") == b"%d" % last
    finally:
        for _, end in held:
            end()
        concealed.close()
    assert len(os.listdir("/proc/self/fd")) == before


def _hold(concealed: Concealed, process: int) -> None:
    concealed.hold(process, os.open(f"/proc/{process}/mem", os.O_RDONLY), {"cwd": b"%d" % process})


def _pausing() -> tuple[int, Callable[[], None]]:
    """A child that waits and that its parent may look into, and how to end it."""
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        kernel.prctl(kernel.SET_DUMPABLE, 1)  # who has watched in this process has closed it to others
        os.close(tell)
        signal.pause()
        os._exit(0)
    os.close(tell)
    os.read(ready, 1)
    os.close(ready)

    def end() -> None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

    return child, end
