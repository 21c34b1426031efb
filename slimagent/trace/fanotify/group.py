"""One fanotify group: fanotify_init(2), its marks (fanotify_mark(2)), and reading it. Needs CAP_SYS_ADMIN."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import struct
import termios

from slimagent.linux import kernel
from slimagent.trace.fanotify.events import METADATA, ON_DIRECTORY, OPEN, OPEN_EXEC, Event, parse

_CLOSE_ON_EXEC, _NONBLOCK = 0x1, 0x2  # FAN_*, with FAN_CLASS_NOTIF, which is 0
_UNLIMITED_QUEUE, _UNLIMITED_MARKS = 0x10, 0x20
_REPORT_ERRORS = 0x2000  # FAN_REPORT_FD_ERROR, Linux 6.13
_ADD, _MOUNT, _IGNORE, _IGNORE_MODIFIED = 0x1, 0x10, 0x20, 0x40  # FAN_MARK_*
_FLUSH, _FILE_SYSTEM, _EVICTABLE = 0x80, 0x100, 0x200
_HERE = -100  # AT_FDCWD
# Opening a FIFO must not wait, and to be watched must not make a file look read.
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOATIME
_AT_ONCE = 256  # events: each comes with a descriptor, of which a process may have 1,024
_SHORT = 1024  # bytes: the mount stands among the first lines
_MOUNT_ID = re.compile(rb"^mnt_id:\s*(\d+)", re.MULTILINE)


class Group:
    """A group and its descriptor. Raises OSError as fanotify_init(2) does."""

    def __init__(self, *, unlimited_queue: bool = True) -> None:
        flags = _CLOSE_ON_EXEC | _NONBLOCK | _UNLIMITED_MARKS | (_UNLIMITED_QUEUE if unlimited_queue else 0)
        try:
            self.descriptor = kernel.call(
                "fanotify_init", ctypes.c_uint(flags | _REPORT_ERRORS), ctypes.c_uint(_OPEN_FLAGS)
            )
            at_once = _AT_ONCE
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self.descriptor = kernel.call("fanotify_init", ctypes.c_uint(flags), ctypes.c_uint(_OPEN_FLAGS))
            # A file that cannot be opened ends a read with its error, but only where no event was read before it:
            # otherwise the kernel forgets it. One event at a time, none is forgotten.
            at_once = 1
        self._size = at_once * METADATA.size
        self._ignore = _ADD | _IGNORE | _IGNORE_MODIFIED | _EVICTABLE

    def close(self) -> None:
        """Let go of it; the kernel removes its marks, and the events that nobody read."""
        os.close(self.descriptor)

    def watch(self, folder: bytes) -> None:
        """Report opens and executions on the file system of `folder`, by whatever process. Raises OSError.

        If only a part of a file system is mounted there (a volume of a container is a folder of its host), only on
        that mount: the rest belongs to others.
        """
        descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        try:
            mounted = mounts().get(mount_of(descriptor), b"/")
        finally:
            os.close(descriptor)
        kind = _FILE_SYSTEM if mounted == b"/" or folder == b"/" else _MOUNT
        self._mark(_ADD | kind, OPEN | OPEN_EXEC | ON_DIRECTORY, _HERE, folder)

    def ignore(self, descriptor: int, mask: int) -> None:
        """Report no more events of `mask` of one file, until `forget_ignored` or until its inode is evicted."""
        try:
            self._mark(self._ignore, mask, descriptor, None)
        except OSError as error:
            if error.errno == errno.EINVAL and self._ignore & _EVICTABLE:  # before Linux 5.19
                self._ignore &= ~_EVICTABLE
                self.ignore(descriptor, mask)
            # Whatever else it is: the file is reported again, that is all.

    def forget_ignored(self) -> None:
        """Report again what `ignore` was called for."""
        self._mark(_FLUSH, 0, _HERE, b"/")

    def read(self) -> list[Event]:
        """The next events, none if there are none now. Who takes them closes their descriptors. Raises OSError."""
        try:
            return parse(os.read(self.descriptor, self._size))
        except BlockingIOError:
            return []

    def waiting(self) -> int:
        """The number of events that wait to be read."""
        size: int = struct.unpack("i", fcntl.ioctl(self.descriptor, termios.FIONREAD, bytes(4)))[0]
        return size // METADATA.size

    def _mark(self, flags: int, mask: int, descriptor: int, path: bytes | None) -> None:
        kernel.call(
            "fanotify_mark", ctypes.c_int(self.descriptor), ctypes.c_uint(flags), ctypes.c_uint64(mask),
            ctypes.c_int(descriptor), ctypes.c_char_p(path),
        )  # fmt: skip


def unavailable() -> str | None:
    """Why opens on the file system of the root cannot be reported, found out by asking for that, or None."""
    try:
        group = Group()
    except OSError as error:
        if error.errno == errno.EPERM and not kernel.has_capability(kernel.CAP_SYS_ADMIN):
            return "it needs CAP_SYS_ADMIN"
        reasons = {
            errno.EPERM: "it needs CAP_SYS_ADMIN outside of any user namespace, and a seccomp profile that allows it",
            errno.ENOSYS: "this kernel has no fanotify",
            errno.EMFILE: "this user has as many fanotify groups as the kernel allows",
        }
        return reasons.get(error.errno or 0, f"fanotify_init failed: {error.strerror}")
    try:
        group.watch(b"/")
    except OSError as error:
        if error.errno == errno.EINVAL:
            return "this kernel's fanotify does not report executions (Linux 5.0 and later do)"
        return f"the file system of / cannot be marked: {error.strerror}"
    finally:
        group.close()
    return None


def mount_of(descriptor: int) -> int:
    """The id of the mount that a descriptor was opened on (proc_pid_fdinfo(5)), 0 if the kernel does not say it."""
    place = os.open(f"/proc/self/fdinfo/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = _MOUNT_ID.search(os.read(place, _SHORT))
    finally:
        os.close(place)
    return int(found[1]) if found else 0


def mounts() -> dict[int, bytes]:
    """The mounts that this process sees, by id: the folder of its file system that each shows.

    They are the first and the fourth field of proc_pid_mountinfo(5).
    """
    with open("/proc/self/mountinfo", "rb") as file:
        rows = (line.split(b" ", 4) for line in file)
        return {int(row[0]): row[3] for row in rows}
