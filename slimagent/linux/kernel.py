"""What the kernel offers and Python's standard library does not: seccomp(2), prctl(2), setfsuid(2).

Numbers are those of <linux/seccomp.h> and <linux/prctl.h>. Parsers are pure functions over bytes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import re
import struct
from typing import NamedTuple

from slimagent.linux.syscalls import MACHINES, Machine
from slimagent.paths.algebra import to_text

SET_MODE_FILTER = 1
NEW_LISTENER, WAIT_KILLABLE = 1 << 3, 1 << 5  # SECCOMP_FILTER_FLAG_*
ID_VALID, SET_FLAGS = 0x40082102, 0x40082104  # SECCOMP_IOCTL_NOTIF_ID_VALID, _SET_FLAGS
SYNC_WAKE_UP = 1  # SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, Linux 6.6
SET_DUMPABLE, SET_NO_NEW_PRIVILEGES = 4, 38
SET_SUBREAPER, GET_SUBREAPER = 36, 37
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN = 1, 2, 21  # <linux/capability.h>

# struct seccomp_notif { u64 id; u32 pid; u32 flags; struct seccomp_data data; }
NOTIFICATION = struct.Struct("=QIIiIQ6Q")
# struct seccomp_notif_resp { u64 id; s64 val; s32 error; u32 flags; }
RESPONSE = struct.Struct("=QqiI")
IDENTITY = struct.Struct("=Q")
# memfd_create(2) and pidfd_open(2): a Python that was built for an old C library does not have them.
_MEMFD_CREATE, _PIDFD_OPEN = {"x86_64": 319, "aarch64": 279}, 434
_MEMFD_CLOEXEC = 1  # <linux/memfd.h>

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def call(name: str, *arguments: object) -> int:
    """A function of the C library; a library without it says ENOSYS, as a kernel does. Raises OSError."""
    result = -1
    ctypes.set_errno(errno.ENOSYS)
    with contextlib.suppress(AttributeError):
        result = int(getattr(_libc, name)(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def machine() -> Machine | None:
    """The table of this machine, or None where there is none (only x86-64 and aarch64 have one)."""
    return MACHINES.get(platform.machine())


def prctl(option: int, argument: int) -> None:
    """prctl(2) with one argument. Raises OSError."""
    if _libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def is_subreaper() -> bool:
    """Whether orphaned descendants become children of this process (PR_GET_CHILD_SUBREAPER)."""
    value = ctypes.c_int()
    _libc.prctl(GET_SUBREAPER, ctypes.byref(value), 0, 0, 0)
    return bool(value.value)


def close_memory() -> None:
    """As root, keep other root processes from reading and writing our memory (/proc/PID/mem of proc(5)), for good.

    What we have seen is in there, and not written down yet. Not for other users: their files of /proc/self would become
    root's.
    """
    if os.geteuid() == 0:
        prctl(SET_DUMPABLE, 0)


def install_filter(number: int, program: bytes) -> int:
    """Put a seccomp filter on this thread and return the descriptor of its listener. Raises OSError.

    `number` is that of seccomp(2) here. A call that the supervisor has received is then only interruptible by
    a fatal signal, where the kernel can do that (Linux 5.19): otherwise runtimes that signal themselves all the time
    (Go's scheduler) would restart their calls for ever.
    """
    argument = _Program(len(program) // 8, program)
    for flags in (NEW_LISTENER | WAIT_KILLABLE, NEW_LISTENER):
        listener = int(_libc.syscall(number, SET_MODE_FILTER, flags, ctypes.byref(argument)))
        if listener >= 0:
            return listener
        if ctypes.get_errno() != errno.EINVAL:
            break
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def process_descriptor(process: int) -> int:
    """A descriptor that poll(2) calls readable when the process has ended (pidfd_open(2)). Raises OSError."""
    return _descriptor(_PIDFD_OPEN, process, 0)


def memory_file(size: int) -> int:
    """The descriptor of `size` zero bytes in memory (memfd_create(2)). Raises OSError."""
    memory = _descriptor(_MEMFD_CREATE[platform.machine()], b"slimagent", _MEMFD_CLOEXEC)
    os.ftruncate(memory, size)
    return memory


def _descriptor(number: int, *arguments: int | bytes) -> int:
    descriptor = int(_libc.syscall(number, *arguments))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return descriptor


def may(task: int, *capabilities: int) -> bool:
    """Whether a task has one of these capabilities in effect, in whichever user namespace; also if nobody can tell."""
    try:
        has = status(task).capabilities
    except OSError:
        return True
    return any(has >> each & 1 for each in capabilities)


def set_file_system_user(uid: int, gid: int) -> None:
    """Become `uid`:`gid` in this thread alone, for access to files and to /proc (setfsuid(2), setfsgid(2))."""
    _libc.setfsgid(gid)
    _libc.setfsuid(uid)


class Status(NamedTuple):
    """Of /proc/PID/status: real, effective, saved, file system ids; capabilities; process, parent; filters."""

    uids: tuple[int, ...]
    gids: tuple[int, ...]
    capabilities: int
    process: int
    parent: int
    filters: int


_FIELDS = re.compile(rb"^(Uid|Gid|CapEff|Tgid|PPid|Seccomp_filters):(.*)$", re.MULTILINE)


def parse_status(text: bytes) -> Status:
    """Read /proc/PID/status (proc_pid_status(5)); a field that is absent is empty or 0."""
    fields = dict(_FIELDS.findall(text))

    def numbers(field: bytes) -> tuple[int, ...]:
        return tuple(int(word) for word in fields.get(field, b"").split())

    return Status(
        uids=numbers(b"Uid"),
        gids=numbers(b"Gid"),
        capabilities=int(fields.get(b"CapEff", b"0").strip() or b"0", 16),
        process=(numbers(b"Tgid") or (0,))[0],
        parent=(numbers(b"PPid") or (0,))[0],
        filters=(numbers(b"Seccomp_filters") or (0,))[0],
    )


def status(task: int | str = "self") -> Status:
    """The status of a process or thread. Raises OSError if it is gone."""
    with open(f"/proc/{task}/status", "rb", buffering=0) as file:
        return parse_status(file.read())


def catches(process: int, number: int) -> bool:
    """Whether a process has a handler for a signal (SigCgt of proc_pid_status(5)). Raises OSError if it is gone."""
    with open(f"/proc/{process}/status", "rb") as file:
        mask = next((line.split()[1] for line in file if line.startswith(b"SigCgt:")), b"0")
    return bool(int(mask, 16) >> (number - 1) & 1)


def program(task: int) -> str:
    """The name of the program that a task runs, at most 15 bytes of it (proc_pid_comm(5)); "?" if that is unknown."""
    try:
        with open(f"/proc/{task}/comm", "rb") as file:
            return to_text(file.read().rstrip(b"\n"))
    except OSError:
        return "?"


def has_capability(capability: int) -> bool:
    """Whether this process has a capability (its number, <linux/capability.h>) in effect."""
    with contextlib.suppress(OSError):
        return bool(status().capabilities >> capability & 1)
    return False
