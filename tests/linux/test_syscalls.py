"""The system call tables agree with the kernel's own headers, and no call that takes a path is missing."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from slimagent.linux.syscalls import MACHINES, Machine

HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
    "aarch64": ("/usr/include/asm-generic/unistd.h",),
}
Paths = tuple[tuple[int, int | None], ...]


def _each(names: str, paths: Paths) -> dict[str, Paths]:
    return dict.fromkeys(names.split(), paths)


# Where each call's paths are: the argument's index, and that of its directory descriptor (manual, section 2).
# Those without a path change what a tracer may look into, or where a process is.
PATHS: dict[str, Paths] = {
    **_each("execve truncate chdir chroot statfs umount2 swapon swapoff acct", ((0, None),)),
    **_each("setxattr lsetxattr getxattr lgetxattr listxattr llistxattr removexattr lremovexattr", ((0, None),)),
    **_each("openat openat2 newfstatat statx faccessat faccessat2 readlinkat execveat unlinkat", ((1, 0),)),
    **_each("mkdirat mknodat fchmodat fchmodat2 fchownat utimensat name_to_handle_at", ((1, 0),)),
    **_each("setxattrat getxattrat listxattrat removexattrat file_getattr file_setattr", ((1, 0),)),
    **_each("open_tree open_tree_attr fspick mount_setattr", ((1, 0),)),
    **_each("inotify_add_watch quotactl connect bind", ((1, None),)),
    **_each("mount pivot_root", ((0, None), (1, None))),
    **_each("renameat renameat2 linkat move_mount", ((1, 0), (3, 2))),
    **_each("fchdir setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid prctl", ()),
    **_each("fsmount unshare setns open_by_handle_at", ()),
    "symlinkat": ((2, 1),),
    "fanotify_mark": ((4, 3),),
}
OLD: dict[str, Paths] = {  # x86-64 alone
    **_each("open creat stat lstat access readlink unlink mkdir rmdir mknod chmod chown lchown", ((0, None),)),
    **_each("utime utimes uselib", ((0, None),)),
    **_each("rename link", ((0, None), (1, None))),
    "symlink": ((1, None),),
    "futimesat": ((1, 0),),
}


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda machine: machine.name)
def test_numbers_are_those_of_the_kernel(machine: Machine) -> None:
    """Every number in a table is the header's for that call; newer numbers are not disputed."""
    numbers = _numbers(machine.name)
    disputed = {call.name: number for number, call in machine.calls.items() if numbers.get(call.name, number) != number}
    assert disputed == {}
    known = set(numbers.values())
    names = {number: name for name, number in numbers.items()}
    foreign = {call.name: names[number] for number, call in machine.calls.items() if number in known}
    assert {name: other for name, other in foreign.items() if name != other} == {}
    assert numbers["seccomp"] == machine.seccomp
    assert numbers["prctl"] == machine.prctl
    assert numbers["io_uring_setup"] == machine.io_uring_setup


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda machine: machine.name)
def test_no_call_of_the_kernel_that_takes_a_path_is_missing(machine: Machine) -> None:
    """Each call of the header that is to be watched is in the table of its machine."""
    wanted = (PATHS | OLD) if machine.name == "x86_64" else PATHS
    present = {call.name for call in machine.calls.values()}
    assert {name for name in _numbers(machine.name) if name in wanted} - present == set()


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda machine: machine.name)
def test_each_path_is_where_the_manual_says(machine: Machine) -> None:
    """A table has exactly the calls to be watched, and each reads its paths from the right arguments."""
    wanted = (PATHS | OLD) if machine.name == "x86_64" else PATHS
    table = {call.name: tuple((at.path, at.descriptor) for at in call.paths) for call in machine.calls.values()}
    assert table == wanted


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda machine: machine.name)
def test_a_table_has_each_call_once(machine: Machine) -> None:
    """Two numbers never stand for one call."""
    names = [call.name for call in machine.calls.values()]
    assert len(names) == len(set(names))


def test_the_constants_are_those_of_this_machine() -> None:
    """O_DIRECTORY is this machine's; on others it differs, so that it stands in the table."""
    machine = MACHINES.get(os.uname().machine)
    if machine is None:
        pytest.skip(f"no table for {os.uname().machine}")
    assert machine.o_directory == os.O_DIRECTORY


@pytest.mark.parametrize(("machine", "constant"), [("x86_64", "AUDIT_ARCH_X86_64"), ("aarch64", "AUDIT_ARCH_AARCH64")])
def test_the_audit_architecture_is_the_kernels(machine: str, constant: str) -> None:
    """It is the ELF machine with the bits for 64-bit and little endian: <linux/audit.h>, <linux/elf-em.h>."""
    audit, machines = _header("/usr/include/linux/audit.h"), _header("/usr/include/linux/elf-em.h")
    name = re.search(rf"#define {constant}\s+\((EM_\w+)\|__AUDIT_ARCH_64BIT\|__AUDIT_ARCH_LE\)", audit)
    assert name is not None
    number = re.search(rf"#define {name[1]}\s+(\d+)", machines)
    assert number is not None
    assert MACHINES[machine].audit_architecture == int(number[1]) | 0x80000000 | 0x40000000


def _header(path: str) -> str:
    if not Path(path).exists():
        _lacking(f"no {path}: install linux-libc-dev")
    return Path(path).read_text(encoding="utf-8")


def _numbers(machine: str) -> dict[str, int]:
    """Name to number as the header defines them; asm-generic has __NR3264_ for what differs by width."""
    paths = [path for path in HEADERS[machine] if Path(path).exists()]
    if not paths:
        _lacking(f"no {' or '.join(HEADERS[machine])}: install linux-libc-dev")
    text = Path(paths[0]).read_text(encoding="utf-8")
    numbers = {name: int(number) for name, number in re.findall(r"#define __NR_(\w+)\s+(\d+)\b", text)}
    either = {name: int(number) for name, number in re.findall(r"#define __NR3264_(\w+)\s+(\d+)\b", text)}
    wide = text.partition("#if __BITS_PER_LONG == 64 && !defined(__SYSCALL_COMPAT)")[2].partition("#else")[0]
    for name, generic in re.findall(r"#define __NR_(\w+)\s+__NR3264_(\w+)", wide):
        if generic in either:
            numbers[name] = either[generic]
    assert len(numbers) > 250
    return numbers


def _lacking(reason: str) -> None:
    if os.environ.get("SLIMAGENT_TEST_STRICT") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
