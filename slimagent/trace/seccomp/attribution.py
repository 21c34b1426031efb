"""Which test a call belongs to. A test runner marks what it does by looking up a path that does not exist.

After a lookup of /.slimagent/test/NAME the calling process, and what it starts, is in test NAME; a lookup of
/.slimagent/test itself ends that. A child belongs to the test that its parent was in when it was started. The parent is
known from /proc, so this needs no privilege.

Threads share what one of them marks, unless several of them have marks at the same time: then each has its own, and
what the other threads and new processes do belongs to no test.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from slimagent.linux import kernel
from slimagent.linux.processes import started
from slimagent.model.trace import TESTS_PLACE
from slimagent.trace.by_test import TestUses

NONE = -1  # in no test
LONGEST_NAME = 300  # bytes; a longer name ends with a digest of the whole
_DIGEST = 16  # hexadecimal digits
_SECONDS_TRUSTED = 1.0  # see `tasks`
_MOST_MEMBERS = 4096
_DEEPEST = 100  # ancestors
_TICKS = os.sysconf("SC_CLK_TCK")


def test_name(path: bytes) -> bytes | None:
    """The test that a lookup of `path` marks: b"" ends a test, None is not a mark.

    >>> test_name(b"/.slimagent/test/tests%2Fplot.py::svg")
    b'tests/plot.py::svg'
    """
    if not path.startswith(TESTS_PLACE):
        return None
    rest = path[len(TESTS_PLACE) :]
    if rest[:1] not in (b"", b"/"):
        return None
    name = rest.strip(b"/")
    if b"%" in name:
        name = unquote_to_bytes(name)
    if len(name) > LONGEST_NAME:
        digest = hashlib.sha256(name).hexdigest()[:_DIGEST].encode()
        name = name[: LONGEST_NAME - _DIGEST - 1] + b"~" + digest
    return name


@dataclass(slots=True)
class Process:
    """A process: when it began, the test that it was started in, and the marks of its threads.

    `since` is when its marks changed last, in clock ticks since boot. `shared` is the test of a thread without a mark.
    """

    number: int
    began: int
    inherited: int
    marks: dict[int, int] = field(default_factory=dict)
    since: int = 0
    shared: int = NONE


class Attribution:
    """Knows which test the tasks of one supervisor are in. Only its thread calls it.

    `everyone` is the name of a test in which all processes are that have no mark. Any thread may set it.
    """

    def __init__(self, uses: TestUses) -> None:
        self.marked = False  # whether a process has a mark
        self.everyone = b""
        self._uses = uses
        self._step = 0
        self._tasks: dict[int, Process] = {}
        self._members: dict[int, Process] = {}
        self._looked = time.monotonic()
        self._ends = (0, 1, os.getpid())  # no ancestor of a watched process beyond these has a mark

    @staticmethod
    def now() -> int:
        """The time as /proc says when a process began."""
        return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS)

    def process(self, step: int, task: int, name: bytes) -> Process | None:
        """The process that a mark is for, None if the mark changes nothing. Ask while the call waits, as for `of`."""
        self._begin(step)
        if not name and not self.marked:
            return None
        return self._tasks.get(task) or self._find(task)

    def mark(self, step: int, member: Process | None, task: int, name: bytes, now: int) -> None:
        """Put a task's process into a test; b"" takes it out. The task itself may be gone by now."""
        if member is None:
            return
        before = member.marks.get(task, NONE)
        if name:
            member.marks[task] = self._uses.number(step, name)
            self.marked = True
        elif task in member.marks:
            del member.marks[task]
        elif len(member.marks) == 1:  # a runtime that moved its work to another thread
            before = next(iter(member.marks.values()))
            member.marks.clear()
        for other in [each for each in member.marks if each != task]:
            if not os.path.exists(f"/proc/{member.number}/task/{other}"):
                del member.marks[other]
        running = list(set(member.marks.values())) or [member.inherited]
        member.shared = running[0] if len(running) == 1 else NONE
        member.since = now
        if before not in running:
            self._uses.end(before)

    def of(self, step: int, task: int) -> int:
        """The number of the test that a task is in, or NONE."""
        if step != self._step:
            self._begin(step)
        test = NONE
        if self.marked:
            now = time.monotonic()
            if now - self._looked > _SECONDS_TRUSTED:
                self._looked = now
                self._tasks.clear()
            member = self._tasks.get(task) or self._find(task)
            if member is not None:
                test = member.marks.get(task, member.shared)
        if test == NONE and self.everyone:
            test = self._uses.number(step, self.everyone)
        return test

    def _begin(self, step: int) -> None:
        """Begin a step: what an earlier one left running is in no test of this one."""
        if step != self._step:
            self._step, self.marked = step, False
            self._tasks.clear()
            self._members.clear()
            self._uses.end_all()

    def _find(self, task: int) -> Process | None:
        """The process of a task. None if it is gone.

        Processes that we see for the first time, its ancestors too, are in the test that they were started in: their
        parent's, unless that has changed since.
        """
        new: list[tuple[int, int]] = []
        member, above = None, task
        while above not in self._ends and len(new) < _DEEPEST:
            try:
                status = kernel.status(above)
                began = started(status.process)
            except (OSError, IndexError, ValueError):
                break
            member = self._members.get(status.process)
            if member is not None and member.began == began:
                break
            member, above = None, status.parent
            new.append((status.process, began))
        self._make_room()
        for number, began in reversed(new):
            inherited = NONE if member is None or began < member.since else member.shared
            member = self._members[number] = Process(number, began, inherited, shared=inherited)
        if member is not None:
            self._tasks[task] = member
        return member

    def _make_room(self) -> None:
        if len(self._members) >= _MOST_MEMBERS:
            self._members = {
                number: member for number, member in self._members.items() if os.path.exists(f"/proc/{number}")
            }
            if len(self._members) >= _MOST_MEMBERS:  # so many processes live: we learn them again
                self._members = {number: member for number, member in self._members.items() if member.marks}
            self._tasks.clear()
