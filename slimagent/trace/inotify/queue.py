"""One inotify instance: inotify_init1(2), its watches (inotify_add_watch(2)), and reading it. Needs no privilege."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import termios
from typing import NamedTuple

from slimagent.linux import kernel

OPEN, IS_DIRECTORY, QUEUE_OVERFLOW = 0x20, 0x40000000, 0x4000  # IN_OPEN, IN_ISDIR, IN_Q_OVERFLOW

# struct inotify_event { s32 wd; u32 mask; u32 cookie; u32 len; char name[]; }; NULs fill the name up to `len`
_HEAD = struct.Struct("=iIII")

_ONLY_DIRECTORIES, _FOLLOW_NO_LINK = 0x01000000, 0x02000000  # IN_ONLYDIR, IN_DONT_FOLLOW of <linux/inotify.h>
_SIZE = 1 << 16  # bytes
_LIMITS = {errno.ENOSPC: "inotify watch limit reached", errno.EMFILE: "inotify instance limit reached"}


class Event(NamedTuple):
    """What happened to which watch (-1: the queue), and the name in its directory, b"" for the directory itself."""

    watch: int
    mask: int
    name: bytes


def parse(data: bytes) -> list[Event]:
    """The events of one read(2), in order. Skips a truncated last event."""
    found, at = [], 0
    while at + _HEAD.size <= len(data):
        watch, mask, _, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + length > len(data):
            break
        found.append(Event(watch, mask, data[at : at + length].split(b"\0", 1)[0]))
        at += length
    return found


class Queue:
    """An instance and its descriptor. Raises OSError as inotify_init1(2) does."""

    def __init__(self) -> None:
        self.descriptor = _call("inotify_init1", ctypes.c_int(os.O_CLOEXEC | os.O_NONBLOCK))

    def close(self) -> None:
        """Close it. The kernel removes its watches and unread events."""
        os.close(self.descriptor)

    def watch(self, directory: bytes) -> int:
        """Report opens of a directory and of what is in it. Returns the number of the watch. Raises OSError."""
        mask = ctypes.c_uint32(OPEN | _ONLY_DIRECTORIES | _FOLLOW_NO_LINK)
        return _call("inotify_add_watch", ctypes.c_int(self.descriptor), ctypes.c_char_p(directory), mask)

    def read(self) -> bytes:
        """The next whole events, b"" if there are none now."""
        try:
            return os.read(self.descriptor, _SIZE)
        except BlockingIOError:
            return b""

    def waiting(self) -> int:
        """The size of the waiting events in bytes."""
        size: int = struct.unpack("i", fcntl.ioctl(self.descriptor, termios.FIONREAD, bytes(4)))[0]
        return size


def _call(name: str, *arguments: object) -> int:
    try:
        return kernel.call(name, *arguments)
    except OSError as error:  # the system's words for these speak of a full disk and too many open files
        number = error.errno or 0
        raise OSError(number, _LIMITS.get(number, os.strerror(number))) from None
