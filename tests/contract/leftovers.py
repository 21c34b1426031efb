"""Find what a test left running, end it, and name it, so that the next test does not meet it.

An orphan belongs to nobody, and to adopt orphans would change what the tests are about. So everything that the tests
start inherits a mark: a hard limit on POSIX message queues (RLIMIT_MSGQUEUE of getrlimit(2), in bytes) a little below
ours, that nobody uses and everybody may read in /proc/PID/limits.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import secrets
import signal
import time
from collections.abc import Callable

import psutil

GRACE = 10  # seconds: what is about to end may do so
_PATIENCE = 30  # seconds
_PAUSE = 0.05
_LOTS = 1 << 16
_LIMIT = re.compile(r"^Max msgqueue size +\S+ +(\d+)", re.MULTILINE)


def mark() -> int:
    """Lower our own limit by lot, for good; all that we start from here on inherits it."""
    hard = resource.getrlimit(resource.RLIMIT_MSGQUEUE)[1]
    drawn = max((1 << 62 if hard == resource.RLIM_INFINITY else hard) - 1 - secrets.randbelow(_LOTS), 0)
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (drawn, drawn))
    return drawn


def marked(limit: int) -> set[psutil.Process]:
    """The living processes with the mark, without this one."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):  # it ended meanwhile
            with open(f"/proc/{process.pid}/limits") as file:
                is_marked = (hard := _LIMIT.search(file.read())) is not None and int(hard[1]) == limit
            if is_marked and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.add(process)
    return found


def end_others(limit: int, before: set[psutil.Process]) -> list[str]:
    """End what has the mark and was not there before: the command lines of what had to be killed."""

    def left() -> set[psutil.Process]:
        return marked(limit) - before

    _wait(lambda: not left(), GRACE)
    named = sorted(map(_command, left()))
    stopped: set[psutil.Process] = set()
    while fresh := left() - stopped:  # first nobody may fork any more
        _send(fresh, signal.SIGSTOP)
        stopped |= fresh
    _send(stopped, signal.SIGKILL)
    _wait(lambda: not left(), _PATIENCE)
    return named


def _send(processes: set[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _command(process: psutil.Process) -> str:
    try:
        return f"{process.pid}: {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return f"{process.pid}, which has ended"


def _wait(true: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(_PAUSE)
