"""The Linux system calls that we watch: where their paths are, and what the calls do with them.

All calls that take a path, and those after which a process is unreadable or in another place.

Numbers come from the kernel's `asm/unistd_64.h` (x86-64) and `asm-generic/unistd.h` (aarch64), arguments from section
2 of the manual. An older kernel never reports calls that it lacks, so the newest numbers do no harm.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Action(enum.Enum):
    """What a call does with its paths, as far as it matters for evidence."""

    LOOK_UP = enum.auto()
    OPEN = enum.auto()  # flags in an argument
    OPEN_HOW = enum.auto()  # flags in a struct open_how
    EXECUTE = enum.auto()
    OPEN_NEW = enum.auto()  # creat(2): opens what it makes or empties
    CREATE = enum.auto()  # makes its last path, which need not exist before
    CHANGE_ROOT = enum.auto()
    CHANGE_DIRECTORY = enum.auto()  # without a path: to a descriptor's directory
    CONCEAL = enum.auto()  # no path: makes the process unreadable (PR_SET_DUMPABLE of prctl(2))
    LINK = enum.auto()  # makes its last path: a symbolic link, or another name of its first path
    MOVE = enum.auto()  # moves its first path to its last
    REMOVE = enum.auto()
    MOUNT = enum.auto()  # its last path may show other files afterwards
    NAMESPACE = enum.auto()  # no path: may move the caller to other mounts
    HANDLE = enum.auto()  # opens a file without a path
    CONNECT = enum.auto()  # its path is in a socket's address
    BIND = enum.auto()  # makes the path of a socket's address


class PathArgument(NamedTuple):
    """The index of a path's argument, and that of its directory's descriptor (None: the working directory)."""

    path: int
    descriptor: int | None = None


class Call(NamedTuple):
    """One system call. `flags` is the index of its flags or its struct open_how."""

    name: str
    paths: tuple[PathArgument, ...]
    action: Action = Action.LOOK_UP
    flags: int = -1


class Machine(NamedTuple):
    """What differs between machines: audit architecture, O_DIRECTORY, and the calls by number."""

    name: str
    audit_architecture: int  # AUDIT_ARCH_* of <linux/audit.h>
    o_directory: int  # <asm/fcntl.h>
    seccomp: int
    prctl: int
    io_uring_setup: int
    calls: dict[int, Call]


O_CREAT, O_PATH = 0o100, 0o10000000  # <asm-generic/fcntl.h>; the same on both machines

_AT = (PathArgument(1, 0),)
_FIRST = (PathArgument(0),)
_SECOND = (PathArgument(1),)
_BOTH = (PathArgument(0), PathArgument(1))
_BOTH_AT = (PathArgument(1, 0), PathArgument(3, 2))


def _calls(names: str, paths: tuple[PathArgument, ...], action: Action = Action.LOOK_UP, flags: int = -1) -> list[Call]:
    return [Call(name, paths, action, flags) for name in names.split()]


_CALLS = (
    *_calls("uselib stat lstat access readlink truncate chmod chown lchown utime utimes statfs", _FIRST),
    *_calls("setxattr lsetxattr getxattr lgetxattr listxattr llistxattr removexattr lremovexattr", _FIRST),
    *_calls("swapon swapoff acct", _FIRST),
    *_calls("inotify_add_watch quotactl", _SECOND),
    *_calls("newfstatat statx faccessat faccessat2 readlinkat fchmodat fchmodat2 fchownat futimesat utimensat", _AT),
    *_calls("setxattrat getxattrat listxattrat removexattrat file_getattr file_setattr", _AT),
    *_calls("name_to_handle_at fspick mount_setattr", _AT),
    *_calls("fanotify_mark", (PathArgument(4, 3),)),
    *_calls("open", _FIRST, Action.OPEN, 1),
    *_calls("openat", _AT, Action.OPEN, 2),
    *_calls("openat2", _AT, Action.OPEN_HOW, 2),
    *_calls("creat", _FIRST, Action.OPEN_NEW),
    *_calls("open_by_handle_at", (), Action.HANDLE),
    *_calls("execve", _FIRST, Action.EXECUTE),
    *_calls("execveat", _AT, Action.EXECUTE),
    *_calls("chdir", _FIRST, Action.CHANGE_DIRECTORY),
    *_calls("fchdir", (), Action.CHANGE_DIRECTORY),
    *_calls("chroot", _FIRST, Action.CHANGE_ROOT),
    *_calls("pivot_root", _BOTH, Action.CHANGE_ROOT),
    *_calls("rename", _BOTH, Action.MOVE),
    *_calls("renameat renameat2", _BOTH_AT, Action.MOVE),
    *_calls("link", _BOTH, Action.LINK),
    *_calls("linkat", _BOTH_AT, Action.LINK),
    *_calls("symlink", _SECOND, Action.LINK),
    *_calls("symlinkat", (PathArgument(2, 1),), Action.LINK),
    *_calls("mkdir mknod", _FIRST, Action.CREATE),
    *_calls("mkdirat mknodat", _AT, Action.CREATE),
    *_calls("rmdir unlink", _FIRST, Action.REMOVE),
    *_calls("unlinkat", _AT, Action.REMOVE),
    *_calls("mount", _BOTH, Action.MOUNT),
    *_calls("umount2", _FIRST, Action.MOUNT, 1),
    *_calls("open_tree open_tree_attr", _AT, Action.MOUNT, 2),
    *_calls("move_mount", _BOTH_AT, Action.MOUNT),
    *_calls("fsmount", (), Action.MOUNT),
    *_calls("unshare setns", (), Action.NAMESPACE),
    *_calls("connect", _SECOND, Action.CONNECT),
    *_calls("bind", _SECOND, Action.BIND),
    *_calls("setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid prctl", (), Action.CONCEAL),
)
_BY_NAME = {call.name: call for call in _CALLS}

# Calls since Linux 5.1 have the same number on every machine (asm-generic/unistd.h, from 424 on).
_COMMON = {
    "open_tree": 428, "move_mount": 429, "fsmount": 432, "fspick": 433, "openat2": 437, "faccessat2": 439,
    "mount_setattr": 442, "fchmodat2": 452, "setxattrat": 463, "getxattrat": 464, "listxattrat": 465,
    "removexattrat": 466, "open_tree_attr": 467, "file_getattr": 468, "file_setattr": 469,
}  # fmt: skip

_X86_64 = {
    "open": 2, "stat": 4, "lstat": 6, "access": 21, "execve": 59, "truncate": 76, "chdir": 80, "fchdir": 81,
    "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87, "symlink": 88, "readlink": 89,
    "chmod": 90, "chown": 92, "lchown": 94, "setuid": 105, "setgid": 106, "setreuid": 113, "setregid": 114,
    "setresuid": 117, "setresgid": 119, "setfsuid": 122, "setfsgid": 123, "utime": 132, "mknod": 133, "uselib": 134,
    "statfs": 137, "pivot_root": 155, "prctl": 157, "chroot": 161, "acct": 163, "mount": 165, "umount2": 166,
    "swapon": 167, "swapoff": 168, "quotactl": 179, "setxattr": 188, "lsetxattr": 189, "getxattr": 191,
    "lgetxattr": 192, "listxattr": 194, "llistxattr": 195, "removexattr": 197, "lremovexattr": 198, "utimes": 235,
    "inotify_add_watch": 254, "openat": 257, "mkdirat": 258, "mknodat": 259, "fchownat": 260, "futimesat": 261,
    "newfstatat": 262, "unlinkat": 263, "renameat": 264, "linkat": 265, "symlinkat": 266, "readlinkat": 267,
    "fchmodat": 268, "faccessat": 269, "utimensat": 280, "fanotify_mark": 301, "name_to_handle_at": 303,
    "renameat2": 316, "execveat": 322, "statx": 332, "connect": 42, "bind": 49, "unshare": 272,
    "open_by_handle_at": 304, "setns": 308,
}  # fmt: skip

_AARCH64 = {
    "setxattr": 5, "lsetxattr": 6, "getxattr": 8, "lgetxattr": 9, "listxattr": 11, "llistxattr": 12,
    "removexattr": 14, "lremovexattr": 15, "inotify_add_watch": 27, "mknodat": 33, "mkdirat": 34, "unlinkat": 35,
    "symlinkat": 36, "linkat": 37, "renameat": 38, "umount2": 39, "mount": 40, "pivot_root": 41, "statfs": 43,
    "truncate": 45, "faccessat": 48, "chdir": 49, "fchdir": 50, "chroot": 51, "fchmodat": 53, "fchownat": 54,
    "openat": 56, "quotactl": 60, "readlinkat": 78, "newfstatat": 79, "utimensat": 88, "acct": 89, "setregid": 143,
    "setgid": 144, "setreuid": 145, "setuid": 146, "setresuid": 147, "setresgid": 149, "setfsuid": 151,
    "setfsgid": 152, "prctl": 167, "execve": 221, "swapon": 224, "swapoff": 225, "fanotify_mark": 263,
    "name_to_handle_at": 264, "renameat2": 276, "execveat": 281, "statx": 291, "unshare": 97, "bind": 200,
    "connect": 203, "open_by_handle_at": 265, "setns": 268,
}  # fmt: skip


def _table(numbers: dict[str, int]) -> dict[int, Call]:
    return {number: _BY_NAME[name] for name, number in (numbers | _COMMON).items()}


MACHINES: dict[str, Machine] = {
    "x86_64": Machine("x86_64", 0xC000003E, 0o200000, 317, 157, 425, _table(_X86_64)),
    "aarch64": Machine("aarch64", 0xC00000B7, 0o40000, 277, 167, 425, _table(_AARCH64)),
}
