"""Read other tasks from /proc, including other users' tasks.

Without CAP_SYS_PTRACE root may only read tasks whose user is its own file system user (ptrace(2), "Ptrace access mode
checking"). So this thread switches to the user of the task that it reads, and stays that user.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from typing import TypeVar

from slimagent.linux import kernel
from slimagent.trace.seccomp.concealed import Directory

_T = TypeVar("_T")


def as_its_user(task: int, act: Callable[[], _T]) -> _T:
    """Call `act` as this thread's present user, then as the task's user, then as ourselves, until it works."""
    with contextlib.suppress(PermissionError):
        return act()
    with contextlib.suppress(PermissionError):
        status = kernel.status(task)
        kernel.set_file_system_user(status.uids[1], status.gids[1])
        return act()
    # The files below /proc of a process that is not dumpable are root's (proc(5)): CAP_SYS_PTRACE is not enough.
    kernel.set_file_system_user(os.geteuid(), os.getegid())
    return act()


def open_memory(task: int) -> int:
    """Open a task's present memory. Raises OSError."""
    return as_its_user(task, lambda: os.open(f"/proc/{task}/mem", os.O_RDONLY | os.O_CLOEXEC))


def contents(task: int, name: str) -> bytes:
    """Read /proc/TASK/`name`. Raises OSError."""

    def read() -> bytes:
        with open(f"/proc/{task}/{name}", "rb", buffering=0) as file:
            return file.read()

    return as_its_user(task, read)


def link(task: int, name: str) -> bytes:
    """Where /proc/TASK/`name` leads. Raises OSError."""
    place = os.fsencode(f"/proc/{task}/{name}")
    return as_its_user(task, lambda: os.readlink(place))


def common_links(process: int) -> dict[str, bytes]:
    """The targets of cwd, root and exe of a process, where all its threads agree. Raises OSError.

    Without CLONE_FS of clone(2) threads can be in different directories. Threads that have ended do not count.
    """
    threads = [int(thread) for thread in os.listdir(f"/proc/{process}/task")]
    found = {}
    for name in ("cwd", "root", "exe"):
        targets = set()
        for thread in threads:
            with contextlib.suppress(OSError):
                targets.add(link(thread, name))
        if len(targets) == 1:
            found[name] = targets.pop()
    return found


def entered(task: int, path: bytes) -> Directory | None:
    """The directory `path` if a task may certainly change to it. Raises OSError as the kernel would, and more often.

    Ignores supplementary groups and other capabilities, so it may say no too often.
    """
    status = kernel.status(task)
    uid, gid = status.uids[3], status.gids[3]
    kernel.set_file_system_user(uid, gid)
    found = os.stat(path + b"/.")
    if uid == 0:
        may = status.capabilities >> kernel.CAP_DAC_OVERRIDE & 1
    else:
        may = found.st_mode & (stat.S_IXUSR if found.st_uid == uid else stat.S_IXOTH)
    return Directory(path, (found.st_dev, found.st_ino)) if may else None
