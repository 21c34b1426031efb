"""Which folders are one package's alone: package data bases record files, folders only by the way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from slimagent.inventory.reader import Image

_SHARED = -1
_BYTE_CODE = b"__pycache__"  # written by whoever imports first, recorded by hardly anyone


def sole_holders(
    paths: Sequence[bytes], claims: Sequence[Collection[int]], tops: Sequence[bytes]
) -> dict[bytes, int | None]:
    """The folders that hold recorded files, and whose: a package's index, or None where several have files below.

    `claims[p]` are package `p`'s entries, all of them below the folder `tops[p]`; folders strictly below it are
    looked at. The cost is one step for each file and each folder, since a walk upwards ends where it has been.
    """
    holders: dict[bytes, int] = {}
    for package, entries in enumerate(claims):
        shortest = len(tops[package])
        for at in entries:
            folder = paths[at]
            while len(folder := folder[: folder.rindex(b"/")]) > shortest:
                known = holders.get(folder)
                if known in (package, _SHARED):
                    break
                holders[folder] = package if known is None else _SHARED
    return {folder: None if package == _SHARED else package for folder, package in holders.items()}


def whole_folders(image: Image, candidates: Iterable[bytes], claimed: Iterable[int]) -> list[int]:
    """The entries of those candidates (free of links) that hold nothing but `claimed` entries, to the last level.

    For folders that the system or the user may share (`etc`, `share`): that a single package has recorded files
    there does not make them its own. Byte code does not count.
    """
    index, mine, found = image.inventory.index, set(claimed), []
    for folder in sorted(candidates, key=lambda each: (-each.count(b"/"), each)):
        at = index.get(folder)
        names = image.names(folder)
        if (
            at is not None
            and names
            and all(index[folder + b"/" + each] in mine or each == _BYTE_CODE for each in names)
        ):
            mine.add(at)
            found.append(at)
    return found
