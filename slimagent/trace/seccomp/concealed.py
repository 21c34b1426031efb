"""Processes that nobody may look into any more: memory that was opened before, and where they were then.

A process that changes its user or group, or that forbids core dumps, is out of reach for a supervisor without
CAP_SYS_PTRACE (ptrace(2), "Ptrace access mode checking"; PR_SET_DUMPABLE of prctl(2)). A descriptor of its memory that
was opened before goes on reading, for all of its threads. The links below /proc/PID are out of reach as well, so they
are read before, too.

Only kcmp(2) says which tasks share a working directory and a root (CLONE_FS of clone(2)), and a default container
forbids it. Two tasks in different directories do not share them; all others may.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from slimagent.linux import kernel
from slimagent.linux.processes import started
from slimagent.paths.algebra import to_text

MOST_HELD = 200
_NAME_SIZE = 15  # bytes of a program's name that the kernel keeps: TASK_COMM_LEN of <linux/sched.h>, without the NUL


Place = tuple[int, int]  # the device and the inode of a directory


class Directory(NamedTuple):
    """A directory: its path as it is seen from our root, and which one it is, by whatever name."""

    path: bytes
    place: Place


@dataclass(slots=True)
class _Process:
    """What is held of a process: since when it runs, its memory, its links, and what it may have executed since.

    `places`: its working directory, and the one before, where it may still be; nothing if it is not known.
    """

    started: int
    memory: int
    links: dict[str, bytes]
    places: tuple[Place, ...]
    executing: bytes | None = None

    def enters(self, directory: Directory) -> None:
        """It changes its working directory. What it did before that is done: only this change may be to come."""
        self.links["cwd"] = directory.path
        self.places = (directory.place, *self.places[:1])

    def forget(self, what: str) -> None:
        """Nobody knows any more where a link leads."""
        self.links.pop(what, None)
        if what == "cwd":
            self.places = ()

    def is_apart_from(self, place: Place | None) -> bool:
        """Whether it surely shares no working directory, and no root, with a task that is in `place`."""
        return place is not None and bool(self.places) and place not in self.places


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

    def hold(self, process: int, memory: int, links: dict[str, bytes], place: Place | None = None) -> None:
        """Take `memory`, an open descriptor, and what the links point to. What was held before of it is replaced.

        `place` is its working directory, if that is among the links.

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
            self._processes[process] = _Process(since, memory, links, (place,) if place else ())
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

    def place(self, task: int) -> Place | None:
        """The working directory of a task whose call waits, None if it is not known."""
        try:
            return next(iter(self._find(task).places), None)
        except OSError:
            return None

    def enters(self, task: int, here: Place | None, directory: Directory | None) -> None:
        """A task that is in `here` is about to enter `directory`. None: nobody knows where that is.

        All that share its working directory move with it. The other threads of its process may, and may not.
        """
        for held, is_own in self._that_may_share(task, here):
            if directory is None or held.places[:1] != (directory.place,):  # else it stays where it is
                if is_own and directory is not None:
                    held.enters(directory)
                else:
                    held.forget("cwd")

    def changes_root(self, task: int, here: Place | None) -> None:
        """A task that is in `here` is about to change its root directory, to wherever."""
        for held, _ in self._that_may_share(task, here):
            held.forget("root")

    def lose_all(self) -> None:
        """Nobody knows any more where any process is, nor what its root is (pivot_root(2))."""
        for held in self._processes.values():
            held.forget("cwd")
            held.forget("root")

    def _that_may_share(self, task: int, here: Place | None) -> Iterator[tuple[_Process, bool]]:
        """Each process that may be moved by a task, and whether it is that task and nothing else."""
        try:
            caller = kernel.status(task).process
            is_alone = len(os.listdir(f"/proc/{caller}/task")) == 1
        except OSError:
            caller, is_alone = 0, False
        for process, held in self._processes.items():
            if process == caller:
                yield held, is_alone
            elif not held.is_apart_from(here):
                yield held, False

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
