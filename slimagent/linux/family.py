"""Families of processes: what was started, and all that descends from it. Told apart, collected, stopped at the end.

Whose a process is, its mark says (`marks`); the same for a watcher, whose family are all commands of a run, and for a
check, whose family is one of these commands. The table of processes is read without psutil: of 300 children that takes
7 ms, and 22 ms with it; one limit takes 0.7 us, and 100 us with it. Who reads slowly is outrun by who forks.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

from slimagent.linux import kernel, marks
from slimagent.linux.command import Command, start
from slimagent.linux.processes import Process, children, command_line, descendants

_GRACE = 3.0  # seconds between SIGTERM and SIGKILL for what a step left behind
_PAUSE = 0.02  # seconds
_MANY = 100  # processes: more new ones between two looks than this multiply; no more than this are named
_AT_ONCE = 1000  # children to collect in one go: where they end all the time there is no end
_TRIES, _NEWEST = 200, 3

# Who waits for a process that was started here, and its mark. To take its status is that one's alone: a Popen whose
# process somebody else has waited for says 0.
_started: dict[int, tuple[subprocess.Popen[bytes], int]] = {}


def spawn(
    command: Command, enter: Callable[[], None] = lambda: None, *, within: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a command with a mark of its own, `within` another one or not. `enter`, and what is raised: see `start`."""
    mark = marks.drawn() if within is None else marks.within(within)

    def first() -> None:
        enter()
        marks.give(mark)

    process = start(command, first)
    for number in [number for number, (waiting, _) in _started.items() if waiting.returncode is not None]:
        del _started[number]
    _started[process.pid] = process, mark
    return process


class Family:
    """Enter it before the first command; on exit nothing of the family should be left (`stop`).

    This process is the subreaper meanwhile, so that daemons stay descendants: Yama lets a process read only those
    (ptrace_scope 1), and no other process collects them. A kernel that refuses changes nothing else.
    """

    def __init__(self) -> None:
        self._mark = marks.drawn()
        self._before: set[int] = set()
        self._was_subreaper = False

    def __enter__(self) -> Family:
        self._before = {process.number for process in descendants(os.getpid())}
        self._was_subreaper = kernel.is_subreaper()
        self._adopt_orphans(True)
        return self

    def __exit__(self, *exception: object) -> None:
        self._adopt_orphans(self._was_subreaper)

    @staticmethod
    def _adopt_orphans(adopts: bool) -> None:
        with contextlib.suppress(OSError):
            kernel.prctl(kernel.SET_SUBREAPER, int(adopts))

    def spawn(self, command: Command, enter: Callable[[], None] = lambda: None) -> subprocess.Popen[bytes]:
        """Start a command of the family. See `start`."""
        return spawn(command, enter, within=self._mark)

    def follow(self, process: subprocess.Popen[bytes]) -> None:
        """From now on the family is this process, which `spawn` or another family's has started, and what comes of it.

        Raises KeyError if it was started by other means.
        """
        self._mark = _started[process.pid][1]

    def has(self, process: int) -> bool | None:
        """Whether a process, alive or a zombie, is of the family; None if it is gone."""
        limit = marks.limit(process)
        if limit is None:
            return None
        # Whose it is that has chosen a limit of its own nobody can tell: that of who came last.
        return marks.holds(self._mark, limit) or (
            0 <= limit < min(self._mark, marks.LOWEST) and process not in self._before
        )

    def lives(self) -> bool:
        """Whether any process of the family was alive just now."""
        return any(process.lives for process in self._all())

    def reap(self) -> int:
        """Collect those that ended, orphans that became our children too, so that the table of processes stays small.

        Called whenever a child ends: what it costs does not grow with the number of children. The value is how many.
        """
        for count in range(_AT_ONCE):
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return count
            if ended is None:
                return count
            if not self._collect(ended.si_pid):  # the agent's own, and the kernel would name it again and again
                return count + sum(map(self._collect, filter(_has_ended, children())))
        return _AT_ONCE

    def _collect(self, child: int) -> bool:
        """Collect a zombie, if it is ours to collect."""
        process, _ = _started.get(child, (None, 0))
        if process is not None and process.returncode is None:
            return process.poll() is not None
        if not self.has(child):
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, os.WNOHANG)
        return True

    def stop(
        self, ended: Callable[[], bool] | None = None, *, grace: float = _GRACE, patience: float = math.inf
    ) -> tuple[str, ...]:
        """Stop what still runs until `ended` or nothing is left, for `patience` seconds after `grace`: command lines.

        SIGTERM, `grace` seconds, SIGKILL; SIGKILL at once when an exception comes in between.
        """
        stopped: dict[int, str] = {}
        deadline = time.monotonic() + grace
        try:
            while ended is None or not ended():
                living = [process.number for process in self._all() if process.lives]
                fresh = [process for process in living if process not in stopped]
                many = bool(stopped) and len(fresh) > _MANY  # they multiply: no grace
                for process in fresh:
                    stopped[process] = command_line(process) if len(stopped) < _MANY else ""
                    _signal(process, signal.SIGTERM)
                if many or time.monotonic() > deadline:
                    self._kill()
                if not self.reap() and not living and ended is None and not self._has_child():
                    break
                if time.monotonic() > deadline + patience:  # one in an uninterruptible sleep stays
                    break
                time.sleep(_PAUSE)
        except BaseException:
            self._kill()
            self.reap()
            raise
        return tuple(filter(None, stopped.values()))

    def _kill(self) -> None:
        """End all, also those that fork faster than anybody can list them: first nobody may move any more."""
        asked: set[int] = set()
        now: set[int] = set()
        until = time.monotonic() + _GRACE
        while time.monotonic() < until:
            before, now = now, {process.number for process in self._all() if process.lives}
            for process in now - asked:
                _signal(process, signal.SIGSTOP)  # from here on it cannot fork: fork(2) starts over for a signal
            self._chase()
            if not self.reap() and now == before:
                break
            asked |= now
        for process in now:
            _signal(process, signal.SIGKILL)

    def _chase(self) -> None:
        """Stop who forks and ends at once, again and again: it is gone when the table has been read through.

        But each of them becomes our child for a moment, the last of them all.
        """
        with (
            contextlib.suppress(FileNotFoundError),
            open(f"/proc/self/task/{os.getpid()}/children", "rb", buffering=0) as file,
        ):
            for _ in range(_TRIES):
                file.seek(0)
                for child in map(int, file.read().split()[-_NEWEST:]):
                    if self.has(child):
                        _signal(child, signal.SIGSTOP)

    def _has_child(self) -> bool:
        """Whether a child of ours is of the family: of those that fork and end at once, one always is."""
        return any(map(self.has, children()))

    def _all(self) -> Iterator[Process]:
        """All of the family, zombies too. Who forks and ends at once may be missed."""
        family: set[int] = set()
        for process in descendants(os.getpid()):
            if process.parent in family or self.has(process.number):
                family.add(process.number)
                yield process


def _signal(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or it gained rights that we do not have
        os.kill(process, number)


def _has_ended(child: int) -> bool:
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
