"""The backend for running processes, and the cross-check of seccomp: fanotify(7).

It sees what is opened and executed on the file systems of the image, by which process, and what the kernel opens
itself. It needs CAP_SYS_ADMIN. Each file is reported once per step: the cost grows with files, not with opens.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from slimagent.errors import UnavailableError, UsageError
from slimagent.linux import kernel
from slimagent.linux.command import Command
from slimagent.linux.family import Family
from slimagent.model.trace import BlindSpot, How, LossKind
from slimagent.paths.algebra import to_text
from slimagent.trace.backend import Backend
from slimagent.trace.fanotify.group import OPEN, OPEN_EXEC, QUEUE_OVERFLOW, Event, Group, mount_of, mounts, unavailable
from slimagent.trace.fanotify.running import record_running
from slimagent.trace.reader import Reader
from slimagent.trace.record import Record
from slimagent.trace.watcher import Mask

_REMOVED = b" (deleted)"  # proc_pid_fd(5)
# A process number is reused only after all others: that takes far longer than a second.
_SECONDS_TRUSTED = 1.0


class Fanotify(Backend):
    """Watch by fanotify what its processes and their descendants do below `directories`.

    With `attach` it watches every process but the agent, and records what running processes hold open. If a process is
    gone when its event is read, its family is unknown: it counts unless `was_ours` denies it.
    With a `family` that another watcher has entered, the processes of that family count.
    """

    name = "fanotify"
    blind_spots: tuple[BlindSpot, ...] = (BlindSpot.LOOKUPS, BlindSpot.OTHER_PROCESSES, BlindSpot.TESTS)
    no_new_privileges = False
    unlimited_queue = True

    def __init__(
        self,
        mask: Mask | None = None,
        directories: Sequence[bytes] = (b"/",),
        *,
        attach: bool = False,
        family: Family | None = None,
        was_ours: Callable[[int], bool] | None = None,
    ) -> None:
        if mask is not None:
            raise UsageError("fanotify cannot make files look gone", "use --backend seccomp")
        if attach:
            self.blind_spots = (BlindSpot.LOOKUPS, BlindSpot.WHO, BlindSpot.TESTS)
        self.reading = threading.RLock()  # held while events are read: hold it to pause the reader
        self._directories = directories
        self._attach = attach
        self._has_started = False
        self._was_ours = was_ours or (lambda process: self._has_started)
        self._is_guest = family is not None
        self._record = Record()
        self._own = os.getpid()
        self._counted: dict[int, bool] = {}
        self._asked = time.monotonic()
        self._mounts: set[int] = set()
        super().__init__(family or Family(), self._record)

    @staticmethod
    def unavailable() -> str | None:
        """Why fanotify does not work here, found by trying it. None if it works."""
        return unavailable()

    def __enter__(self) -> Fanotify:
        with contextlib.ExitStack() as resources:
            self._group = resources.enter_context(contextlib.closing(self._watched()))
            if not self._is_guest:
                kernel.close_memory()
                resources.enter_context(self.family)
            if self._attach:
                record_running(self._record)
            self._reader = resources.enter_context(
                Reader(self.name, self._group.descriptor, self.reading, self._group.waiting, self._read)
            )
            self._resources = resources.pop_all()
        return self

    def _watched(self) -> Group:
        group, directory = Group(unlimited_queue=self.unlimited_queue), b""
        try:
            for directory in self._directories:
                group.watch(directory)
        except OSError as error:
            group.close()
            raise UnavailableError(
                f"fanotify cannot watch {to_text(directory)}: {error.strerror}",
                "use --backend seccomp, or leave out that directory",
            ) from None
        return group

    def step(self, name: str) -> int:
        """Record what was done before, and begin a step."""
        with self.reading:
            self._reader.catch_up()
            self._group.forget_ignored()
            self._step += 1
            return self._step

    def spawn(self, command: Command) -> subprocess.Popen[bytes]:
        """Start a watched process. Raises OSError where Popen does."""
        self._has_started = True
        return self.family.spawn(command)

    def _stop(self) -> tuple[str, ...]:
        stopped = () if self._is_guest else self.family.stop()
        self._reader.stop()
        self._reader.catch_up()
        return stopped

    def _read(self) -> int:
        """Record some events and return their number, 0 if there were none. An error loses one event."""
        try:
            events = self._group.read()
        except OSError as error:
            self._record.lose(LossKind.UNREADABLE_PATH, f"an opened file: {error.strerror}")
            return 1
        for event in events:
            try:
                self._see(event)
            except OSError as error:
                self._record.lose(
                    LossKind.UNREADABLE_PATH, f"a file that process {event.process} opened: {error.strerror}"
                )
            except Exception as error:
                self._record.lose(LossKind.SUPERVISOR_ERROR, f"{type(error).__name__}: {error}")
            finally:
                if event.descriptor >= 0:
                    os.close(event.descriptor)
        return len(events)

    def _see(self, event: Event) -> None:
        if event.mask & QUEUE_OVERFLOW:
            self._record.lose(LossKind.QUEUE_OVERFLOW, "more files were opened at once than the kernel's queue holds")
            return
        if not self._counts(event):
            return
        if event.descriptor < 0:
            raise OSError(-event.descriptor, os.strerror(-event.descriptor))
        status = os.fstat(event.descriptor)
        path = _name(event.descriptor, status)
        if not path:
            return
        is_directory = stat.S_ISDIR(status.st_mode)
        how = How.EXECUTED if event.mask & OPEN_EXEC else How.LISTED if is_directory else How.OPENED
        step = max(self._step, 0)
        self._record.files[status.st_dev, status.st_ino] = path
        if not self._record.steps.get(step, {}).get(path, 0) & how:
            self._check_mount(event, path)
            self._record.add(step, path, how)
        if status.st_nlink == 1 or is_directory:  # a file with several names: each must be seen
            self._group.ignore(event.descriptor, event.mask & (OPEN | OPEN_EXEC))

    def _counts(self, event: Event) -> bool:
        process = event.process
        if process in (0, self._own):  # 0: outside of our PID namespace, e.g. a process of the host
            return False
        if self._attach:
            return True
        now = time.monotonic()
        if now - self._asked > _SECONDS_TRUSTED:
            self._counted.clear()
            self._asked = now
        counts = self._counted.get(process)
        if counts is None or (event.mask & OPEN_EXEC and not counts):  # our child gets its mark before it executes
            belongs = self.family.has(process)
            counts = self._counted[process] = self._was_ours(process) if belongs is None else belongs
        return counts

    def _check_mount(self, event: Event, path: bytes) -> None:
        """Record a loss for an unknown mount: in another mount namespace the path may mean another file."""
        mount = mount_of(event.descriptor)
        if mount in self._mounts:
            return
        self._mounts |= mounts().keys()
        if mount not in self._mounts:
            self._mounts.add(mount)
            self._record.lose(
                LossKind.MOUNT_NAMESPACE, f"process {event.process} opened {to_text(path)} on a mount of its own"
            )


def _name(descriptor: int, status: os.stat_result) -> bytes:
    """The path of an open file, the last one if it was removed. b"" if it never had one. Raises OSError."""
    path = os.readlink(b"/proc/self/fd/%d" % descriptor)
    if path == b"/" and not stat.S_ISDIR(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "opened by its handle, and its name is unknown")
    if path.endswith(_REMOVED) and not _is_at(path, status):
        path = path.removesuffix(_REMOVED)
        if path.endswith(b"/#%d" % status.st_ino):  # O_TMPFILE of open(2)
            return b""
    return path


def _is_at(path: bytes, status: os.stat_result) -> bool:
    """Whether `path` names that file."""
    try:
        return os.path.samestat(os.lstat(path), status)
    except OSError:
        return False
