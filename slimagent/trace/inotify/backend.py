"""The backend for when neither seccomp nor fanotify works: inotify(7). It needs no privilege.

It sees which files are opened in directories that it watches, with one watch per directory. It cannot see who opened a
file (`BlindSpot.WHO`), whether to execute it (`EXECUTIONS`), or which files were only looked up (`LOOKUPS`). It does
not watch directories that the run makes: they are not part of the image.

It calls the kernel directly. The public interface of the library watchdog (7.1.0: `Observer`, `FileOpenedEvent`) does
not report opened directories, queue overflows, or subdirectories that could not be watched. It follows mounts and
moves, and has a thread for each watch. Its internal modules can do all of that, but change with every release.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from slimagent.errors import UnavailableError, UsageError
from slimagent.linux import kernel
from slimagent.linux.command import Command
from slimagent.linux.family import Family
from slimagent.model.trace import BlindSpot, How, LossKind
from slimagent.paths.algebra import mounted, to_text
from slimagent.trace.backend import Backend
from slimagent.trace.inotify.queue import IS_DIRECTORY, OPEN, QUEUE_OVERFLOW, Event, Queue, parse
from slimagent.trace.reader import Reader
from slimagent.trace.record import Record
from slimagent.trace.watcher import Mask

_OWN_OPENS = frozenset({"open", "os.listdir", "os.scandir", "import", "ctypes.dlopen"})  # audit events of Python


class Inotify(Backend):
    """Watch by inotify. Opens count while a command, or something that it left running, is alive.

    So what the agent opens before, between and after commands is not evidence. While a command is alive, opens by any
    other process cannot be told apart, and count.
    """

    name = "inotify"
    blind_spots: tuple[BlindSpot, ...] = (
        BlindSpot.LOOKUPS,
        BlindSpot.EXECUTIONS,
        BlindSpot.WHO,
        BlindSpot.TESTS,
    )
    no_new_privileges = False

    def __init__(self, mask: Mask | None = None, directories: Sequence[bytes] = (b"/",)) -> None:
        if mask is not None:
            raise UsageError("inotify cannot make files look gone", "use --backend seccomp")
        self._tops = tuple(map(os.path.realpath, directories))
        self._record = Record()
        super().__init__(Family(), self._record)
        self.reading = threading.RLock()  # held while events are read: hold it to pause the reader
        self._reader: Reader | None = None
        self._directories: dict[int, bytes] = {}  # by watch; the first of two names belongs to the image
        self._counts = False
        self._lock = threading.RLock()
        self._holder = 0  # the thread that holds the lock
        self._process = os.getpid()

    @staticmethod
    def unavailable() -> str | None:
        """Why inotify does not work here, found by trying it. None if it works."""
        try:
            Queue().close()
        except OSError as error:
            return f"inotify_init failed: {error.strerror}"
        return None

    def __enter__(self) -> Inotify:
        kernel.close_memory()
        with contextlib.ExitStack() as resources:
            self._queue = resources.enter_context(contextlib.closing(_queue()))
            resources.enter_context(self.family)
            self._reader = resources.enter_context(
                Reader(self.name, self._queue.descriptor, self.reading, self._queue.waiting, self._read)
            )
            self._watch()
            _hook()
            _watching.add(self)
            resources.callback(_watching.discard, self)
            self._resources = resources.pop_all()
        return self

    def _watch(self) -> None:
        """Set all watches. List the directories first: listing one below a watched directory makes an event."""
        for directory in _directories(self._tops, self._record):
            try:
                self._directories.setdefault(self._queue.watch(directory), directory)
            except (FileNotFoundError, NotADirectoryError):
                continue  # gone meanwhile
            except PermissionError:
                self._record.lose(LossKind.UNREADABLE_PATH, to_text(directory))
            except OSError as error:
                if error.errno == errno.ENOSPC and not self._directories:
                    raise UnavailableError(
                        f"no directory can be watched: {error.strerror}",
                        "raise fs.inotify.max_user_watches (sysctl), or choose another --backend",
                    ) from None
                self._record.lose(_loss(error), f"{to_text(directory)}: {error.strerror}")

    def step(self, name: str) -> int:
        """Begin a step. Processes left from an earlier step now count for this one."""
        with self._alone():
            self._drain()
            self._stop_counting_if_idle()
            self._step += 1
        return self._step

    def spawn(self, command: Command) -> subprocess.Popen[bytes]:
        """Start a command. All opens count from its start on. Raises OSError as Popen does."""
        with self._alone():
            if not self._counts:
                self._drain()
                self._counts = True
            return self.family.spawn(command)

    def _stop(self) -> tuple[str, ...]:
        stopped = self.family.stop()
        self._drain()
        self._counts = False
        self.family.reap()
        return stopped

    def before_own_open(self) -> None:
        """The agent is about to open a file. Stop counting if no command is alive."""
        if (
            self._reader is None or not self._counts or os.getpid() != self._process
        ):  # or a child of ours before it executes
            return
        if threading.current_thread() is not self._reader.thread and self._holder != threading.get_ident():
            with self._alone():
                self._stop_counting_if_idle()

    def _stop_counting_if_idle(self) -> None:
        """Look twice: a process may fork and exit while we look, so that we see neither it nor its child alive."""
        if self._counts and not self.family.lives() and not self.family.lives():
            self._drain()
            self._counts = False

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one thread in at a time. Its own opens are not checked meanwhile."""
        with self._lock:
            before, self._holder = self._holder, threading.get_ident()
            try:
                yield
            finally:
                self._holder = before

    def _drain(self) -> None:
        """Record all earlier opens: an event is queued before its call returns."""
        if self._reader is not None:
            self._reader.catch_up()

    def _read(self) -> int:
        """Record some events and return their size in bytes, 0 if there were none. An error is a loss."""
        data = self._queue.read()
        for event in parse(data):
            try:
                self._see(event)
            except Exception as error:
                self._record.lose(LossKind.SUPERVISOR_ERROR, f"{type(error).__name__}: {error}")
        return len(data)

    def _see(self, event: Event) -> None:
        """Record an open. A listed directory is reported twice: by itself, without a name, and by its parent."""
        if not self._counts:
            return
        step = max(self._step, 0)
        if event.mask & QUEUE_OVERFLOW:  # the number of lost events is unknown
            self._record.lose(LossKind.QUEUE_OVERFLOW, f"in step {step}: fs.inotify.max_queued_events is too small")
        elif event.mask & OPEN:
            directory = self._directories[event.watch]
            path = os.path.join(directory, event.name) if event.name else directory
            if path not in self._record.steps.get(step, ()):
                with contextlib.suppress(OSError):  # gone since
                    status = os.lstat(path)
                    self._record.files[status.st_dev, status.st_ino] = path
            self._record.add(step, path, How.LISTED if event.mask & IS_DIRECTORY else How.OPENED)


