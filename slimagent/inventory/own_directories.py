"""What belongs to one package: the files that its record lists, and the directories that hold nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from slimagent.inventory.reader import Image
from slimagent.paths.algebra import to_text, within

_SHARED = -1
_BYTECODE = b"__pycache__"  # written by whoever imports first, recorded by hardly anyone


def listed_files(
    image: Image, record: bytes, listed: Iterable[bytes], inside: bytes, prefix: bytes
) -> tuple[set[int], list[int]]:
    """The entries at `listed` paths, without directories: those in `prefix`, and those outside.

    The latter are a problem of the record: it may lie, or one of its directories is a link to elsewhere.
    Paths that begin with `inside` and are in the inventory as they are written need no further look.
    """
    index, paths, found, outside = image.inventory.index, image.inventory.paths, set[int](), list[int]()
    for path in listed:
        at = index.get(path)
        if at is None or not path.startswith(inside):
            at = image.entry(path) if at is None and b"\0" not in path else at
            if at is not None and not within(paths[at], prefix):
                outside.append(at)
                continue
        if at is not None and not image.is_directory(at):
            found.add(at)
    if outside:
        more = f" and {len(outside) - 1} more" if len(outside) > 1 else ""
        why = f"claims {to_text(paths[outside[0]])}{more}, outside of {to_text(prefix)}"
        image.problem(record, why, is_known=True)
    return found, [at for at in dict.fromkeys(outside) if not image.is_directory(at)]


def sole_holders(
    paths: Sequence[bytes], claims: Sequence[Collection[int]], tops: Sequence[bytes]
) -> dict[bytes, int | None]:
    """The directories that hold recorded files, with their owner: a package's index, or None if several have files.

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
    """The entries of the candidates (paths without links) that hold nothing but `claimed` entries, at any depth.

    For directories that the system or the user may share (`etc`, `share`): a package does not own one only because it
    has recorded files there. Bytecode does not count.
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
