"""What of a library no header names, and whether a rewritten file has more of it, or other. Pure.

No loader and no tool sees these bytes, but a program can read them in its own file. Linkers leave some for alignment.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from slimagent.elf.equal import CHUNK, same
from slimagent.gpu.loaded import HEADER, DifferenceError, File


def see_nothing_new(old: File, new: File) -> None:
    """See that bytes that no header names were in the old file, too, as far from what lies beside them.

    The old program headers can be among them: they moved, and what they were stays where it is.
    """
    sections = zip(old.tables.sections, new.tables.sections, strict=True)
    shifts = {0} | {one.offset - other.offset for one, other in sections}
    if len(shifts) > len(old.codes) + 1:  # there is one cut in each section of GPU code
        raise DifferenceError("its sections came out in other places")
    named, begin = _named(old)
    free = list(_between(named))
    begins = [low for low, _ in free]
    named, end = _named(new, new.table)
    for low, high in _between(named):
        for shift in shifts:
            at = bisect_right(begins, low + shift) - 1
            is_free = at >= 0 and high + shift <= free[at][1]
            if is_free and same(old.read, low + shift, new.read, low, high - low):
                break
        else:
            raise DifferenceError("bytes came out in it that no header names")
    _see_rest(old, begin, new, end)


def _named(file: File, *more: tuple[int, int]) -> tuple[list[tuple[int, int]], int]:
    """The parts of a file that its headers name, and these, in order; and where the last of them ends.

    What a section that is loaded has outside the segments does not count: it is compared with nothing.
    """
    parts = [(0, HEADER), file.headers, *more]
    parts += [(each.offset, each.offset + each.size) for each in file.loads if each.size]
    unloaded = (each for each in file.tables.sections if each.stored and not each.is_loaded)
    parts += [(each.offset, each.offset + each.size) for each in unloaded]
    return sorted(parts), max(end for _, end in parts)


def _between(parts: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What lies between parts that are in order."""
    end = 0
    for low, high in parts:
        if end < low:
            yield end, low
        end = max(end, high)


def _see_rest(old: File, begin: int, new: File, end: int) -> None:
    """See that the files are the same from these offsets on."""
    while True:
        one, other = old.read(begin, CHUNK), new.read(end, CHUNK)
        if one != other:
            raise DifferenceError("other bytes came out at its end")
        if not one:
            return
        begin, end = begin + len(one), end + len(one)
