"""Which directories are one package's alone: package databases record files, directories only by the way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from slimagent.inventory.reader import Image

_SHARED = -1
_BYTECODE = b"__pycache__"  # written by whoever imports first, recorded by hardly anyone


def sole_holders(
    paths: Sequence[bytes], claims: Sequence[Collection[int]], tops: Sequence[bytes]
) -> dict[bytes, int | None]:
    """The directories that hold recorded files, and whose: a package's index, or None where several have files below.

    `claims[p]` are package `p`'s entries, all of them below the directory `tops[p]`; directories strictly below it are
    looked at. The cost is one step for each file and each directory, since a walk upwards ends where it has been.
    """
    holders: dict[bytes, int] = {}
    for package, entries in enumerate(claims):
        shortest = len(tops[package])
        for at in entries:
            directory = paths[at]
            while len(directory := directory[: directory.rindex(b"/")]) > shortest:
                known = holders.get(directory)
                if known in (package, _SHARED):
                    break
                holders[directory] = package if known is None else _SHARED
    return {directory: None if package == _SHARED else package for directory, package in holders.items()}


def whole_directories(image: Image, candidates: Iterable[bytes], claimed: Iterable[int]) -> list[int]:
    """The entries of those candidates (free of links) that hold nothing but `claimed` entries, to the last level.

    For directories that the system or the user may share (`etc`, `share`): that a single package has recorded files
    there does not make them its own. Bytecode does not count.
    """
    index, mine, found = image.inventory.index, set(claimed), []
    for directory in sorted(candidates, key=lambda each: (-each.count(b"/"), each)):
        at = index.get(directory)
        names = image.names(directory)
        if (
            at is not None
            and names
            and all(index[directory + b"/" + each] in mine or each == _BYTECODE for each in names)
        ):
            mine.add(at)
            found.append(at)
    return found