_watching: set[Inotify] = set()


@functools.cache
def _hook() -> None:
    """Install an audit hook. It stays for good, but does nothing without a watcher."""
    sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in _OWN_OPENS:
        path = arguments[0]
        if isinstance(path, int) or (isinstance(path, (bytes, str)) and path[:5] in (b"/proc", "/proc")):
            return
        for watcher in tuple(_watching):
            watcher.before_own_open()


def _queue() -> Queue:
    try:
        return Queue()
    except OSError as error:
        raise UnavailableError(
            f"inotify cannot be used: {error.strerror}", "raise fs.inotify.max_user_instances (sysctl)"
        ) from None


def _directories(tops: Iterable[bytes], record: Record) -> list[bytes]:
    """All directories from `tops` down, except on other mounts. One that cannot be listed is a loss."""
    with open("/proc/self/mountinfo", "rb") as file:
        mounts = frozenset(mounted(file.read()))
    found: dict[bytes, None] = {}
    pending = list(tops)[::-1]
    while pending:
        directory = pending.pop()
        if directory in found:
            continue
        try:
            with os.scandir(directory) as entries:
                below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            record.lose(LossKind.UNREADABLE_PATH, f"{to_text(directory)}: {error.strerror}")
            continue
        found[directory] = None
        pending += [path for path in below if path not in mounts]
    return list(found)


def _loss(error: OSError) -> LossKind:
    return LossKind.WATCH_LIMIT if error.errno == errno.ENOSPC else LossKind.UNREADABLE_PATH
