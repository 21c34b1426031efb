"""One inotify instance: inotify_init1(2), its watches (inotify_add_watch(2)), and reading it. Needs no privilege."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import termios

from slimagent.linux import kernel
from slimagent.trace.inotify.events import OPEN

_ONLY_DIRECTORIES, _FOLLOW_NO_LINK = 0x01000000, 0x02000000  # IN_ONLYDIR, IN_DONT_FOLLOW of <linux/inotify.h>
_SIZE = 1 << 16  # bytes
_LIMITS = {errno.ENOSPC: "inotify watch limit reached", errno.EMFILE: "inotify instance limit reached"}


class Queue:
    """An instance and its descriptor. Raises OSError as inotify_init1(2) does."""

    def __init__(self) -> None:
        self.descriptor = _call("inotify_init1", ctypes.c_int(os.O_CLOEXEC | os.O_NONBLOCK))

    def close(self) -> None:
        """Let go of it; the kernel removes its watches, and the events that nobody read."""
        os.close(self.descriptor)

    def watch(self, directory: bytes) -> int:
        """Report opens of a directory and of what is in it. The value is the watch's number. Raises OSError."""
        mask = ctypes.c_uint32(OPEN | _ONLY_DIRECTORIES | _FOLLOW_NO_LINK)
        return _call("inotify_add_watch", ctypes.c_int(self.descriptor), ctypes.c_char_p(directory), mask)

    def read(self) -> bytes:
        """The next events, whole ones; b"" if there are none now."""
        try:
            return os.read(self.descriptor, _SIZE)
        except BlockingIOError:
            return b""

    def waiting(self) -> int:
        """How many bytes of events wait to be read."""
        size: int = struct.unpack("i", fcntl.ioctl(self.descriptor, termios.FIONREAD, bytes(4)))[0]
        return size


def _call(name: str, *arguments: object) -> int:
    try:
        return kernel.call(name, *arguments)
    except OSError as error:  # the system's words for these are those of a full disk, and of too many open files
        number = error.errno or 0
        raise OSError(number, _LIMITS.get(number, os.strerror(number))) from None
