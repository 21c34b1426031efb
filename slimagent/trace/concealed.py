"""Processes that nobody may look into any more: memory that was opened before, and where they were then.

A process that changes its user or group, or that forbids core dumps, is out of reach for a supervisor without
CAP_SYS_PTRACE (ptrace(2), "Ptrace access mode checking"; PR_SET_DUMPABLE of prctl(2)). A descriptor of its memory that
was opened before goes on reading, for all of its threads. The links below /proc/PID are out of reach as well, so they
are read before, too.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from slimagent.paths import to_text
from slimagent.trace import kernel
from slimagent.trace.processes import started

MOST_HELD = 200
_NAME_SIZE = 15  # bytes of a program's name that the kernel keeps: TASK_COMM_LEN of <linux/sched.h>, without the NUL


@dataclass(slots=True)
class _Process:
    """What is held of a process: since when it runs, its memory, its links, and what it may have executed since."""

    started: int
    memory: int
    links: dict[str, bytes]
    executing: bytes | None = None


class Concealed:
    """What is held of processes, by their numbers. It answers for a task of any of their threads.

    All lookups raise PermissionError for what is not held: the kernel said so before us.
    """

    def __init__(self) -> None:
        self._processes: dict[int, _Process] = {}

    def __bool__(self) -> bool:
        return bool(self._processes)

    def close(self) -> None:
        """Let go of every descriptor."""
        for process in list(self._processes):
            self._drop(process)

    def hold(self, process: int, memory: int, links: dict[str, bytes]) -> None:
        """Take `memory`, an open descriptor, and what the links point to. What was held before of it is replaced.

        Where too much is held already, this process is not: its calls will be losses.
        """
        self._drop(process)
        if len(self._processes) >= MOST_HELD:
            self._sweep()
        try:
            since = started(process)
        except OSError:  # it was killed meanwhile
            since = 0
        if since and len(self._processes) < MOST_HELD:
            self._processes[process] = _Process(since, memory, links)
        else:
            os.close(memory)

    def memory(self, task: int) -> int:
        """A new descriptor of a task's memory. Raises PermissionError, OSError if no descriptor is free."""
        return os.dup(self._find(task).memory)

    def link(self, task: int, what: str) -> bytes:
        """The target of /proc/TASK/`what`: cwd, root or exe. Raises PermissionError."""
        target = self._find(task).links.get(what)
        if target is None:
            raise _refused(task)
        return target

    def change(self, task: int, what: str, target: bytes | None) -> None:
        """A link of a task points elsewhere now; None: nobody knows where."""
        try:
            links = self._find(task).links
        except OSError:
            return
        links.pop(what, None)
        if target is not None:
            links[what] = target

    def executes(self, task: int, path: bytes) -> None:
        """A task is about to execute `path`. If that works, what is held of its process is of no use any more."""
        try:
            self._find(task).executing = path
        except OSError:
            return

    def _find(self, task: int) -> _Process:
        process = kernel.status(task).process
        held = self._processes.get(process)
        if held is None:
            raise _refused(task)
        if not _is_same(process, held):
            self._drop(process)
            raise _refused(task)
        return held

    def _sweep(self) -> None:
        for process, held in list(self._processes.items()):
            try:
                same = _is_same(process, held)
            except OSError:
                same = False
            if not same:
                self._drop(process)

    def _drop(self, process: int) -> None:
        held = self._processes.pop(process, None)
        if held is not None:
            os.close(held.memory)


def _is_same(process: int, held: _Process) -> bool:
    """Whether it is the process that was held, in the same memory. Raises OSError if there is none of that number.

    An execution gives a process the name of what was executed. One that has another name has not executed it; one
    that had that name before may have.
    """
    if started(process) != held.started:
        return False
    if held.executing is None:
        return True
    name = os.path.basename(held.executing)[:_NAME_SIZE].rstrip(b"\n")
    return kernel.program(process) != to_text(name)


def _refused(task: int) -> PermissionError:
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES), f"/proc/{task}")
