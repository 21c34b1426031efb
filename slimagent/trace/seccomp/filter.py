"""The seccomp filter as bytes: which system calls the supervisor sees, and which fail. Pure.

A filter is an array of `struct sock_filter { u16 code; u8 jt; u8 jf; u32 k; }` (<linux/filter.h>) over
`struct seccomp_data { int nr; u32 arch; u64 instruction_pointer; u64 args[6]; }` (seccomp(2)).
"""

from __future__ import annotations

import errno
import struct

from slimagent.linux.syscalls import Action, Machine

LOAD, JUMP_EQUAL, JUMP_GREATER_EQUAL, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER_AT, ARCHITECTURE_AT = 0, 4
OPTION_AT, FLAGS_AT = 16, 24  # the low halves of args[0] and args[1]: the option of prctl(2), the flags of seccomp(2)
SET_DUMPABLE = 4  # PR_SET_DUMPABLE of <linux/prctl.h>
NEW_LISTENER = 1 << 3  # SECCOMP_FILTER_FLAG_NEW_LISTENER
ALLOW, ASK, FAIL = 0x7FFF0000, 0x7FC00000, 0x00050000  # SECCOMP_RET_ALLOW, _USER_NOTIF, _ERRNO
X32_BIT = 0x40000000  # x32 calls share x86-64's audit architecture: __X32_SYSCALL_BIT of <asm/unistd.h>

_INSTRUCTION = struct.Struct("=HBBI")

# The filter is a linear search: the most frequent calls come first, the rarest last.
_FREQUENT = ("openat", "newfstatat", "stat", "open", "readlink", "lstat", "access", "statx", "faccessat2", "execve")
_RARE = (Action.CONCEAL, Action.MOUNT, Action.NAMESPACE, Action.HANDLE)


def build(machine: Machine) -> bytes:
    """Notify the supervisor of each call of the table, and of calls of other architectures (which are losses).

    Of prctl(2) only PR_SET_DUMPABLE is notified, of seccomp(2) only a request for a listener, which will fail.
    `io_uring_setup` fails with ENOSYS: its file calls would go unseen, and programs can do without it.
    All other calls are allowed by their number alone. The kernel keeps these in a bitmap (since Linux 5.11), so they
    run at full speed.
    """
    rank = {name: place for place, name in enumerate(_FREQUENT)}
    numbers = sorted(
        machine.calls.keys() - {machine.prctl},
        key=lambda number: (
            rank.get(machine.calls[number].name, len(rank)),
            machine.calls[number].action in _RARE,
            number,
        ),
    )
    tests = len(numbers)
    program = [(LOAD, 0, 0, ARCHITECTURE_AT), (JUMP_EQUAL, 1, 0, machine.audit_architecture), (RETURN, 0, 0, ASK)]
    program += [(LOAD, 0, 0, NUMBER_AT), (JUMP_GREATER_EQUAL, tests + 8, 0, X32_BIT)]
    program += [(JUMP_EQUAL, tests + 8, 0, machine.io_uring_setup)]
    program += [(JUMP_EQUAL, tests - place + 6, 0, number) for place, number in enumerate(numbers)]
    program += [(JUMP_EQUAL, 0, 2, machine.prctl), (LOAD, 0, 0, OPTION_AT), (JUMP_EQUAL, 4, 3, SET_DUMPABLE)]
    program += [(JUMP_EQUAL, 0, 2, machine.seccomp), (LOAD, 0, 0, FLAGS_AT), (JUMP_ANY_BIT, 1, 0, NEW_LISTENER)]
    program += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ASK), (RETURN, 0, 0, FAIL | errno.ENOSYS)]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)
