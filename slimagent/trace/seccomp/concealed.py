"""Processes that become unreadable: we keep an open descriptor of their memory, and where they were.

A process that changes its user or group, or forbids core dumps, becomes unreadable for a supervisor without
CAP_SYS_PTRACE (ptrace(2), "Ptrace access mode checking"; PR_SET_DUMPABLE of prctl(2)). A descriptor of its memory that
was opened before still works, for all of its threads. The links in /proc/PID become unreadable too, so we read them
before.

Only kcmp(2) tells which tasks share a working directory and a root (CLONE_FS of clone(2)), and a default container
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
_NAME_SIZE = 15  # bytes of a program's name: TASK_COMM_LEN of <linux/sched.h>, without the NUL


Place = tuple[int, int]  # the device and the inode of a directory


class Directory(NamedTuple):
    """A directory: its path from our root, and its identity."""

    path: bytes
    place: Place


@dataclass(slots=True)
class _Process:
    """What we keep of a process: its start, its memory, its links, and what it may have executed since.

    `places`: its working directory and the one before, where it may still be. Empty if unknown.
    """

    started: int
    memory: int
    links: dict[str, bytes]
    places: tuple[Place, ...]
    executing: bytes | None = None

    def enters(self, directory: Directory) -> None:
        """It is about to change its working directory. Its earlier changes are done."""
        self.links["cwd"] = directory.path
        self.places = (directory.place, *self.places[:1])

    def forget(self, what: str) -> None:
        """Forget where a link leads."""
        self.links.pop(what, None)
        if what == "cwd":
            self.places = ()

    def is_apart_from(self, place: Place | None) -> bool:
        """Whether it cannot share its working directory and root with a task that is in `place`."""
        return place is not None and bool(self.places) and place not in self.places


class Concealed:
    """What we keep of processes, by number. Lookups work for any of their threads.

    They raise PermissionError for processes that we do not keep, as the kernel did.
    """

    def __init__(self) -> None:
        self._processes: dict[int, _Process] = {}

    def __bool__(self) -> bool:
        return bool(self._processes)

    def close(self) -> None:
        """Close all descriptors."""
        for process in list(self._processes):
            self._drop(process)

    def hold(self, process: int, memory: int, links: dict[str, bytes], place: Place | None = None) -> None:
        """Keep `memory`, an open descriptor, and the targets of links. Replaces what we kept of the process before.

        `place` is its working directory, if that is among the links.
        If we keep too many already, this one is dropped: its calls will be losses.
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
        """A new descriptor of a task's memory. Raises PermissionError, or OSError if no descriptor is free."""
        return os.dup(self._find(task).memory)

    def link(self, task: int, what: str) -> bytes:
        """The target of /proc/TASK/`what`: cwd, root or exe. Raises PermissionError."""
        target = self._find(task).links.get(what)
        if target is None:
            raise _refused(task)
        return target

    def place(self, task: int) -> Place | None:
        """The working directory of a task whose call waits, None if unknown."""
        try:
            return next(iter(self._find(task).places), None)
        except OSError:
            return None

    def enters(self, task: int, here: Place | None, directory: Directory | None) -> None:
        """Note that a task in `here` is about to enter `directory` (None: an unknown one).

        All tasks that share its working directory move with it. The other threads of its process may or may not.
        """
        for held, is_own in self._that_may_share(task, here):
            if directory is None or held.places[:1] != (directory.place,):  # else it stays where it is
                if is_own and directory is not None:
                    held.enters(directory)
                else:
                    held.forget("cwd")

    def changes_root(self, task: int, here: Place | None) -> None:
        """Note that a task in `here` is about to change its root directory."""
        for held, _ in self._that_may_share(task, here):
            held.forget("root")

    def lose_all(self) -> None:
        """Forget where all processes are, and their roots (pivot_root(2))."""
        for held in self._processes.values():
            held.forget("cwd")
            held.forget("root")

    def _that_may_share(self, task: int, here: Place | None) -> Iterator[tuple[_Process, bool]]:
        """Each process that a task may move, and whether it is that task alone."""
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
        """Note that a task is about to execute `path`. If that works, what we keep of its process is outdated."""
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
    """Whether it is still the same process with the same memory. Raises OSError if there is no such process.

    An execution renames a process after the program. A process with another name has not executed it; one that had
    the name before may have.
    """
    if started(process) != held.started:
        return False
    if held.executing is None:
        return True
    name = os.path.basename(held.executing)[:_NAME_SIZE].rstrip(b"\n")
    return kernel.program(process) != to_text(name)


def _refused(task: int) -> PermissionError:
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES), f"/proc/{task}")
