"""Keys that say which run made a container, an image or a directory, and whether that run is still alive.

A key is BOOT-NAMESPACE-PID-START-RANDOM: the kernel's boot (random/boot_id), the PID namespace (its inode), the process
and its start time (proc_pid_stat(5), field 22). The same PID in another boot or namespace is another process, so the
state of such a run is unknown.
"""

from __future__ import annotations

import enum
import os
import re
import secrets

PATTERN = r"[0-9a-f]{12}-[0-9]+-[0-9]+-[0-9]+-[0-9a-f]{8}"
_KEY = re.compile(PATTERN)


class Fate(enum.Enum):
    """Whether the run with a key is alive."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


def new_key() -> str:
    """A new key for this process, different each time."""
    process = os.getpid()
    _, start = _state_and_start(process)
    return f"{_boot()}-{_namespace()}-{process}-{start}-{secrets.token_hex(4)}"


def fate(key: str) -> Fate:
    """Whether the run with this key is alive. UNKNOWN if its process cannot be seen from here."""
    if not _KEY.fullmatch(key):
        return Fate.UNKNOWN
    boot, namespace, process, start, _ = key.split("-")
    if (boot, namespace) != (_boot(), str(_namespace())):
        return Fate.UNKNOWN
    try:
        state, began = _state_and_start(int(process))
    except OSError:  # it has ended, or /proc hides it from others (hidepid, proc(5))
        return Fate.ALIVE if _exists(int(process)) else Fate.DEAD
    return Fate.ALIVE if began == start and state not in "ZX" else Fate.DEAD


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _state_and_start(process: int) -> tuple[str, str]:
    """The state of a process (one letter), and its start time in clock ticks since the boot."""
    with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return fields[0], fields[19]


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().replace("-", "")[:12]


def _namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino
