"""Processes that a check starts, with all that comes of them: nothing of it outlives the check."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psutil

from slimagent.checks.context import Context
from slimagent.linux.subreaper import adopting_orphans

_GRACE = 5.0  # seconds from SIGTERM to SIGKILL
_PATIENCE = 10.0  # seconds to wait for killed processes to be gone; one in an uninterruptible sleep stays
_LOOK_EVERY = 1.0  # seconds
_UNTIL_COLLECTED = 1.0  # seconds


class Family:
    """A process in a session of its own, and its descendants, wherever they went.

    They are found by their session, by their parents, and, where they left both, as orphans that fell to this
    process: a child that is not of our session and was not there `before`.
    """

    def __init__(self, process: subprocess.Popen[bytes], before: frozenset[int]) -> None:
        self.process = process
        self._before = before
        self._born = time.time()
        self._members = {process.pid: psutil.Process(process.pid)}
        self._next_look = 0.0

    def wait(self, seconds: float) -> int | None:
        """The return code, or None if the process did not end in that time. Watches what it starts meanwhile."""
        deadline = time.monotonic() + seconds
        while True:
            if time.monotonic() >= self._next_look:
                self._look()
                self._next_look = time.monotonic() + _LOOK_EVERY
            left = deadline - time.monotonic()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(max(0.0, min(left, _LOOK_EVERY)))
            if left <= 0:
                return None

    def stop(self, grace: float = _GRACE) -> None:
        """End every process of the family: SIGTERM, `grace` seconds, SIGKILL. Returns when they are gone."""
        deadline = time.monotonic() + grace
        try:
            self._look()
            if self.process.poll() is None:
                with contextlib.suppress(OSError):  # a server ends its own children: ask it alone first
                    os.killpg(self.process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(grace)
            self._look()
            if self._send(signal.SIGTERM):
                self._wait_for_all(max(1.0, deadline - time.monotonic()))
        finally:
            self._kill_all()

    def _kill_all(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            self._look()  # every time: one that forks faster than we kill has new children
            if not self._send(signal.SIGKILL) or time.monotonic() > deadline:
                break
            self._wait_for_all(1.0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)
        self._collect()

    def _send(self, number: signal.Signals) -> int:
        """Send a signal to every living member. Returns how many there are."""
        living = [member for member in self._members.values() if lives(member)]
        for member in living:
            with contextlib.suppress(psutil.Error):  # gone meanwhile
                member.send_signal(number)
        return len(living)

    def _wait_for_all(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while any(lives(member) for member in self._members.values()) and time.monotonic() < deadline:
            self.process.poll()
            time.sleep(0.02)

    def _look(self) -> None:
        """Take in who descends from a member, is in its session, or fell to us."""
        processes = [each for each in psutil.process_iter() if each.pid not in self._members]
        grown = True
        while grown:
            grown = False
            for each in processes:
                if each.pid not in self._members and self._ours(each):
                    self._members[each.pid] = each
                    grown = True

    def _ours(self, process: psutil.Process) -> bool:
        try:
            if process.create_time() < self._born - 1:  # its clock ticks are coarse
                return False
            parent, session = process.ppid(), os.getsid(process.pid)
        except (psutil.Error, OSError):  # gone meanwhile
            return False
        if parent in self._members or session == self.process.pid:
            return True
        return parent == os.getpid() and process.pid not in self._before and session != os.getsid(0)

    def _collect(self) -> None:
        """Take the exit status of orphans that fell to us, so that none stays a zombie.

        One that was killed may not be dead yet, and one that is dead may not have fallen to us yet.
        """
        self._look()
        waiting = self._members.keys() - {self.process.pid}
        deadline = time.monotonic() + _UNTIL_COLLECTED
        while waiting:
            waiting = {pid for pid in waiting if not _collected(pid)}
            if not waiting or time.monotonic() > deadline:
                return
            time.sleep(0.01)


def _collected(pid: int) -> bool:
    """Whether nothing is left of a process, after its exit status was taken if it is there for us."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except OSError:  # not our child: collected by who it was
        return not psutil.pid_exists(pid)


def lives(process: psutil.Process) -> bool:
    """Whether a process still runs: neither gone nor a zombie that waits for its parent."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


@contextlib.contextmanager
def started(
    context: Context, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, stdout: Any, stderr: Any
) -> Iterator[Family]:
    """Start a program of the image in a session of its own, as the context's user. Raises OSError as Popen does.

    However the block is left, nothing of what was started is left running.
    """
    before = frozenset(child.pid for child in psutil.Process().children())
    with adopting_orphans():
        process = context.spawn(
            list(argv),
            env=env,
            cwd=cwd,
            user=context.user,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            new_session=True,
        )
        family = Family(process, before)
        try:
            yield family
        finally:
            family.stop()


def shell_status(returncode: int) -> int:
    """A Popen's return code as a shell's `$?`: 128 and the signal's number if one ended it."""
    return returncode if returncode >= 0 else 128 - returncode


def ending(returncode: int) -> str:
    """How a process ended, in words."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return f"ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"ended by signal {-returncode}"
