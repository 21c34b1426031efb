"""The default backend: seccomp user notification (seccomp_unotify(2)). Needs no privilege and no capability.

It sees every file system call of its processes and their descendants, whether it succeeds or not, as any user, in a
default container and in a build step.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence

from slimagent.errors import UnavailableError
from slimagent.linux import kernel
from slimagent.linux.command import Command
from slimagent.linux.family import Family
from slimagent.linux.syscalls import Machine
from slimagent.model.trace import TESTS_PLACE, BlindSpot, LossKind
from slimagent.trace.backend import Backend
from slimagent.trace.by_test import Room, TestUses
from slimagent.trace.record import Record
from slimagent.trace.seccomp.attribution import LONGEST_NAME
from slimagent.trace.seccomp.filter import build
from slimagent.trace.seccomp.guardian import Guardian
from slimagent.trace.seccomp.names import Changes
from slimagent.trace.seccomp.supervise import Supervisor
from slimagent.trace.watcher import Lane, Mask


class _Lane:
    """The lane of a step: its index, the supervisors of its processes, and the test that these are in."""

    def __init__(self, backend: Seccomp, step: int) -> None:
        self.number = step
        self.name = b""
        self.supervisors: list[Supervisor] = []
        self._backend = backend

    def test(self, name: str) -> None:
        """Put all processes of the lane that have no mark of their own into a test of its step; "" ends it."""
        self.name = name.encode("utf-8", "replace")[:LONGEST_NAME]
        for supervisor in self.supervisors:
            supervisor.tests.everyone = self.name

    def spawn(self, command: Command) -> subprocess.Popen[bytes]:
        """Start a watched process. Raises OSError where Popen does, UnavailableError if it cannot be watched."""
        return self._backend.spawn_in(self, command)


class Seccomp(Backend):
    """Watch by seccomp user notification. Paths in `mask` look as if they did not exist.

    Each process that we start has a supervisor of its own, with the step of its lane.
    """

    name = "seccomp"
    tells_apart = True
    blind_spots: tuple[BlindSpot, ...] = (BlindSpot.OTHER_PROCESSES, BlindSpot.KERNEL_OPENS)

    def __init__(
        self, mask: Mask | None = None, directories: Sequence[bytes] = (b"/",), record: Callable[[], Record] = Record
    ) -> None:
        self._directories = directories  # it sees calls, wherever they lead
        self._mask = mask
        self._new_record = record
        self._lane = _Lane(self, 0)  # with all supervisors, of the lanes that have ended, too
        self._threads: list[threading.Thread] = []
        self._guardian = Guardian()
        self._room = Room()
        super().__init__(Family())
        self.no_new_privileges = not kernel.has_capability(kernel.CAP_SYS_ADMIN)

    @staticmethod
    def unavailable() -> str | None:
        """Why seccomp user notification does not work here, found by trying it in a child. None if it works."""
        machine = kernel.machine()
        if machine is None:
            return f"no table of system calls for {os.uname().machine}"
        process = os.fork()
        if process == 0:
            try:
                kernel.prctl(kernel.SET_NO_NEW_PRIVILEGES, 1)
                kernel.install_filter(machine.seccomp, build(machine))
                os._exit(0)
            except OSError as error:
                os._exit(error.errno or 255)
            except BaseException:
                os._exit(255)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        reasons = {
            errno.EBUSY: "another supervisor already watches this process (the kernel allows only one listener)",
            errno.ENOSYS: "this kernel has no seccomp filters",
            errno.EINVAL: "this kernel has no seccomp user notification (Linux 5.0 and later have it)",
            errno.EPERM: "the container's own seccomp profile forbids it",
        }
        return None if code == 0 else reasons.get(code, f"seccomp failed: {os.strerror(code) if code > 0 else code}")

    def __enter__(self) -> Seccomp:
        with contextlib.ExitStack() as resources:
            self._changes = resources.enter_context(contextlib.closing(Changes(self._directories)))
            resources.callback(self._guardian.end)
            self._guardian.start()
            kernel.close_memory()
            self._marks = not os.path.lexists(TESTS_PLACE)
            resources.enter_context(self.family)
            self._resources = resources.pop_all()
        return self

    def step(self, name: str) -> int:
        """Begin a step. Processes left from an earlier step now count for this one."""
        self.test("")
        self._step += 1
        self._lane.number = self._step
        for supervisor in self._lane.supervisors:
            supervisor.step = self._step
        return self._step

    def beside(self, name: str) -> Lane:
        """Begin a step that runs beside others: only what its lane spawns belongs to it."""
        self.test("")
        self._step += 1
        return _Lane(self, self._step)

    def test(self, name: str) -> None:
        """Put all processes that have no mark of their own into a test of this step; "" ends it."""
        self._lane.test(name)

    def spawn(self, command: Command) -> subprocess.Popen[bytes]:
        """Start a watched process. Raises OSError where Popen does, UnavailableError if it cannot be watched."""
        return self.spawn_in(self._lane, command)

    def spawn_in(self, lane: _Lane, command: Command) -> subprocess.Popen[bytes]:
        """Start a watched process in a lane. Raises as `spawn` does. Any thread may call it."""
        machine = _machine()
        program = build(machine)
        ours, theirs = socket.socketpair()

        def enter() -> None:
            _enter(theirs, machine.seccomp, program, self.no_new_privileges)

        with theirs:
            try:
                supervisor, thread = self._supervise(machine, ours, lane)
            except RuntimeError:
                ours.close()
                raise UnavailableError(
                    f"cannot watch {command.argv[0]}: no thread can be started",
                    "raise the limit on processes (`--pids-limit`)",
                ) from None
            self._threads.append(thread)
            lane.supervisors.append(supervisor)
            if lane is not self._lane:
                self._lane.supervisors.append(supervisor)
            self.records.append(supervisor.record)
            try:
                return self.family.spawn(command, enter)
            except (subprocess.SubprocessError, OSError) as error:
                if isinstance(error, OSError) and not _refusal(supervisor):
                    raise
                raise UnavailableError(
                    f"cannot watch {command.argv[0]}: {_refusal(supervisor) or error}",
                    "run `slimagent trace` once more, or choose another --backend",
                ) from None

    def adopt(self, ours: socket.socket) -> None:
        """Watch a process that takes the filter by itself (`take_filter`) and sends its listener over `ours`.

        It is not part of the family: it is not stopped at the end, and its accesses stay in the step in which it came.
        """
        self._supervise(_machine(), ours, self._lane)

    def _supervise(self, machine: Machine, ours: socket.socket, lane: _Lane) -> tuple[Supervisor, threading.Thread]:
        """Start a thread that serves the listener which comes over `ours`. Raises RuntimeError if that fails."""
        record = self._new_record()
        record.tests = TestUses(self._room)
        supervisor = Supervisor(machine, self._mask, record, self._changes, marks=self._marks and not record.at_once)
        supervisor.step = lane.number
        supervisor.tests.everyone = lane.name
        thread = threading.Thread(
            target=self._receive_and_serve, args=(supervisor, ours), name="supervisor", daemon=True
        )
        thread.start()
        return supervisor, thread

    def called(self, task: int) -> bool:
        """Whether a task with that number made a call that we saw."""
        return any(task in supervisor.callers for supervisor in self._lane.supervisors)

    def _stop(self) -> tuple[str, ...]:
        stopped = self.family.stop(lambda: not any(thread.is_alive() for thread in self._threads))
        for thread in self._threads:
            thread.join()
        return stopped

    def _receive_and_serve(self, supervisor: Supervisor, ours: socket.socket) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # for the main thread only
        with ours:
            word, listeners, _, _ = socket.recv_fds(ours, 16, 1)
        if listeners:
            try:
                page = self._guardian.hold(listeners[0])
            except (OSError, MemoryError) as error:
                supervisor.record.lose(LossKind.NOT_WATCHED, str(error) or "out of memory")
                os.close(listeners[0])  # makes the child's execve fail; otherwise it would wait for ever
            else:
                supervisor.serve(listeners[0], page)
        elif word:
            supervisor.record.lose(LossKind.NOT_WATCHED, os.strerror(int(word) or errno.EMFILE))


def _machine() -> Machine:
    machine = kernel.machine()
    if machine is None:
        raise UnavailableError(
            f"cannot watch processes on {os.uname().machine}", "use x86-64 or aarch64, or --backend fanotify or inotify"
        )
    return machine


def take_filter(theirs: socket.socket) -> None:
    """Take the filter and send its listener to the watcher at the other end (`Seccomp.adopt`). Raises OSError."""
    machine = kernel.machine()
    if machine is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    _enter(theirs, machine.seccomp, build(machine), not kernel.has_capability(kernel.CAP_SYS_ADMIN))


def _enter(theirs: socket.socket, number: int, program: bytes, no_new_privileges: bool) -> None:
    """In the child, between fork and exec: take the filter and send its listener to the parent."""
    try:
        if no_new_privileges:
            kernel.prctl(kernel.SET_NO_NEW_PRIVILEGES, 1)
        listener = kernel.install_filter(number, program)
    except OSError as error:
        theirs.send(b"%d" % (error.errno or 0))
        raise
    socket.send_fds(theirs, [b"0"], [listener])
    os.close(listener)


def _refusal(supervisor: Supervisor) -> str:
    return supervisor.record.losses.get(LossKind.NOT_WATCHED, (0, ""))[1]
