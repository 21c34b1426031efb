"""Which machines there are."""

from __future__ import annotations

from typing import NamedTuple


class Machine(NamedTuple):
    """A machine to emulate.

    `suite` is where its kernel comes from, `debian` Debian's name of the architecture. `qemu` are the words that
    start qemu with such a machine, `console` is what its kernel calls the serial line.
    """

    suite: str
    debian: str
    qemu: tuple[str, ...]
    console: str


def _x86(suite: str) -> Machine:
    return Machine(suite, "amd64", ("qemu-system-x86_64", "-cpu", "Nehalem"), "ttyS0")


# The oldest kernel that Debian still has, two between, and the newest: `seccomp` needs 5.5.
MACHINES = {
    "aarch64": Machine("bookworm", "arm64", ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72"), "ttyAMA0"),
    "linux-5.10": _x86("bullseye"),
    "linux-6.1": _x86("bookworm"),
    "linux-6.12": _x86("trixie"),
    "linux-newest": _x86("trixie-backports"),
}
