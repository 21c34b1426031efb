"""The backend for where neither seccomp nor fanotify is to be had: inotify(7). It needs no privilege.

It sees which files are opened in folders that it has set a watch on, one watch per folder. What it is not told, it
cannot know: who opened a file (`BlindSpot.WHO`), whether that was to execute it (`EXECUTIONS`), and which files were
only looked up (`LOOKUPS`). Folders that the run itself makes are not watched: they are not the image's.

It speaks to the kernel itself. What the library watchdog makes public (7.1.0: `Observer`, `FileOpenedEvent`) reports
that a file was opened, but not that a directory was, nor that the queue overflowed, nor which directories below the
first could not be watched; it follows mounts and moves, and has a thread for each watch. What lies below can all of
that, but is another in each of its releases.
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
from slimagent.trace.inotify.events import IS_DIRECTORY, OPEN, QUEUE_OVERFLOW, Event, parse
from slimagent.trace.inotify.queue import Queue
from slimagent.trace.reader import Reader
from slimagent.trace.record import Record
from slimagent.trace.watcher import Mask

_OWN_OPENS = frozenset({"open", "os.listdir", "os.scandir", "import", "ctypes.dlopen"})  # audit events of Python


class Inotify(Backend):
    """Watch by inotify. What is opened counts while a command lives, or something that it left running.

    So what the agent opens by itself before, between and after commands is no evidence. What it, or anybody else, opens
    while a command lives cannot be told from what the command opens, and is.
    """

    name = "inotify"
    blind_spots: tuple[BlindSpot, ...] = (BlindSpot.LOOKUPS, BlindSpot.EXECUTIONS, BlindSpot.WHO)
    no_new_privileges = False

    def __init__(self, mask: Mask | None = None, folders: Sequence[bytes] = (b"/",)) -> None:
        if mask is not None:
            raise UsageError("inotify cannot make files look gone", "use --backend seccomp")
        self._tops = tuple(map(os.path.realpath, folders))
        self._record = Record()
        super().__init__(Family(), self._record)
        self.reading = threading.RLock()  # held while events are read: who holds it holds the reader back
        self._reader: Reader | None = None
        self._folders: dict[int, bytes] = {}  # by watch; the first of two names is the image's
        self._counts = False
        self._lock = threading.RLock()
        self._holder = 0  # the thread that has the lock
        self._process = os.getpid()

    @staticmethod
    def unavailable() -> str | None:
        """Why inotify cannot be used here, found out by using it."""
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
        """Set all watches. They are listed first: to list a folder below a watched one makes an event."""
        for folder in _folders(self._tops, self._record):
            try:
                self._folders.setdefault(self._queue.watch(folder), folder)
            except (FileNotFoundError, NotADirectoryError):
                continue  # gone since it was listed
            except PermissionError:
                self._record.lose(LossKind.UNREADABLE_PATH, to_text(folder))
            except OSError as error:
                if error.errno == errno.ENOSPC and not self._folders:
                    raise UnavailableError(
                        f"not a single folder can be watched: {error.strerror}",
                        "raise fs.inotify.max_user_watches (sysctl), or choose another --backend",
                    ) from None
                self._record.lose(_loss(error), f"{to_text(folder)}: {error.strerror}")

    def step(self, name: str) -> int:
        """Begin a step. What an earlier step left running is attributed to the present one."""
        with self._alone():
            self._drain()
            self._stop_counting_if_idle()
            self._step += 1
        return self._step

    def spawn(self, command: Command) -> subprocess.Popen[bytes]:
        """Start a command, from whose start on all opens count. Raises OSError as Popen does."""
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
        """The agent is about to open a file: if no command lives, that and what follows is no evidence."""
        if (
            self._reader is None or not self._counts or os.getpid() != self._process
        ):  # or a child of ours before it executes
            return
        if threading.current_thread() is not self._reader.thread and self._holder != threading.get_ident():
            with self._alone():
                self._stop_counting_if_idle()

    def _stop_counting_if_idle(self) -> None:
        """Look twice: a process may fork and end while we look, so that neither it nor its child is seen alive."""
        if self._counts and not self.family.lives() and not self.family.lives():
            self._drain()
            self._counts = False

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """For one thread at a time; what it opens meanwhile is not looked at."""
        with self._lock:
            before, self._holder = self._holder, threading.get_ident()
            try:
                yield
            finally:
                self._holder = before

    def _drain(self) -> None:
        """Record all that was opened before: an event is there before the call that it is about returns."""
        if self._reader is not None:
            self._reader.catch_up()

    def _read(self) -> int:
        """Record some events and return how many bytes they were, 0 if there was none. An error is a loss."""
        data = self._queue.read()
        for event in parse(data):
            try:
                self._see(event)
            except Exception as error:
                self._record.lose(LossKind.SUPERVISOR_ERROR, f"{type(error).__name__}: {error}")
        return len(data)

    def _see(self, event: Event) -> None:
        """Record an open. A folder that was listed is told twice: by itself, without a name, and by its parent."""
        if not self._counts:
            return
        step = max(self._step, 0)
        if event.mask & QUEUE_OVERFLOW:  # nobody knows how many were lost
            self._record.lose(LossKind.QUEUE_OVERFLOW, f"in step {step}: fs.inotify.max_queued_events is too small")
        elif event.mask & OPEN:
            folder = self._folders[event.watch]
            path = os.path.join(folder, event.name) if event.name else folder
            if path not in self._record.steps.get(step, ()):
                with contextlib.suppress(OSError):  # gone since
                    status = os.lstat(path)
                    self._record.files[status.st_dev, status.st_ino] = path
            self._record.add(step, path, How.LISTED if event.mask & IS_DIRECTORY else How.OPENED)


_watching: set[Inotify] = set()


@functools.cache
def _hook() -> None:
    """Python keeps an audit hook for good. With nothing to watch ours does nothing."""
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


def _folders(tops: Iterable[bytes], record: Record) -> list[bytes]:
    """All folders from `tops` down that are not on another mount. One that cannot be listed is a loss."""
    with open("/proc/self/mountinfo", "rb") as file:
        mounts = frozenset(mounted(file.read()))
    found: dict[bytes, None] = {}
    pending = list(tops)[::-1]
    while pending:
        folder = pending.pop()
        if folder in found:
            continue
        try:
            with os.scandir(folder) as entries:
                below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            record.lose(LossKind.UNREADABLE_PATH, f"{to_text(folder)}: {error.strerror}")
            continue
        found[folder] = None
        pending += [path for path in below if path not in mounts]
    return list(found)


def _loss(error: OSError) -> LossKind:
    return LossKind.WATCH_LIMIT if error.errno == errno.ENOSPC else LossKind.UNREADABLE_PATH
