"""A process of the image and everything that it starts: wait for it, and leave nothing of it behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

import psutil

from slimagent.checks.context import Context
from slimagent.errors import CheckFailedError

GRACE = 3.0  # seconds between SIGTERM and SIGKILL
_LAST_RESORT = 10.0  # seconds to wait for killed processes: one in an uninterruptible call dies late
_POLL = 0.05
_REMEMBER = 0.5  # seconds between two looks at who belongs to us
_TAIL_LINES, _TAIL_BYTES = 12, 4096


class Family:
    """A process in a session of its own, with all its descendants.

    Descendants are found by their session, by their parents, and, where they left both, as orphans that were handed
    to this process (as it happens to a subreaper and to a container's first process, prctl(2)).
    """

    def __init__(self, process: subprocess.Popen[bytes], before: frozenset[int]) -> None:
        self.process = process
        self._before = before
        self._seen: set[psutil.Process] = set()
        self._looked = 0.0

    def wait(self, deadline: float) -> int | None:
        """The exit status of the first process as a shell gives it, None if it still runs at `deadline` (monotonic)."""
        while self.alive():
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(min(left, _REMEMBER))
        return self.status

    def alive(self) -> bool:
        """Whether the first process still runs."""
        if time.monotonic() - self._looked > _REMEMBER:
            self._members()
        return self.process.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status as a shell gives it: 128 and the signal's number if one ended it; None while it runs."""
        code = self.process.returncode
        return code if code is None or code >= 0 else 128 - code

    def stop(self) -> None:
        """End everything: SIGTERM to the session, then to who is left, and SIGKILL after a grace."""
        try:
            self._ask()
        finally:  # also when Ctrl-C comes a second time
            self._kill()

    def _ask(self) -> None:
        deadline = time.monotonic() + GRACE
        asked: set[psutil.Process] = set()
        while members := self._members():
            # A server is asked first and may stop its own processes in good order; daemons that it leaves come next.
            leader_lives = self.process.poll() is None
            for member in members - asked:
                if not leader_lives or _session(member.pid) == self.process.pid:
                    asked.add(member)
                    _send(member, signal.SIGTERM)
            if time.monotonic() > deadline:
                return
            time.sleep(_POLL)

    def _kill(self) -> None:
        deadline = time.monotonic() + _LAST_RESORT
        while (members := self._members()) and time.monotonic() < deadline:
            for member in members:
                _send(member, signal.SIGKILL)
            time.sleep(_POLL)
        self.process.poll()

    def _members(self) -> set[psutil.Process]:
        """Who lives of the family now; zombies that are ours to collect are collected."""
        self._looked = time.monotonic()
        children = psutil.Process().children()
        found = set(self._seen)
        found.update(child for child in children if child.pid == self.process.pid)
        found.update(child for child in children if self._is_orphan(child.pid))
        found.update(_processes_of_session(self.process.pid))
        for member in tuple(found):
            with contextlib.suppress(psutil.Error):
                found.update(member.children(recursive=True))
        self._seen = {member for member in found if self._lives(member)}
        return set(self._seen)

    def _is_orphan(self, pid: int) -> bool:
        return pid not in self._before and pid != self.process.pid and _session(pid) not in (None, os.getsid(0))

    def _lives(self, member: psutil.Process) -> bool:
        if member.pid == self.process.pid:
            return self.process.poll() is None
        try:
            if not member.is_running():
                return False
            if member.status() != psutil.STATUS_ZOMBIE:
                return True
            if member.ppid() == os.getpid():
                os.waitpid(member.pid, os.WNOHANG)
        except (psutil.Error, ChildProcessError):
            pass
        return False


@contextlib.contextmanager
def started(
    context: Context, argv: Sequence[str], output: IO[bytes], *, env: Mapping[str, str] | None = None, cwd: str = ""
) -> Iterator[Family]:
    """Start `argv` as the image's user, its output into a file; when the block ends, so does all that it started.

    Raises CheckFailedError if it cannot be started.
    """
    before = frozenset(child.pid for child in psutil.Process().children())
    try:
        process = context.spawn(
            argv,
            env=context.env if env is None else env,
            cwd=cwd or context.cwd,
            user=context.user,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            new_session=True,
        )
    except OSError as error:
        named = error.filename if error.filename is not None else argv[0]
        raise CheckFailedError(f"cannot run {argv[0]}: {error.strerror}: {named}") from None
    family = Family(process, before)
    try:
        yield family
    finally:
        family.stop()


def captured() -> IO[bytes]:
    """A file for a process's output that has no name: it is gone when it is closed, however we end."""
    return tempfile.TemporaryFile()


def last_lines(output: IO[bytes]) -> str:
    """The end of a captured output as text, without control characters and blank lines."""
    end = output.seek(0, os.SEEK_END)
    output.seek(max(0, end - _TAIL_BYTES))
    return readable(output.read())


def readable(data: bytes) -> str:
    """The last lines of any bytes as printable text."""
    lines = ("".join(filter(_is_shown, line)).rstrip() for line in data.decode("utf-8", "replace").splitlines())
    return "\n".join([line for line in lines if line][-_TAIL_LINES:])


def _is_shown(character: str) -> bool:
    return character.isprintable() or character == "\t"


def _processes_of_session(session: int) -> Iterator[psutil.Process]:
    for pid in psutil.pids():
        if _session(pid) == session:
            with contextlib.suppress(psutil.Error):
                yield psutil.Process(pid)


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _send(member: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        member.send_signal(number)
