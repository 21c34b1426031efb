"""One fanotify group: fanotify_init(2), its marks (fanotify_mark(2)), and reading it. Needs CAP_SYS_ADMIN."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import struct
import termios
from typing import NamedTuple

from slimagent.linux import kernel
from slimagent.linux.descriptors import closing

OPEN, OPEN_EXEC = 0x20, 0x1000  # FAN_OPEN, FAN_OPEN_EXEC
QUEUE_OVERFLOW = 0x4000  # FAN_Q_OVERFLOW
ON_DIRECTORY = 0x40000000  # FAN_ONDIR: for marks only; events with a descriptor do not report it

# struct fanotify_event_metadata { u32 event_len; u8 vers; u8 reserved; u16 metadata_len; u64 mask; s32 fd; s32 pid; }
METADATA = struct.Struct("=IBBHQii")
_VERSION = 3  # FANOTIFY_METADATA_VERSION

_CLOSE_ON_EXEC, _NONBLOCK = 0x1, 0x2  # FAN_*, with FAN_CLASS_NOTIF, which is 0
_UNLIMITED_QUEUE, _UNLIMITED_MARKS = 0x10, 0x20
_REPORT_ERRORS = 0x2000  # FAN_REPORT_FD_ERROR, Linux 6.13
_ADD, _MOUNT, _IGNORE, _IGNORE_MODIFIED = 0x1, 0x10, 0x20, 0x40  # FAN_MARK_*
_FLUSH, _FILE_SYSTEM, _EVICTABLE = 0x80, 0x100, 0x200
_HERE = -100  # AT_FDCWD
# Do not wait for a FIFO, and do not change access times.
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOATIME
_AT_ONCE = 256  # events: each has a descriptor, and a process may have 1,024
_SHORT = 1024  # bytes: the mount is among the first lines
_MOUNT_ID = re.compile(rb"^mnt_id:\s*(\d+)", re.MULTILINE)


class Event(NamedTuple):
    """What happened, a descriptor of the file, and the process that did it.

    A negative descriptor means none; with FAN_REPORT_FD_ERROR it is a negated error number. A process outside of the
    reader's PID namespace is 0.
    """

    mask: int
    descriptor: int
    process: int


def parse(data: bytes) -> list[Event]:
    """The events of one read(2), in order. Raises ValueError for an unknown format."""
    found, at = [], 0
    while at + METADATA.size <= len(data):
        length, version, _, _, mask, descriptor, process = METADATA.unpack_from(data, at)
        if version != _VERSION or length < METADATA.size:
            raise ValueError(f"a fanotify event of version {version}, {length} bytes long")
        found.append(Event(mask, descriptor, process))
        at += length
    return found


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
            # A file that cannot be opened makes a read fail only if it is the first event; otherwise the kernel drops
            # the error. So read one event at a time.
            at_once = 1
        self._size = at_once * METADATA.size
        self._ignore = _ADD | _IGNORE | _IGNORE_MODIFIED | _EVICTABLE

    def close(self) -> None:
        """Close it. The kernel removes its marks and unread events."""
        os.close(self.descriptor)

    def watch(self, directory: bytes) -> None:
        """Report opens and executions on the file system of `directory`, by any process. Raises OSError.

        If only a part of a file system is mounted there (e.g. a container's volume), report only that mount.
        """
        with closing(os.open(directory, os.O_PATH | os.O_CLOEXEC)) as descriptor:
            mounted = mounts().get(mount_of(descriptor), b"/")
        kind = _FILE_SYSTEM if mounted == b"/" or directory == b"/" else _MOUNT
        self._mark(_ADD | kind, OPEN | OPEN_EXEC | ON_DIRECTORY, _HERE, directory)

    def ignore(self, descriptor: int, mask: int) -> None:
        """Ignore events in `mask` of one file until `forget_ignored` or until its inode is evicted."""
        try:
            self._mark(self._ignore, mask, descriptor, None)
        except OSError as error:
            if error.errno == errno.EINVAL and self._ignore & _EVICTABLE:  # before Linux 5.19
                self._ignore &= ~_EVICTABLE
                self.ignore(descriptor, mask)
            # After any other error the file is just reported again.

    def forget_ignored(self) -> None:
        """Report all ignored files again."""
        self._mark(_FLUSH, 0, _HERE, b"/")

    def read(self) -> list[Event]:
        """The next events, without waiting. The caller closes their descriptors. Raises OSError."""
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
    """Why opens on the root file system cannot be reported, found by trying it. None if they can."""
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
    """The id of the mount that a descriptor was opened on (proc_pid_fdinfo(5)), 0 if the kernel does not report it."""
    with closing(os.open(f"/proc/self/fdinfo/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)) as place:
        found = _MOUNT_ID.search(os.read(place, _SHORT))
    return int(found[1]) if found else 0


def mounts() -> dict[int, bytes]:
    """Our mounts by id: the directory of its file system that each shows (fields 1 and 4 of proc_pid_mountinfo(5))."""
    with open("/proc/self/mountinfo", "rb") as file:
        rows = (line.split(b" ", 4) for line in file)
        return {int(row[0]): row[3] for row in rows}
