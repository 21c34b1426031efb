"""What every comparison has: the packages and directories of two sides, what moved, and the sums by owner. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from slimagent.model.comparison import KindOnSides, Movement, OnSide, Presence
from slimagent.model.inventory import Package

Key = tuple[str, str, bytes, int]  # kind, name, place, and a number for several versions in one place
DIRECTORY = -1  # in place of that number: no package has it
ABSENT = OnSide(presence=Presence.ABSENT)
Sides = Mapping[Key, OnSide]


def keyed(packages: Sequence[Package]) -> dict[Key, int]:
    """The packages' numbers by what is the same on both sides: not the version, unless several are in one place."""
    found: dict[Key, int] = {}
    for at in sorted(range(len(packages)), key=lambda at: packages[at].version):
        package, ordinal = packages[at], 0
        while (key := (str(package.kind), package.name, package.place, ordinal)) in found:
            ordinal += 1
        found[key] = at
    return found


def movement(a: OnSide, b: OnSide) -> Movement | None:
    """How something differs; None if it does not."""
    is_in_a, is_in_b = a.presence.is_in, b.presence.is_in
    if is_in_a is not is_in_b:
        return Movement.CAME if is_in_b else Movement.WENT
    if a.bytes != b.bytes:
        return Movement.GREW if b.bytes > a.bytes else Movement.SHRANK
    return Movement.UPDATED if is_in_a and a.version != b.version else None


def kinds(a: Sides, b: Sides) -> Iterator[KindOnSides]:
    """The packages by manager, then the files without an owner."""
    counts: Counter[tuple[str, int]] = Counter()
    sizes: Counter[tuple[str, int]] = Counter()
    for number, side in enumerate((a, b)):
        for key, found in side.items():
            counts[key[0], number] += found.presence.is_in
            sizes[key[0], number] += found.bytes
    for kind in sorted({kind for kind, _ in sizes}, key=lambda each: (not each, each)):
        yield KindOnSides(
            kind=kind,
            packages_a=counts[kind, 0] if kind else 0,
            packages_b=counts[kind, 1] if kind else 0,
            bytes_a=sizes[kind, 0],
            bytes_b=sizes[kind, 1],
        )
