"""Sizes and shares as people read and write them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# What a unit of a size stands for, in bytes: decimal ones as image registries use them, and those of IEC 80000-13.
UNITS: Mapping[str, int] = MappingProxyType(
    {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
)


def size(count: int) -> str:
    """Bytes in decimal units, as image registries and `docker images` give them.

    >>> size(4937125081)
    '4.94 GB'
    """
    if count < 1000:
        return f"{count} B"
    for unit, power in (("kB", 3), ("MB", 6)):
        if round(count / 10**power, 1) < 1000:
            return f"{count / 10**power:.1f} {unit}"
    return f"{count / 10**9:.2f} GB"


def signed(count: int) -> str:
    """A change of a size, with its sign.

    >>> signed(-12_000_000), signed(5), signed(0)
    ('-12.0 MB', '+5 B', '0 B')
    """
    return f"{'-' if count < 0 else '+' if count else ''}{size(abs(count))}"


def share(part: int, whole: int) -> str:
    """A part as a percentage of the whole."""
    return f"{100 * part / whole:.1f} %" if whole else "0.0 %"
