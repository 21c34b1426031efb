"""Families of processes: a process that was started and its descendants. Tell them apart, collect them, stop them.

The mark of a process (`marks`) says which family it belongs to. The family of a watcher is all commands of a run; the
family of a check is one of these commands. We read the process table without psutil: for 300 children that takes
7 ms instead of 22 ms; one limit takes 0.7 us instead of 100 us. A slow reader loses the race against a fork loop.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

from slimagent.linux import kernel, marks
from slimagent.linux.command import Command, start
from slimagent.linux.processes import Process, children, command_line, descendants

_GRACE = 3.0  # seconds between SIGTERM and SIGKILL for what a step left behind
_PAUSE = 0.02  # seconds
_MANY = 100  # processes: with more new ones between two looks they multiply; and we name at most so many
_AT_ONCE = 1000  # children to collect at once: if some end all the time, there is no last one
_TRIES, _NEWEST = 200, 3
_DEEPEST = 100  # ancestors

# The Popen of each process that we started, and its mark. Only the Popen may take the status: if anything else waits
# for the process, the Popen reports 0.
_started: dict[int, tuple[subprocess.Popen[bytes], int]] = {}


def spawn(
    command: Command, enter: Callable[[], None] = lambda: None, *, within: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a command with a new mark, optionally `within` another mark. For `enter` and errors see `start`."""
    mark = marks.drawn() if within is None else marks.within(within)

    def first() -> None:
        enter()
        marks.give(mark)

    process = start(command, first)
    for number, (waiting, _) in list(_started.items()):  # a copy: other threads start processes, too
        if waiting.returncode is not None:
            _started.pop(number, None)
    _started[process.pid] = process, mark
    return process


class Family:
    """Enter it before the first command. Call `stop` before the exit.

    Inside the block this process is the subreaper, so that daemons stay its descendants: Yama lets a process read only
    those (ptrace_scope 1), and no other process collects them. If the kernel refuses, all else works the same.
    """

    def __init__(self) -> None:
        self._mark = marks.drawn()
        self._starting = threading.Lock()
        self._is_over = False
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
        """Start a command that belongs to the family. See `start`. Any thread may call it.

        Raises OSError (ECANCELED) once the family was stopped.
        """
        with self._starting:
            if self._is_over:
                raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
            return spawn(command, enter, within=self._mark)

    def follow(self, process: subprocess.Popen[bytes]) -> None:
        """Make this process and its descendants the family. `spawn` or another family must have started it.

        Raises KeyError otherwise.
        """
        self._mark = _started[process.pid][1]

    def has(self, process: int) -> bool | None:
        """Whether a process, alive or a zombie, belongs to the family. None if it is gone."""
        limit = marks.limit(process)
        if limit is None:
            return None
        if not 0 <= limit < min(self._mark, marks.LOWEST) or process in self._before:
            return marks.holds(self._mark, limit)
        # It chose its own limit. If it is an orphan, too, it cannot be attributed: any family takes it.
        above = _mark_above(process)
        return above is None or marks.holds(self._mark, above)

    def lives(self) -> bool:
        """Whether any process of the family is alive."""
        return any(process.lives for process in self._all())

    def reap(self) -> int:
        """Collect the processes that ended, adopted orphans too, and return their number.

        Call it whenever a child ends. The cost does not grow with the number of children.
        """
        for count in range(_AT_ONCE):
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return count
            if ended is None:
                return count
            if not self._collect(ended.si_pid):  # not ours to collect: the kernel would report it again and again
                return count + sum(map(self._collect, filter(_has_ended, children())))
        return _AT_ONCE

    def _collect(self, child: int) -> bool:
        """Collect a zombie if we may."""
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
        """Stop what still runs, until `ended` or nothing is left, and return the command lines.

        SIGTERM, then SIGKILL after `grace` seconds, or at once on an exception. Gives up `patience` seconds later.
        """
        with self._starting:
            self._is_over = True
        stopped: dict[int, str] = {}
        deadline = time.monotonic() + grace
        try:
            while ended is None or not ended():
                living = [process.number for process in self._all() if process.lives]
                fresh = [process for process in living if process not in stopped]
                many = bool(stopped) and len(fresh) > _MANY  # a fork loop: no grace
                for process in fresh:
                    stopped[process] = command_line(process) if len(stopped) < _MANY else ""
                    _signal(process, signal.SIGTERM)
                if many or time.monotonic() > deadline:
                    self._kill()
                if not self.reap() and not living and ended is None and not self._has_child():
                    break
                if time.monotonic() > deadline + patience:  # in an uninterruptible sleep
                    break
                time.sleep(_PAUSE)
        except BaseException:
            self._kill()
            self._reap_last()
            raise
        if ended is not None:
            self._reap_last()
        return tuple(filter(None, stopped.values()))

    def _reap_last(self) -> None:
        """Collect those that are still ending.

        A process closes its files, and leaves its filter since Linux 6.11 (do_exit), before it is a zombie: who waits
        for the one does not find the other yet.
        """
        until = time.monotonic() + _GRACE
        while (self.reap() or self._has_child()) and time.monotonic() < until:
            time.sleep(_PAUSE)

    def _kill(self) -> None:
        """Kill all, even if they fork faster than we can list them: stop every process before killing any."""
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
        """Stop processes that fork and exit at once: they are gone before we have read the whole process table.

        But each of them becomes our child for a moment, and is then the last in the list.
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
        """Whether a child of ours belongs to the family. In a chain of forks one always does."""
        return any(map(self.has, children()))

    def _all(self) -> Iterator[Process]:
        """All processes of the family, zombies too. May miss those that fork and exit at once."""
        family: set[int] = set()
        for process in descendants(os.getpid()):
            if process.parent in family or self.has(process.number):
                family.add(process.number)
                yield process


def _mark_above(process: int) -> int | None:
    """The mark of the nearest ancestor that we started; None for an orphan, whose parents have ended."""
    for _ in range(_DEEPEST):
        waiting, mark = _started.get(process, (None, 0))
        if waiting is not None and waiting.returncode is None:
            return mark
        try:
            process = kernel.status(process).parent
        except (OSError, ValueError):
            return None
    return None


def _signal(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or it gained rights that we do not have
        os.kill(process, number)


def _has_ended(child: int) -> bool:
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
