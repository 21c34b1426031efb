"""Give up rights in a forked child, and watch there: root as a default container has it, or an ordinary user."""

from __future__ import annotations

import ctypes
import os
import traceback
from collections.abc import Callable
from typing import Any

import psutil

from slimagent.model.user import User
from tests.contract.file_calls import FileCalls, missed

NOBODY = User(name="nobody", uid=65534, gid=65534, groups=(65534,), home="/")
DOCKER = 0xA80425FB  # CapBnd of a default container
CAP_SYS_PTRACE = 19  # <linux/capability.h>
LAST_CAPABILITY = 40  # CAP_CHECKPOINT_RESTORE of <linux/capability.h>
CAPABILITY_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
SET_DUMPABLE, BOUNDING_DROP = 4, 24  # <linux/prctl.h>
_libc = ctypes.CDLL(None, use_errno=True)


def container_root() -> None:
    """Be root as a default container has it."""
    _root_with(DOCKER)


def container_root_that_traces() -> None:
    """Be root as a container has it that was started with `--cap-add SYS_PTRACE`."""
    _root_with(DOCKER | 1 << CAP_SYS_PTRACE)


def _root_with(capabilities: int) -> None:
    for capability in range(LAST_CAPABILITY + 1):
        if not capabilities >> capability & 1:
            assert _libc.prctl(BOUNDING_DROP, capability, 0, 0, 0) == 0
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    assert _libc.capset(header, (ctypes.c_uint32 * 6)(capabilities, capabilities, 0, 0, 0, 0)) == 0


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
