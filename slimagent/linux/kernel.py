"""Kernel interfaces that Python's standard library lacks: seccomp(2), prctl(2), setfsuid(2).

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
# memfd_create(2) and pidfd_open(2): a Python that was built for an old C library lacks them.
_MEMFD_CREATE, _PIDFD_OPEN = {"x86_64": 319, "aarch64": 279}, 434
_MEMFD_CLOEXEC = 1  # <linux/memfd.h>

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def call(name: str, *arguments: object) -> int:
    """Call a function of the C library. Raises OSError, ENOSYS if the library lacks it."""
    result = -1
    ctypes.set_errno(errno.ENOSYS)
    with contextlib.suppress(AttributeError):
        result = int(getattr(_libc, name)(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def machine() -> Machine | None:
    """The system calls of this machine. None unless it is x86-64 or aarch64."""
    return MACHINES.get(platform.machine())


def prctl(option: int, argument: int) -> None:
    """Call prctl(2) with one argument. Raises OSError."""
    call("prctl", option, ctypes.c_ulong(argument), 0, 0, 0)


def is_subreaper() -> bool:
    """Whether orphaned descendants become children of this process (PR_GET_CHILD_SUBREAPER)."""
    value = ctypes.c_int()
    _libc.prctl(GET_SUBREAPER, ctypes.byref(value), 0, 0, 0)
    return bool(value.value)


def close_memory() -> None:
    """As root, keep other root processes from reading and writing our memory (/proc/PID/mem of proc(5)), for good.

    It holds evidence that is not on disk yet. Not for other users: their files in /proc/self would become root's.
    """
    if os.geteuid() == 0:
        prctl(SET_DUMPABLE, 0)


def install_filter(number: int, program: bytes) -> int:
    """Put a seccomp filter on this thread and return the descriptor of its listener. Raises OSError.

    `number` is that of seccomp(2). From Linux 5.19 on only a fatal signal can interrupt a call that the supervisor has
    received: runtimes that signal themselves all the time (Go's scheduler) would restart their calls for ever.
    """
    argument = _Program(len(program) // 8, program)
    try:
        return call("syscall", number, SET_MODE_FILTER, NEW_LISTENER | WAIT_KILLABLE, ctypes.byref(argument))
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: the kernel does not know WAIT_KILLABLE
            raise
    return call("syscall", number, SET_MODE_FILTER, NEW_LISTENER, ctypes.byref(argument))


def process_descriptor(process: int) -> int:
    """Open a descriptor that becomes readable when the process ends (pidfd_open(2)). Raises OSError."""
    return call("syscall", _PIDFD_OPEN, process, 0)


def memory_file(size: int) -> int:
    """Open a file of `size` zero bytes in memory (memfd_create(2)). Raises OSError."""
    memory = call("syscall", _MEMFD_CREATE[platform.machine()], b"slimagent", _MEMFD_CLOEXEC)
    os.ftruncate(memory, size)
    return memory


def may(task: int, *capabilities: int) -> bool:
    """Whether a task has one of these capabilities, in any user namespace. True if that is unknown."""
    try:
        has = status(task).capabilities
    except OSError:
        return True
    return any(has >> each & 1 for each in capabilities)


def set_file_system_user(uid: int, gid: int) -> None:
    """Use `uid`:`gid` in this thread for access to files and /proc (setfsuid(2), setfsgid(2))."""
    _libc.setfsgid(gid)
    _libc.setfsuid(uid)


class Status(NamedTuple):
    """/proc/PID/status: ids (real, effective, saved, file system), capabilities, process, parent, filters."""

    uids: tuple[int, ...]
    gids: tuple[int, ...]
    capabilities: int
    process: int
    parent: int
    filters: int


_FIELDS = re.compile(rb"^(Uid|Gid|CapEff|Tgid|PPid|Seccomp_filters):(.*)$", re.MULTILINE)


def parse_status(text: bytes) -> Status:
    """Read /proc/PID/status (proc_pid_status(5)). Missing fields are empty or 0."""
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
    """The name of a task's program, at most 15 bytes (proc_pid_comm(5)). "?" if it is unknown."""
    try:
        with open(f"/proc/{task}/comm", "rb") as file:
            return to_text(file.read().rstrip(b"\n"))
    except OSError:
        return "?"


def has_capability(capability: int) -> bool:
    """Whether this process has a capability (a number of <linux/capability.h>) in effect."""
    with contextlib.suppress(OSError):
        return bool(status().capabilities >> capability & 1)
    return False
