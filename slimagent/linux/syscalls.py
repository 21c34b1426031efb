"""The Linux system calls that are watched, by machine: where their paths are and what they do with them.

All that take a path, and those after which a process cannot be looked into any more, or is somewhere else.

Numbers are those of the kernel's `asm/unistd_64.h` (x86-64) and `asm-generic/unistd.h` (aarch64); arguments
are those of the manual pages of section 2. A call that an older kernel lacks is never seen, so the newest
numbers do no harm there.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Deed(enum.Enum):
    """What a call does with its paths, as far as evidence goes."""

    LOOK_UP = enum.auto()
    OPEN = enum.auto()  # flags in an argument
    OPEN_HOW = enum.auto()  # flags in a struct open_how
    EXECUTE = enum.auto()
    OPEN_NEW = enum.auto()  # creat(2): opens what it makes or empties
    CREATE = enum.auto()  # makes its last path: whether that exists before says nothing
    CHANGE_ROOT = enum.auto()
    CHANGE_DIRECTORY = enum.auto()  # without a path: to that of a descriptor
    CONCEAL = enum.auto()  # has no path: takes the process out of reach (PR_SET_DUMPABLE of prctl(2))
    LINK = enum.auto()  # makes its last path: a link to whatever, or a second name of the first path
    MOVE = enum.auto()  # makes its last path of the first
    REMOVE = enum.auto()
    MOUNT = enum.auto()  # its last path may show other files from now on
    NAMESPACE = enum.auto()  # has no path: may take the caller to other mounts
    HANDLE = enum.auto()  # opens a file without a path
    CONNECT = enum.auto()  # its path is in a socket's address
    BIND = enum.auto()  # makes the path of a socket's address


class PathArgument(NamedTuple):
    """Where a path is: its argument's index, and that of the descriptor it is relative to (None: the cwd)."""

    path: int
    descriptor: int | None = None


class Call(NamedTuple):
    """One system call. `flags` is the index of its flags or of a struct open_how."""

    name: str
    paths: tuple[PathArgument, ...]
    deed: Deed = Deed.LOOK_UP
    flags: int = -1


class Machine(NamedTuple):
    """What differs between machines: the audit name, O_DIRECTORY, and the calls by number."""

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

_CALLS: tuple[Call, ...] = (
    Call("open", _FIRST, Deed.OPEN, 1),
    Call("creat", _FIRST, Deed.OPEN_NEW),
    Call("openat", _AT, Deed.OPEN, 2),
    Call("openat2", _AT, Deed.OPEN_HOW, 2),
    Call("execve", _FIRST, Deed.EXECUTE),
    Call("execveat", _AT, Deed.EXECUTE),
    Call("uselib", _FIRST),
    Call("stat", _FIRST),
    Call("lstat", _FIRST),
    Call("newfstatat", _AT),
    Call("statx", _AT),
    Call("access", _FIRST),
    Call("faccessat", _AT),
    Call("faccessat2", _AT),
    Call("readlink", _FIRST),
    Call("readlinkat", _AT),
    Call("chdir", _FIRST, Deed.CHANGE_DIRECTORY),
    Call("fchdir", (), Deed.CHANGE_DIRECTORY),
    Call("chroot", _FIRST, Deed.CHANGE_ROOT),
    Call("pivot_root", _BOTH, Deed.CHANGE_ROOT),
    Call("truncate", _FIRST),
    Call("rename", _BOTH, Deed.MOVE),
    Call("renameat", _BOTH_AT, Deed.MOVE),
    Call("renameat2", _BOTH_AT, Deed.MOVE),
    Call("link", _BOTH, Deed.LINK),
    Call("linkat", _BOTH_AT, Deed.LINK),
    Call("symlink", _SECOND, Deed.LINK),
    Call("symlinkat", (PathArgument(2, 1),), Deed.LINK),
    Call("mkdir", _FIRST, Deed.CREATE),
    Call("mkdirat", _AT, Deed.CREATE),
    Call("mknod", _FIRST, Deed.CREATE),
    Call("mknodat", _AT, Deed.CREATE),
    Call("rmdir", _FIRST, Deed.REMOVE),
    Call("unlink", _FIRST, Deed.REMOVE),
    Call("unlinkat", _AT, Deed.REMOVE),
    Call("chmod", _FIRST),
    Call("fchmodat", _AT),
    Call("fchmodat2", _AT),
    Call("chown", _FIRST),
    Call("lchown", _FIRST),
    Call("fchownat", _AT),
    Call("utime", _FIRST),
    Call("utimes", _FIRST),
    Call("futimesat", _AT),
    Call("utimensat", _AT),
    Call("statfs", _FIRST),
    Call("setxattr", _FIRST),
    Call("lsetxattr", _FIRST),
    Call("getxattr", _FIRST),
    Call("lgetxattr", _FIRST),
    Call("listxattr", _FIRST),
    Call("llistxattr", _FIRST),
    Call("removexattr", _FIRST),
    Call("lremovexattr", _FIRST),
    Call("setxattrat", _AT),
    Call("getxattrat", _AT),
    Call("listxattrat", _AT),
    Call("removexattrat", _AT),
    Call("file_getattr", _AT),
    Call("file_setattr", _AT),
    Call("inotify_add_watch", _SECOND),
    Call("fanotify_mark", (PathArgument(4, 3),)),
    Call("name_to_handle_at", _AT),
    Call("mount", _BOTH, Deed.MOUNT),
    Call("umount2", _FIRST, Deed.MOUNT, 1),
    Call("open_tree", _AT, Deed.MOUNT, 2),
    Call("open_tree_attr", _AT, Deed.MOUNT, 2),
    Call("move_mount", _BOTH_AT, Deed.MOUNT),
    Call("fspick", _AT),
    Call("fsmount", (), Deed.MOUNT),
    Call("unshare", (), Deed.NAMESPACE),
    Call("setns", (), Deed.NAMESPACE),
    Call("open_by_handle_at", (), Deed.HANDLE),
    Call("connect", _SECOND, Deed.CONNECT),
    Call("bind", _SECOND, Deed.BIND),
    Call("mount_setattr", _AT),
    Call("swapon", _FIRST),
    Call("swapoff", _FIRST),
    Call("acct", _FIRST),
    Call("quotactl", _SECOND),
    Call("setuid", (), Deed.CONCEAL),
    Call("setgid", (), Deed.CONCEAL),
    Call("setreuid", (), Deed.CONCEAL),
    Call("setregid", (), Deed.CONCEAL),
    Call("setresuid", (), Deed.CONCEAL),
    Call("setresgid", (), Deed.CONCEAL),
    Call("setfsuid", (), Deed.CONCEAL),
    Call("setfsgid", (), Deed.CONCEAL),
    Call("prctl", (), Deed.CONCEAL),
)
_BY_NAME = {call.name: call for call in _CALLS}

# Calls added since Linux 5.1 have one number on every machine (asm-generic/unistd.h, from 424 on).
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
