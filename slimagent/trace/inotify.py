"""The backend for where neither seccomp nor fanotify is to be had: inotify(7) through watchdog. It needs no privilege.

It sees which files are opened in folders that it has set a watch on, one watch per folder. What it is not told, it
cannot know: who opened a file (`BlindSpot.WHO`), whether that was to execute it (`EXECUTIONS`), and which files were
only looked up (`LOOKUPS`). Folders that the run itself makes are not watched: they are not the image's.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from slimagent.errors import UnavailableError, UsageError
from slimagent.linux import kernel
from slimagent.linux.command import Command
from slimagent.linux.family import Family
from slimagent.model.trace import BlindSpot, How
from slimagent.paths.algebra import mounted, to_text
from slimagent.trace.record import Record, combine
from slimagent.trace.watcher import Mask, Observed

if TYPE_CHECKING:
    from watchdog.observers.inotify_c import InotifyEvent, InotifyFD, WatchCallback

_OLDEST = (7, 1)  # of watchdog: the first that reports overflows
_PATIENCE = 0.1  # seconds until a marker that did not come through a full queue is sent again
_OWN_OPENS = frozenset({"open", "os.listdir", "os.scandir", "import", "ctypes.dlopen"})  # audit events of Python

logging.getLogger("watchdog").addHandler(logging.NullHandler())  # it warns of an overflow, which we record as loss


class Inotify:
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
        self._family = Family()
        self._record = Record()
        self._opens = _Opens(self._record)
        self._reader: InotifyFD | None = None
        self._markers: list[_Marker] = []
        self._step = -1
        self._lock = threading.RLock()
        self._holder = 0  # the thread that has the lock
        self._process = os.getpid()
        self._observed: Observed | None = None

    @staticmethod
    def unavailable() -> str | None:
        """Why inotify cannot be used here, found out by using it."""
        try:
            from watchdog.observers.inotify_c import inotify_init
            from watchdog.version import VERSION_INFO
        except ImportError:
            return f"watchdog is not there (it needs Python 3.11 or later, this is {sys.version.split()[0]})"
        if VERSION_INFO < _OLDEST:
            return f"watchdog {'.'.join(map(str, VERSION_INFO))} does not report overflows, 7.1 does"
        descriptor = inotify_init()
        if descriptor < 0:
            return f"inotify_init failed: {os.strerror(ctypes.get_errno())}"
        os.close(descriptor)
        return None

    def __enter__(self) -> Inotify:
        kernel.close_memory()
        self._family.__enter__()
        try:
            self._reader = _start()
            self._watch(self._reader)
        except BaseException:
            self._close()
            self._family.__exit__()
            raise
        _hook()
        _watching.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()
        self._family.__exit__()

    def _watch(self, reader: InotifyFD) -> None:
        """Set all watches. They are listed first: to list a folder below a watched one makes an event."""
        try:
            for _ in range(2):
                self._markers.append(_Marker(reader))
        except OSError as error:
            raise UnavailableError(
                f"not a single folder can be watched: {error.strerror}",
                "raise fs.inotify.max_user_watches (sysctl), or choose another --backend",
            ) from None
        for folder in _folders(self._tops, self._record):
            try:
                watch = _add(reader, folder, self._opens, only_folders=True)
            except (FileNotFoundError, NotADirectoryError):
                continue  # gone since it was listed
            except OSError as error:
                self._record.lose(_loss(error), f"{to_text(folder)}: {error.strerror}")
            else:
                if watch < 0:  # how watchdog says EACCES
                    self._record.lose("unreadable-path", to_text(folder))
                self._opens.folders.setdefault(watch, folder)

    def step(self, name: str) -> int:
        """Begin a step. What an earlier step left running is attributed to the present one."""
        with self._alone():
            self._drain()
            self._stop_counting_if_idle()
            self._step += 1
            self._opens.step = self._step
        return self._step

    def spawn(self, command: Command) -> subprocess.Popen[bytes]:
        """Start a command, from whose start on all opens count. Raises OSError as Popen does."""
        with self._alone():
            if not self._opens.count:
                self._drain()
                self._opens.count = True
            return self._family.spawn(command)

    def reap(self) -> None:
        """Collect orphans that became our children."""
        self._family.reap()

    def finish(self) -> Observed:
        """Stop what still runs (SIGTERM, then SIGKILL), take what is queued, and hand over everything seen."""
        if self._observed is None:
            stopped = self._family.stop()
            self._drain()
            self._opens.count = False
            self._close()
            self._family.reap()
            self._observed = combine([self._record], stopped)
        return self._observed

    def before_own_open(self) -> None:
        """The agent is about to open a file: if no command lives, that and what follows is no evidence."""
        if not self._opens.count or os.getpid() != self._process:  # or a child of ours before it executes
            return
        if threading.current_thread() is not self._reader and self._holder != threading.get_ident():
            with self._alone():
                self._stop_counting_if_idle()

    def _stop_counting_if_idle(self) -> None:
        """Look twice: a process may fork and end while we look, so that neither it nor its child is seen alive."""
        if self._opens.count and not self._family.lives() and not self._family.lives():
            self._drain()
            self._opens.count = False

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
        """Wait until all that was opened before is recorded: a queue keeps the order.

        Of two markers each is used every other time: whatever was sent of the one has come before the other does.
        """
        if self._reader is None:
            return
        self._markers.reverse()
        while not self._markers[0].passes(_PATIENCE):
            if not self._reader.is_alive():
                self._record.lose("supervisor-error", "the thread that reads inotify's events ended early")
                break

    def _close(self) -> None:
        _watching.discard(self)
        if self._reader is not None:
            self._reader.stop()
            self._reader.join()
            self._reader = None
        for marker in self._markers:
            marker.close()
        self._markers = []


class _Opens:
    """What watchdog calls for each event of a folder, in its thread (`WatchCallback`)."""

    def __init__(self, record: Record) -> None:
        self.folders: dict[int, bytes] = {}  # by watch; the first of two names is the image's
        self.step = 0
        self.count = False
        self._record = record

    def on_event(self, event: InotifyEvent) -> None:
        """Record an open. A folder that was listed is told twice: by itself, without a name, and by its parent."""
        if self.count and event.is_open:
            folder = self.folders[event.wd]
            path = os.path.join(folder, event.name) if event.name else folder
            if path not in self._record.steps.get(self.step, ()):
                with contextlib.suppress(OSError):  # gone since
                    status = os.lstat(path)
                    self._record.files[status.st_dev, status.st_ino] = path
            self._record.add(self.step, path, How.LISTED if event.is_directory else How.OPENED)

    def on_queue_overflow(self) -> None:
        """Events were lost, nobody knows how many."""
        if self.count:
            self._record.lose("queue-overflow", f"in step {self.step}: fs.inotify.max_queued_events is too small")

    def on_watch_deleted(self, wd: int) -> None:
        """A folder is gone. Its number is not given again."""


class _Marker:
    """A file in memory with a watch: once its event has come, everything before has."""

    def __init__(self, reader: InotifyFD) -> None:
        self._passed = threading.Event()
        self._file = os.memfd_create("slimagent")
        self._path = b"/proc/self/fd/%d" % self._file
        try:
            _add(reader, self._path, self)
        except OSError:
            self.close()
            raise

    def passes(self, seconds: float) -> bool:
        """Send it, and tell whether it came within that time. A full queue drops it: it must be sent again."""
        self._passed.clear()
        os.close(os.open(self._path, os.O_RDONLY))
        return self._passed.wait(seconds)

    def on_event(self, event: InotifyEvent) -> None:
        self._passed.set()

    def on_queue_overflow(self) -> None:
        """For the folders to tell."""

    def on_watch_deleted(self, wd: int) -> None:
        """At the end."""

    def close(self) -> None:
        """Forget the file; the watch goes with it."""
        os.close(self._file)


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


def _start() -> InotifyFD:
    """The thread that reads events. Signals are the main thread's. Raises UnavailableError."""
    from watchdog.observers.inotify_c import InotifyFD

    try:
        reader = InotifyFD()
    except OSError as error:
        raise UnavailableError(
            f"inotify cannot be used: {error.strerror}", "raise fs.inotify.max_user_instances (sysctl)"
        ) from None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        reader.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return reader


def _add(reader: InotifyFD, path: bytes, callback: WatchCallback, *, only_folders: bool = False) -> int:
    """Watch opens of a file or of what is in a folder: the watch's number, -1 for EACCES. Raises other OSErrors."""
    from watchdog.observers.inotify_c import CallbackId, InotifyConstants
    from watchdog.observers.inotify_c import Mask as EventMask

    mask = InotifyConstants.IN_OPEN
    if only_folders:
        mask = EventMask(mask | InotifyConstants.IN_ONLYDIR | InotifyConstants.IN_DONT_FOLLOW)
    return reader.add_callback(path, mask, callback, CallbackId(id(path)))


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
            record.lose("unreadable-path", f"{to_text(folder)}: {error.strerror}")
            continue
        found[folder] = None
        pending += [path for path in below if path not in mounts]
    return list(found)


def _loss(error: OSError) -> str:
    return "watch-limit" if error.errno == errno.ENOSPC else "unreadable-path"
