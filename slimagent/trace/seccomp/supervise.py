"""Answer the notifications of one listener: read the path, let the call continue, record it.

The loop is the hot path of tracing: about ten microseconds per call. It reads the path before the answer, since the
memory may change afterwards, and records it after the answer, while the watched process already runs again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import select
import time

from slimagent.linux import kernel
from slimagent.linux.syscalls import Action, Call, Machine
from slimagent.model.trace import TESTS_PLACE, LossKind
from slimagent.paths.algebra import to_text
from slimagent.trace.record import Record
from slimagent.trace.seccomp.attribution import NONE, Attribution, test_name
from slimagent.trace.seccomp.filter import X32_BIT
from slimagent.trace.seccomp.look import EXECUTED, LOOKED_UP, OPENED, Look, Looked, Named
from slimagent.trace.seccomp.names import Changes
from slimagent.trace.seccomp.tasks import Tasks, UnreadableMemoryError
from slimagent.trace.seccomp.untraced import CONTINUE, NOTHING, RECEIVE, SEND, Untraced
from slimagent.trace.watcher import Mask

_SLASH = ord("/")
_SIZE = len(NOTHING)
_ARGUMENTS = 6  # the index of the first argument in a notification
_PAUSE = 0.01  # seconds
_unpack, _pack = kernel.NOTIFICATION.unpack_from, kernel.RESPONSE.pack
_SIMPLE = (Action.LOOK_UP, Action.OPEN, Action.CHANGE_DIRECTORY, Action.REMOVE)


class Supervisor:
    """Supervises one listener and keeps its record."""

    def __init__(
        self, machine: Machine, mask: Mask | None, record: Record, changes: Changes, *, marks: bool = False
    ) -> None:
        """With `marks`, a lookup of a path in `TESTS_PLACE` marks a test."""
        self.record = record
        self.tests = Attribution(record.tests)
        self._marks = TESTS_PLACE if marks else b"\0"  # what a path that marks a test begins with
        self._look = Look(machine, changes, record.lose, mask is not None, self._mark_test if marks else None)
        self._is_plain, self._plain = self._look.names.is_plain, self._look.names.plain
        self._at_once = self.record.at_once
        self._untraced = Untraced()
        self.step = 0
        self.callers: set[int] = set()
        self._seccomp = machine.seccomp
        self._mask = mask
        self._architecture = machine.audit_architecture
        self._calls = machine.calls
        self._simple = {
            number: (_ARGUMENTS + call.paths[0].path, _ARGUMENTS + call.flags if call.action is Action.OPEN else 0)
            for number, call in machine.calls.items()
            if len(call.paths) == 1 and call.action in _SIMPLE
        }
        self._unseen_executions: dict[int, int] = {}
        self._simply = mask is None  # whether `_serve_simple` may serve calls

    def serve(self, listener: int, page: mmap.mmap) -> None:
        """Answer until no process uses the filter (poll(2) says POLLHUP), then close listener and page.

        After a fatal error it lets all calls continue unseen, and the record says so.
        """
        untraced = self._untraced
        untraced.hold(listener, page)
        tasks = None
        try:
            tasks = Tasks(listener, self.callers)
            with contextlib.suppress(OSError):  # before Linux 6.6 there is no such flag
                fcntl.ioctl(listener, kernel.SET_FLAGS, kernel.SYNC_WAKE_UP)
            self._serve_all(listener, page, tasks)
            untraced.release(listener)
        except Exception as error:
            # This comes first: without memory even an iterator would fail. An error here would end the thread, and
            # every call would wait for ever.
            untraced.reserve = b""
            self.record.end(error)
            _let_go(untraced)
        finally:
            if tasks is not None:
                tasks.close()
                self._close_record(tasks)

    def _serve_all(self, listener: int, page: mmap.mmap, tasks: Tasks) -> None:
        ioctl, unpack, simple_calls, architecture = fcntl.ioctl, _unpack, self._simple, self._architecture
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while True:
            ((_, events),) = poll.poll()
            if not events & select.POLLIN:
                return
            page[:_SIZE] = NOTHING
            try:
                # The kernel writes into the page itself, which the guardian has, too. With so large a buffer Python
                # keeps its lock during the call: without the poll before, all threads would wait with this one.
                ioctl(listener, RECEIVE, page)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR):  # the caller was killed meanwhile
                    continue
                raise
            fields = unpack(page)
            tasks.notification = fields[0]
            if self._simply and fields[4] == architecture and fields[1]:
                simple = simple_calls.get(fields[3])
                if simple is not None and self._serve_simple(listener, tasks, fields, simple):
                    continue
            self._serve_any(listener, tasks, fields)

    def _serve_simple(self, listener: int, tasks: Tasks, fields: tuple[int, ...], simple: tuple[int, int]) -> bool:
        """Serve the common case fast: one absolute path is opened or looked up. False if it is another case."""
        path_at, flags_at = simple
        try:
            path = tasks.path(fields[1], fields[path_at])
            if path and path not in self._plain:
                if path.startswith(self._marks) and (name := test_name(path)) is not None:
                    return self._serve_mark(listener, fields, name)
                if path[0] != _SLASH or not self._is_plain(path):
                    return False
        except OSError:
            return False
        test = self._test_of(fields[1])
        if self._at_once and path:
            self._add(test, path, self._look.use(fields[flags_at]) if flags_at else LOOKED_UP)
        try:
            fcntl.ioctl(listener, SEND, _pack(fields[0], 0, 0, CONTINUE))
        except OSError:
            return True  # killed meanwhile
        if path and not self._at_once:
            self._add(test, path, self._look.use(fields[flags_at]) if flags_at else LOOKED_UP)
        return True

    def _serve_mark(self, listener: int, fields: tuple[int, ...], name: bytes) -> bool:
        """Serve a lookup that marks a test. What the task does next is seen by us, and so after the mark."""
        task, now = fields[1], self.tests.now()
        process = self.tests.process(self.step, task, name)
        with contextlib.suppress(OSError):
            fcntl.ioctl(listener, SEND, _pack(fields[0], 0, 0, CONTINUE))
        self.tests.mark(self.step, process, task, name, now)
        return True

    def _test_of(self, task: int) -> int:
        """The test that a task is in. Ask while its call waits: afterwards the task may be gone."""
        tests = self.tests
        return tests.of(self.step, task) if tests.marked or tests.everyone else NONE

    def _add(self, test: int, path: bytes, how: int) -> None:
        """Record that `path` was used: in a test, or in the step alone."""
        if test == NONE or not self.record.tests.add(test, path, how):
            self.record.add(self.step, path, how)

    def _mark_test(self, task: int, name: bytes) -> None:
        self.tests.mark(self.step, self.tests.process(self.step, task, name), task, name, self.tests.now())

    def _serve_any(self, listener: int, tasks: Tasks, fields: tuple[int, ...]) -> None:
        identity, task, _, number, architecture, _, *arguments = fields
        call = None
        if architecture == self._architecture and number < X32_BIT and task:
            call = self._calls.get(number)
        looked, refusal = self._judge(tasks, task, call, arguments, (number, architecture))
        if call is not None and not refusal:
            _follow(tasks, task, call, looked.paths)
        test = self._test_of(task)
        if self._at_once:
            self._remember(test, looked)
        with contextlib.suppress(OSError):  # ENOENT: killed meanwhile
            fcntl.ioctl(listener, SEND, _pack(identity, 0, refusal, 0 if refusal else CONTINUE))
        self._remember(test, looked)

    def _remember(self, test: int, looked: Looked) -> None:
        for named in looked.paths:
            for path in named.recorded:
                self._add(test, path, looked.how)
        for path in looked.interpreters:
            self._add(test, path, EXECUTED)

    def _judge(
        self, tasks: Tasks, task: int, call: Call | None, arguments: list[int], unknown: tuple[int, int]
    ) -> tuple[Looked, int]:
        """What a call does, and the error with which it must fail (0: let it continue).

        Never raises: without an answer the watched process would hang for ever.
        """
        name = call.name if call else "a call"
        try:
            if call is None:
                self._unknown(task, arguments, *unknown)
                return Looked([], 0), 0
            if self._unseen_executions:
                self._see_execution(tasks, task)
            looked = self._look.at(tasks, task, call, arguments)
            self._adjust(tasks, task, call)
            return looked, -errno.ENOENT if self._is_hidden(looked) else 0
        except PermissionError:
            self._unreadable(task, call)
        except UnreadableMemoryError:
            self.record.lose(LossKind.UNREADABLE_MEMORY, f"{name} of {kernel.program(task)} (process {task})")
        except (ProcessLookupError, FileNotFoundError):
            pass  # killed during its call, or a closed descriptor: the call does not happen
        except OSError as error:  # e.g. no free descriptor, or a working directory too deep for a link
            self.record.lose(LossKind.UNREADABLE_PATH, f"{name} of process {task}: {error.strerror}")
        except Exception as error:
            self.record.lose(LossKind.SUPERVISOR_ERROR, f"{type(error).__name__}: {error}")
        return Looked([], 0), 0

    def _adjust(self, tasks: Tasks, task: int, call: Call) -> None:
        """After some calls `_serve_simple` must leave others alone."""
        if call.action is Action.CHANGE_ROOT:
            self._simply = False
        elif call.action is Action.CONCEAL:
            tasks.hold(task)
            for number, other in self._calls.items():  # from now on the working directory matters
                if other.action is Action.CHANGE_DIRECTORY:
                    self._simple.pop(number, None)

    def _is_hidden(self, looked: Looked) -> bool:
        """Whether a call must fail because the mask hides something that it needs."""
        mask = self._mask
        if mask is None:
            return False
        for at, named in enumerate(looked.paths):
            if not any(map(mask, named.names)):
                continue
            if at not in looked.makes:
                return True
            if looked.how & OPENED:  # O_CREAT: it finds the file, but should have to make it
                self.record.lose(LossKind.NOT_MASKED, to_text(named.spelled))
        return any(map(mask, looked.interpreters))

    def _unknown(self, task: int, arguments: list[int], number: int, architecture: int) -> None:
        if (number, architecture) != (self._seccomp, self._architecture):
            self.record.lose(LossKind.FOREIGN_CALL, f"call {number} of architecture {architecture:#x}, process {task}")
        elif arguments[0] & 0xFFFFFFFF == kernel.SET_MODE_FILTER:  # it will get EBUSY (seccomp(2))
            self.record.lose(
                LossKind.OWN_LISTENER, f"{kernel.program(task)} (process {task}) tried to watch processes itself"
            )

    def _unreadable(self, task: int, call: Call | None) -> None:
        """Record a loss for an unreadable process. What it executes shows at its next call, if that is readable."""
        name = "a call" if call is None else call.name
        if call is None or call.action is not Action.EXECUTE or task in self._unseen_executions:
            self.record.lose(LossKind.UNREADABLE_PATH, f"{name} of {kernel.program(task)} (process {task})")
        if call is not None and call.action is Action.EXECUTE:
            self._unseen_executions[task] = self.step
            self._simply = False

    def _see_execution(self, tasks: Tasks, task: int) -> None:
        step = self._unseen_executions.get(task)
        if step is None:
            return
        with contextlib.suppress(PermissionError):  # not yet: that execution failed, and another may come
            paths = tasks.executed(task)
            del self._unseen_executions[task]
            self._simply = self._mask is None and not self._look.other_roots and not self._unseen_executions
            for path in paths:
                self.record.add(step, path, EXECUTED)

    def _close_record(self, tasks: Tasks) -> None:
        for task in self._unseen_executions:
            self.record.lose(LossKind.UNREADABLE_PATH, f"execution by process {task}")
        self._look.end()
        self.record.tests.end_all()
        if tasks.foreign_namespace:
            self.record.lose(LossKind.MOUNT_NAMESPACE, f"{tasks.foreign_namespace} has mounts of its own")


def _follow(tasks: Tasks, task: int, call: Call, paths: list[Named]) -> None:
    """Update what we know of tasks before a call continues: who moves shows only while it waits."""
    path = paths[0] if paths else None
    if call.action is Action.EXECUTE:
        tasks.forget(task, path.spelled if path and call.name == "execve" else b"")
    elif call.action is Action.CHANGE_DIRECTORY:
        tasks.enters(task, path.names[-1] if path and path.names else None)
    elif call.action is Action.CHANGE_ROOT:
        tasks.changes_root(task, of_all=call.name == "pivot_root")


def _let_go(untraced: Untraced) -> None:
    while True:
        try:
            untraced.serve()
        except (MemoryError, OSError):  # unanswered calls would hang
            time.sleep(_PAUSE)
        else:
            return
