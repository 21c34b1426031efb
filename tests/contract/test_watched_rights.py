"""The rights that a container gives: root without CAP_SYS_PTRACE and CAP_SYS_ADMIN, and an ordinary user.

Each test runs in a forked child that gives up rights for good; only root has some to give.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from slimagent.linux.command import Command
from tests.contract.file_calls import ENVIRONMENT, FileCalls
from tests.contract.rights import (
    NOBODY,
    SET_DUMPABLE,
    container_root,
    in_child,
    ordinary_user,
    usable,
    watch,
    watch_whole,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give up its rights")

_libc = ctypes.CDLL(None, use_errno=True)

OWN_MODES = [("calls",), ("threads",), ("exec-thread",), ("vfork",), ("crowd", 50), ("daemon", 50)]


@pytest.fixture(autouse=True)
def _warm(watcher_class: Any) -> None:
    """Load what is loaded on first use: the interpreter's own files may be out of another user's reach."""
    with watcher_class() as watcher:
        watcher.step("warm")
        watcher.spawn(Command(["true"], env=ENVIRONMENT)).wait()


@pytest.mark.parametrize("mode", OWN_MODES, ids=lambda mode: mode[0])
@pytest.mark.parametrize("become", [container_root, ordinary_user])
def test_own_processes_are_seen(
    watcher_class: Any, calls: FileCalls, become: Callable[[], None], mode: tuple[object, ...]
) -> None:
    """Root in a default container and an ordinary user see all that their commands do."""

    def act() -> None:
        watch_whole(watcher_class, calls, *mode)

    in_child(become, act)


@pytest.mark.parametrize("mode", OWN_MODES, ids=lambda mode: mode[0])
def test_a_container_root_sees_another_user(watcher_class: Any, calls: FileCalls, mode: tuple[object, ...]) -> None:
    """Root without CAP_SYS_PTRACE sees all that a command does as another user, the daemon's calls too."""

    def act() -> None:
        watch_whole(watcher_class, calls, *mode, user=NOBODY)

    in_child(container_root, act)


def test_a_container_root_sees_a_change_of_user(watcher_class: Any, calls: FileCalls) -> None:
    """The execution right after setuid(2), when the process is unreadable, is found out all the same."""

    def act() -> None:
        watch_whole(watcher_class, calls, "setuid", 65534)

    # `setuid` needs CAP_SETGID and CAP_SETUID, which an execve under no_new_privs keeps for root.
    in_child(container_root, act)


def test_a_process_that_nobody_may_read_is_no_loss(watcher_class: Any) -> None:
    """To look into such a process through /proc fails for the caller as well: it names no file of the image."""

    def act() -> None:
        if not usable(watcher_class):
            return
        reading, writing = os.pipe()
        secret = os.fork()
        if secret == 0:
            _libc.prctl(SET_DUMPABLE, 0, 0, 0, 0)
            os.write(writing, b"!")
            signal.pause()
        os.read(reading, 1)
        try:
            with watcher_class() as watcher:
                watcher.step("proc")
                line = f"cat /proc/{secret}/root/etc/passwd; cat /proc/{secret}/cwd/x; ls /proc/{secret}/fd/0/y"
                process = watcher.spawn(
                    Command(["/bin/sh", "-c", line], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                )
                said = process.communicate()[0]
            assert said.count(b"Permission denied") == 3, said
            assert watcher.finish().losses == ()
        finally:
            os.kill(secret, signal.SIGKILL)
            os.waitpid(secret, 0)

    in_child(ordinary_user, act)


def test_a_container_root_sees_another_root_folder(watcher_class: Any, calls: FileCalls) -> None:
    """chroot(2) is allowed in a default container, and its paths are reported as seen from outside."""

    def act() -> None:
        if usable(watcher_class):
            watch(watcher_class, calls, "chroot", os.fsdecode(calls.path("jail")))

    in_child(container_root, act)
