"""Use seccomp and fanotify together: each sees what the other cannot, and shows what the other missed.

An open that fanotify saw and seccomp did not is a loss: a descendant got around the filter, and nobody saw what it only
looked up.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from slimagent.model.trace import BlindSpot, LossKind
from slimagent.paths.algebra import to_text
from slimagent.trace.backend import Backend
from slimagent.trace.compare_backends import unseen
from slimagent.trace.fanotify.backend import Fanotify
from slimagent.trace.made_programs import named_interpreter
from slimagent.trace.record import Record
from slimagent.trace.seccomp.backend import Seccomp
from slimagent.trace.watcher import Mask

if TYPE_CHECKING:
    import subprocess

    from slimagent.linux.command import Command

_SHOWN = 3  # paths in a loss's example


class SeccompFanotify(Backend):
    """Watch with both. Seccomp starts the processes and applies the mask."""

    name = "seccomp+fanotify"
    blind_spots: tuple[BlindSpot, ...] = (BlindSpot.OTHER_PROCESSES,)

    def __init__(self, mask: Mask | None = None, directories: Sequence[bytes] = (b"/",)) -> None:
        self._seccomp = Seccomp(mask, directories)
        self._fanotify = Fanotify(directories=directories, family=self._seccomp.family, was_ours=self._seccomp.called)
        self.no_new_privileges = self._seccomp.no_new_privileges
        super().__init__(self._seccomp.family)
        self._began = 0

    @staticmethod
    def unavailable() -> str | None:
        """Why one of the two does not work here, or None."""
        reasons = ((backend.name, backend.unavailable()) for backend in (Seccomp, Fanotify))
        return "; ".join(f"{name}: {reason}" for name, reason in reasons if reason is not None) or None

    def __enter__(self) -> SeccompFanotify:
        with contextlib.ExitStack() as resources:
            resources.enter_context(self._fanotify)
            resources.enter_context(self._seccomp)
            self._resources = resources.pop_all()
        self._began = time.time_ns()
        return self

    def step(self, name: str) -> int:
        """Begin a step. Processes left from an earlier step now count for this one."""
        self._fanotify.step(name)
        return self._seccomp.step(name)

    def test(self, name: str) -> None:
        """Put all processes that have no mark of their own into a test of this step; "" ends it."""
        self._seccomp.test(name)

    def spawn(self, command: Command) -> subprocess.Popen[bytes]:
        """Start a watched process. Raises OSError where Popen does, UnavailableError if it cannot be watched."""
        return self._seccomp.spawn(command)

    def _stop(self) -> tuple[str, ...]:
        calls = self._seccomp.finish()  # this stops the processes: no event comes later
        events = self._fanotify.finish()
        missed = unseen(calls.accesses, events.accesses, _link, named_interpreter, self._has_changed)
        for record in self._fanotify.records:
            record.knows_tests = False
        own = Record()
        if missed:
            own.lose(LossKind.UNSEEN_OPEN, ", ".join(map(to_text, missed[:_SHOWN])), len(missed))
        self.records = [*self._seccomp.records, *self._fanotify.records, own]
        return calls.stopped + events.stopped

    def _has_changed(self, path: bytes) -> bool:
        try:
            return os.lstat(path).st_ctime_ns >= self._began
        except OSError:
            return True


def _link(path: bytes) -> bytes | None:
    if path.startswith(b"/proc/"):
        return None  # the process is gone, and `self` would be us
    try:
        return os.readlink(path)
    except OSError:
        return None
