"""The processes that a watcher starts, and what descends from them: told apart, collected, and stopped at the end.

A daemon leaves its parents and its session; what it inherits stays. So each command is started with a mark: a limit on
real-time scheduling (RLIMIT_RTTIME of getrlimit(2), in microseconds) a little below ours. Where ours is infinite it is
some 292,000 years: no program notices, and everybody may read it in /proc/PID/limits. How many exactly is drawn by lot,
to tell apart the families of agents that run beside each other.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import secrets
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from slimagent.linux import kernel
from slimagent.linux.processes import Process, children, command_line, descendants
from slimagent.model.user import User

_GRACE = 3.0  # seconds between SIGTERM and SIGKILL for what a step left behind
_PAUSE = 0.02  # seconds
_MANY = 100  # processes: more new ones between two looks than this multiply; no more than this are named
_AT_ONCE = 1000  # children to collect in one go: where they end all the time there is no end
_TRIES, _NEWEST = 200, 3
_NEARLY_INFINITE = (1 << 63) - 1
_LOTS, _APART = 1 << 32, 1 << 20  # marks, microseconds: an agent within a family marks its own a little lower
_LOWEST = _NEARLY_INFINITE - _LOTS * _APART
_LIMIT = re.compile(rb"^Max realtime timeout +\S+ +(\S+)", re.MULTILINE)


class Family:
    """Enter it before the first command; on exit nothing of the family is left.

    It is the subreaper meanwhile, so that daemons stay descendants: Yama lets a process read only those (ptrace_scope
    1), and no other process collects them.
    """

    def __init__(self) -> None:
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._before: set[int] = set()
        self._was_subreaper = False
        ours = resource.getrlimit(resource.RLIMIT_RTTIME)[1]
        lot = _NEARLY_INFINITE - _APART * secrets.randbelow(_LOTS)
        self._mark = lot if ours == resource.RLIM_INFINITY else max(ours - 1, 0)
        self._marks = ours != 0

    def __enter__(self) -> Family:
        self._before = {process.number for process in descendants(os.getpid())}
        if os.geteuid() == 0:
            # A step that runs as root could read and write us else (proc(5), /proc/PID/mem). It stays so: what we have
            # seen is not written down yet. Not for others: the files of /proc/self would be root's.
            kernel.prctl(kernel.SET_DUMPABLE, 0)
        self._was_subreaper = kernel.is_subreaper()
        kernel.prctl(kernel.SET_SUBREAPER, 1)
        return self

    def __exit__(self, *exception: object) -> None:
        kernel.prctl(kernel.SET_SUBREAPER, int(self._was_subreaper))

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str | None = None,
        user: User | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        new_session: bool = False,
        enter: Callable[[], None] = lambda: None,
    ) -> subprocess.Popen[bytes]:
        """Start a marked command; arguments as in `subprocess.Popen`. `enter` is called in the child before all else.

        The signals that the agent blocks (`foreground`) are none of the command's business.
        Raises OSError as Popen does, `subprocess.SubprocessError` if the child failed before it executed.
        """

        def prepare() -> None:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            kernel.prctl(kernel.SET_DUMPABLE, 1)  # unlike us: its calls are to be read
            enter()
            if self._marks:
                resource.setrlimit(resource.RLIMIT_RTTIME, (self._mark, self._mark))
            if user is not None:
                os.setgroups(user.groups)
                os.setgid(user.gid)
                os.setuid(user.uid)
                # A process that changed its user is unreadable until it executes; its execution is to be seen.
                kernel.prctl(kernel.SET_DUMPABLE, 1)

        with warnings.catch_warnings():
            # Python 3.12 warns of any fork beside threads; the child only makes system calls until it executes.
            warnings.simplefilter("ignore", DeprecationWarning)
            process = subprocess.Popen(
                list(argv), env=dict(env), cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr,
                start_new_session=new_session, preexec_fn=prepare,
            )  # fmt: skip
        self._processes[process.pid] = process
        return process

    def has(self, process: int) -> bool | None:
        """Whether a process, alive or a zombie, is of the family; None if it is gone."""
        try:
            hard = resource.prlimit(process, resource.RLIMIT_RTTIME)[1]
        except ProcessLookupError:
            return None
        except PermissionError:  # another user's: only the file may be read
            return self._reads_as_ours(process)
        return self._is_ours(hard)

    def _reads_as_ours(self, process: int) -> bool | None:
        try:
            with open(f"/proc/{process}/limits", "rb") as file:
                found = _LIMIT.search(file.read())
        except (FileNotFoundError, ProcessLookupError):
            return None
        return found is None or self._is_ours(resource.RLIM_INFINITY if found[1] == b"unlimited" else int(found[1]))

    def _is_ours(self, limit: int) -> bool:
        """Whether a hard limit is our mark, or lower without being another agent's."""
        if not self._marks:
            return True
        return self._mark - _APART < limit <= self._mark or 0 <= limit < min(self._mark, _LOWEST)

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
        started = self._processes.get(child)
        if started is not None:
            started.poll()
            return True
        if child in self._before or not self.has(child):
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, os.WNOHANG)
        return True

    def stop(self, ended: Callable[[], bool] | None = None) -> tuple[str, ...]:
        """Stop what still runs (SIGTERM, then SIGKILL) until `ended` or nothing is left: their command lines."""
        stopped: dict[int, str] = {}
        deadline = time.monotonic() + _GRACE
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
            time.sleep(_PAUSE)
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
                    if child not in self._before and self.has(child):
                        _signal(child, signal.SIGSTOP)

    def _has_child(self) -> bool:
        """Whether a child of ours is of the family: of those that fork and end at once, one always is."""
        return any(child not in self._before and self.has(child) for child in children())

    def _all(self) -> Iterator[Process]:
        """All of the family, zombies too. Who forks and ends at once may be missed."""
        for process in descendants(os.getpid()):
            if process.number not in self._before and self.has(process.number):
                yield process


def _signal(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or it gained rights that we do not have
        os.kill(process, number)


def _has_ended(child: int) -> bool:
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
