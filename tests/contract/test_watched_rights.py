"""The rights that a container gives: root without CAP_SYS_PTRACE and CAP_SYS_ADMIN, and an ordinary user.

Each test runs in a forked child that gives up rights for good; only root has some to give.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import traceback
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from file_calls import ENVIRONMENT, FileCalls, missed

from slimagent.model import User

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give up its rights")

NOBODY = User(name="nobody", uid=65534, gid=65534, groups=(65534,), home="/")
DOCKER = 0xA80425FB  # CapBnd of a default container
LAST_CAPABILITY = 40  # CAP_CHECKPOINT_RESTORE of <linux/capability.h>
CAPABILITY_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
SET_DUMPABLE, BOUNDING_DROP = 4, 24  # <linux/prctl.h>
_libc = ctypes.CDLL(None, use_errno=True)

OWN_MODES = [("calls",), ("threads",), ("exec-thread",), ("vfork",), ("crowd", 50), ("daemon", 50)]


def container_root() -> None:
    """Be root as a default container has it."""
    for capability in range(LAST_CAPABILITY + 1):
        if not DOCKER >> capability & 1:
            assert _libc.prctl(BOUNDING_DROP, capability, 0, 0, 0) == 0
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    assert _libc.capset(header, (ctypes.c_uint32 * 6)(DOCKER, DOCKER, 0, 0, 0, 0)) == 0


def ordinary_user() -> None:
    """Be an ordinary user whose own files below /proc are readable, as after an execve."""
    os.setgroups([65534])
    os.setgid(65534)
    os.setuid(65534)
    _libc.prctl(SET_DUMPABLE, 1, 0, 0, 0)


def in_child(become: Callable[[], None], act: Callable[[], None]) -> None:
    """Run `act` in a fork that gave up rights; its failure is the test's."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            become()
            act()
            os._exit(0)
        except BaseException:
            os.write(writing, traceback.format_exc().encode()[-60000:])
            os._exit(1)
    os.close(writing)
    with open(reading, encoding="utf-8") as file:
        complaints = file.read()
    assert os.waitpid(child, 0)[1] == 0, complaints


def watch(watcher_class: Any, calls: FileCalls, *mode: object, **options: Any) -> Any:
    """Run a mode, find nothing missed, return what was observed."""
    with watcher_class() as watcher:
        helpers = psutil.Process().children()
        watcher.step(str(mode[0]))
        said = calls.run(watcher, *mode, **options)
        if mode[0] == "daemon":
            _wait_for_daemons(helpers)
    observed = watcher.finish()
    assert said.expected
    assert missed(said, watcher) == []
    return observed


def watch_whole(watcher_class: Any, calls: FileCalls, *mode: object, **options: Any) -> None:
    """As `watch`, where the backend works, and nothing is lost."""
    if usable(watcher_class):
        assert watch(watcher_class, calls, *mode, **options).losses == ()


def usable(watcher_class: Any) -> bool:
    """Whether a backend works with the rights that we have. One that needs more must say which, and only such a one."""
    reason = watcher_class.unavailable()
    if "fanotify" in watcher_class.name:
        assert reason is not None
        assert "CAP_SYS_ADMIN" in reason
    else:
        assert reason is None
    return reason is None


def _wait_for_daemons(helpers: list[psutil.Process]) -> None:
    """Until the orphans that became ours have ended; `finish` would stop them. `helpers` are the watcher's own."""
    children = [child for child in psutil.Process().children() if child not in helpers]
    living = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    assert psutil.wait_procs(living, timeout=30)[1] == []


@pytest.fixture(autouse=True)
def _warm(watcher_class: Any) -> None:
    """Load what is loaded on first use: the interpreter's own files may be out of another user's reach."""
    with watcher_class() as watcher:
        watcher.step("warm")
        watcher.spawn(["true"], env=ENVIRONMENT).wait()


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


def test_what_a_container_root_cannot_read_is_a_loss(watcher_class: Any, calls: FileCalls) -> None:
    """A file opened between setuid(2) and execve(2) is seen, or the trace says that something is lost."""

    def act() -> None:
        if not usable(watcher_class):
            return
        with watcher_class() as watcher:
            watcher.step("setuid-opens")
            said = calls.run(watcher, "setuid-opens", 65534)
        observed = watcher.finish()
        assert missed(said, watcher) == [] or observed.losses

    in_child(container_root, act)


def test_what_an_ordinary_user_cannot_read_is_a_loss(watcher_class: Any, calls: FileCalls) -> None:
    """A process that forbids to be read is seen, or the trace says that something is lost."""

    def act() -> None:
        if not usable(watcher_class):
            return
        with watcher_class() as watcher:
            watcher.step("undumpable")
            said = calls.run(watcher, "undumpable")
        observed = watcher.finish()
        assert missed(said, watcher) == [] or observed.losses

    in_child(ordinary_user, act)


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
                    ["/bin/sh", "-c", line], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
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
