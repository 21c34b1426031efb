"""The processes that a watcher starts, and what descends from them: told apart, collected, and stopped at the end.

A daemon leaves its parents and its session; what it inherits stays. So each command is started with a mark: a limit on
real-time scheduling (RLIMIT_RTTIME of getrlimit(2), in microseconds) a little below ours. Where ours is infinite it is
292,000 years: no program notices, and everybody may read it in /proc/PID/limits.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psutil

from slimagent.model import User
from slimagent.trace import kernel

_GRACE = 3.0  # seconds between SIGTERM and SIGKILL for what a step left behind
_PAUSE = 0.02  # seconds
_NEARLY_INFINITE = (1 << 63) - 1
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
        self._mark = _NEARLY_INFINITE if ours == resource.RLIM_INFINITY else max(ours - 1, 0)
        self._marks = ours != 0

    def __enter__(self) -> Family:
        self._before = {child.pid for child in psutil.Process().children(recursive=True)}
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
        """Start a marked command; arguments as in `subprocess.Popen`. `enter` is called in the child first of all.

        Raises OSError as Popen does, `subprocess.SubprocessError` if the child failed before it executed.
        """

        def prepare() -> None:
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
            with open(f"/proc/{process}/limits", "rb") as file:
                found = _LIMIT.search(file.read())
        except (FileNotFoundError, ProcessLookupError):
            return None
        if found is None or not self._marks:
            return True
        return found[1] != b"unlimited" and int(found[1]) <= self._mark

    def reap(self) -> None:
        """Collect orphans that became our children, so that a long run does not fill the table of processes."""
        for child in psutil.Process().children():
            if child.pid in self._before or _lives(child):
                continue
            if child.pid in self._processes:
                self._processes[child.pid].poll()
            elif self.has(child.pid):
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child.pid, os.WNOHANG)

    def stop(self, ended: Callable[[], bool] | None = None) -> tuple[str, ...]:
        """Stop what still runs (SIGTERM, then SIGKILL) until `ended` or nothing is left: their command lines."""
        stopped: dict[int, str] = {}
        deadline = time.monotonic() + _GRACE
        asked: set[int] = set()
        while True:
            leftovers = () if ended is not None and ended() else tuple(self._leftovers())
            for process in leftovers:
                with contextlib.suppress(psutil.Error):
                    stopped.setdefault(process.pid, " ".join(process.cmdline()) or process.name())
                    if time.monotonic() > deadline:
                        process.kill()
                    elif process.pid not in asked:
                        asked.add(process.pid)
                        process.terminate()
            self.reap()
            if not leftovers and (ended is None or ended()):
                return tuple(stopped.values())
            time.sleep(_PAUSE)

    def _leftovers(self) -> Iterator[psutil.Process]:
        for child in psutil.Process().children(recursive=True):
            if child.pid not in self._before and _lives(child) and self.has(child.pid):
                yield child


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
