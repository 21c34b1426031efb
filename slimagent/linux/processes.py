"""Read the process table cheaply: with thousands of processes a slow reader falls behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

_ZOMBIE, _DEAD = b"Z", b"X"  # proc_pid_stat(5)
_STARTED = 19  # the place of starttime among the fields after the name


class Process(NamedTuple):
    """One row of the table: the process, the state of its first thread (a letter), its parent, its threads."""

    number: int
    state: bytes
    parent: int
    threads: int

    @property
    def lives(self) -> bool:
        """Whether it still runs. A zombie does if it has other threads."""
        return self.state not in (_ZOMBIE, _DEAD) or self.threads > 1


def parse_stat(text: bytes) -> Process:
    """Read /proc/PID/stat (proc_pid_stat(5)). A name may hold any byte. Raises ValueError or IndexError."""
    before, closing, after = text.rpartition(b")")
    if not closing:
        raise ValueError("no program's name")
    fields = after.split(maxsplit=18)
    return Process(int(before.split(b" ", 1)[0]), fields[0], int(fields[1]), int(fields[17]))


def started(process: int) -> int:
    """When a process or thread began, in clock ticks since boot (proc_pid_stat(5)). Raises OSError if it is gone.

    Number and start together identify a process for good.
    """
    with open(f"/proc/{process}/stat", "rb", buffering=0) as file:
        return int(file.read().rpartition(b")")[2].split()[_STARTED])


def descendants(of: int) -> list[Process]:
    """All descendants of a process, zombies too, parents before children."""
    families: dict[int, list[Process]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                    process = parse_stat(file.read())
            except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                continue
            families.setdefault(process.parent, []).append(process)
    found = list(families.get(of, ()))
    for process in found:  # grows while it is walked
        found += families.get(process.number, ())
    return found


def children() -> Iterator[int]:
    """The children of this process, zombies too (proc_tid_children(5)). Nothing if the kernel does not list them."""
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children", "rb") as file:
                yield from map(int, file.read().split())
        except FileNotFoundError:
            continue


def command_line(process: int) -> str:
    """The command line of a process, else the name of its program in brackets. "" if it is gone."""
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:
            words = file.read().rstrip(b"\0").split(b"\0")
        if words != [b""]:
            return os.fsdecode(b" ".join(words))
        with open(f"/proc/{process}/comm", "rb") as file:
            return f"[{os.fsdecode(file.read().strip())}]"
    except (FileNotFoundError, ProcessLookupError):
        return ""
