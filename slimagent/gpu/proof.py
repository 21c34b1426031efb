"""Prove that a loader sees a rewritten library as the library that it was, but for GPU code that went. Pure.

This works on what the loader makes of both files: addresses, rights and bytes. Outside the sections of GPU code all of
them must be equal, but for the words that point to a container that moved, and these must point to where it is now. No
word may change that is not such a pointer, even if it equals one. In each container exactly the chosen pieces must be
left, byte for byte, and it must be loaded from where it was compared. A container that something else refers to must be
where it was, and whole. The references are those that the rewrite found, if they are handed over: both read the same
bytes, so the caller sees to it that the file does not change meanwhile. What is not loaded must be equal, too, and no
bytes may be new that no header names.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from slimagent.elf import tables as elf
from slimagent.elf.equal import CHUNK, same
from slimagent.elf.tables import Read, Section, Segment
from slimagent.gpu.architectures import Target
from slimagent.gpu.choice import staying
from slimagent.gpu.containers import HEADER, Container, UnknownError
from slimagent.gpu.dynamic import R_RELATIVE, Dynamic, dynamic, relative_words
from slimagent.gpu.layouts import PAGE
from slimagent.gpu.loaded import DAMAGED, LOADED, DifferenceError, File, see_gpu_code
from slimagent.gpu.loaded import HEADER as ELF_HEADER
from slimagent.gpu.references import References, references
from slimagent.gpu.spans import Span, inside, outside, part, shape
from slimagent.gpu.unnamed import see_nothing_new

_WORD, _RELA, _SYMBOL = struct.Struct("<Q"), struct.Struct("<QQQ"), struct.Struct("<IBBHQQ")
_PT_GNU_RELRO = 0x6474E552  # loaders go by its address alone; mold lets it begin at data that is not in the file
# In the header of a 64-bit ELF file: where the two tables are, and how many program headers there are.
_MAY_DIFFER = (slice(32, 48), slice(56, 58))


class _Moves(NamedTuple):
    """Where containers went, by their old addresses; `words` are the places in the old file that may say so."""

    to: dict[int, int]
    words: frozenset[int]


def difference(before: Read, after: Read, target: Target, known: References | None = None) -> str:
    """The first difference between a file and its rewritten copy that GPU code does not explain, or nothing.

    `known` is what `references` finds in the file. Without it, this is looked for here, which takes as long again.
    """
    try:
        old, new = File(before), File(after)
        moved = _containers(old, new, target)
        _headers(old, new)
        see_gpu_code(old, new)
        _memory(old, new, _Moves(moved, _referred(old, new, moved, known)))
        _relocations(old, new, moved)
        _sections(old, new, moved)
        see_nothing_new(old, new)
    except DifferenceError as error:
        return str(error)
    except (UnknownError, struct.error, ValueError, OverflowError):
        return DAMAGED
    return ""


def _containers(old: File, new: File, target: Target) -> dict[int, int]:
    """Compare the containers, one by one. Returns the address of each, by the address that it had."""
    if [each.section for each in old.codes] != [each.section for each in new.codes]:
        raise DifferenceError("it came out with other sections of GPU code")
    moved = {}
    for one, other in zip(old.codes, new.codes, strict=True):
        if one.why or other.why or len(one.containers) != len(other.containers):
            raise DifferenceError("its GPU code came out damaged")
        for here, there in zip(one.containers, other.containers, strict=True):
            _container(old.read, new.read, here, there, target)
            moved[old.container_address(one, here)] = new.container_address(other, there)
    return moved


def _container(before: Read, after: Read, old: Container, new: Container, target: Target) -> None:
    gone = DifferenceError("GPU code that must stay is not there, or is not the same")
    if old.size == new.size:
        if not same(before, old.offset, after, new.offset, old.size):
            raise gone
        return
    chosen = staying(old, target)
    if old.why or new.why or len(chosen) != len(new.pieces) or new.size != HEADER.size + sum(p.size for p in chosen):
        raise gone
    if before(old.offset, HEADER.size - 8) != after(new.offset, HEADER.size - 8):
        raise gone
    for one, other in zip(chosen, new.pieces, strict=True):
        if one.size != other.size or not same(before, one.offset, after, other.offset, one.size):
            raise gone


def _headers(old: File, new: File) -> None:
    one, other = bytearray(old.read(0, ELF_HEADER)), bytearray(new.read(0, ELF_HEADER))
    for place in _MAY_DIFFER:
        one[place] = other[place] = bytes(place.stop - place.start)
    if one != other or len(one) != ELF_HEADER:
        raise DifferenceError("its ELF header came out different")
    if [_without_place(each) for each in _others(old)] != [_without_place(each) for each in _others(new)]:
        raise DifferenceError("its program headers came out different")
    for each in _others(new):
        if each.size and each.kind != _PT_GNU_RELRO and each.offset != new.place(each.address):
            raise DifferenceError("its program headers came out different")
    begin, end = new.table
    if not _is_table_readable(new.loads, begin, end - begin):
        raise DifferenceError("its program headers came out where a loader cannot read them")
    for file in (old, new):
        for each in file.tables.segments:
            if each.kind == elf.PT_PHDR and (
                (each.offset, each.offset + each.size) != file.table
                or each.memory != each.size
                or file.place(each.address) != each.offset
            ):
                raise DifferenceError("its program headers came out different")


def _is_table_readable(loads: list[Segment], at: int, size: int) -> bool:
    """Whether loaders can read the program headers at an offset: exactly one segment holds them, and is readable.

    glibc takes the first segment with them in its pages (_dl_map_segments in elf/dl-map-segments.h). A neighbour can
    have them in its last page: there it must be readable, too, and not have zeros that are not in the file.
    """
    holders = [each for each in loads if each.offset <= at and at + size <= each.offset + each.size]
    for each in loads:
        end = each.offset + each.size
        in_pages = each.offset // PAGE * PAGE <= at and at + size <= -(-end // PAGE) * PAGE
        if in_pages and each not in holders and (not each.flags & elf.PF_R or each.memory > each.size):
            return False
    return len(holders) == 1 and bool(holders[0].flags & elf.PF_R)


def _others(file: File) -> list[Segment]:
    return [each for each in file.tables.segments if each.kind != elf.PT_LOAD]


def _without_place(segment: Segment) -> Segment:
    """What must be the same of a program header. Where the table of them lies is compared with itself."""
    if segment.kind == elf.PT_PHDR:
        return segment._replace(offset=0, address=0, size=0, memory=0)
    return segment._replace(offset=0)


def _referred(old: File, new: File, moved: dict[int, int], known: References | None) -> frozenset[int]:
    """See that what refers to a container finds it. Returns the places in the old file of the words that may change."""
    code = sum(each.size for each in old.loads if each.flags & elf.PF_X)
    if code > old.tables.end:  # it would be searched again and again
        raise DifferenceError("its segments lie in each other")
    try:
        found = references(old.read, old.tables, old.codes) if known is None else known
    except UnknownError as error:
        raise DifferenceError(str(error)) from None
    for one, other in zip(old.codes, new.codes, strict=True):
        for here, there in zip(one.containers, other.containers, strict=True):
            start = old.container_address(one, here)
            if start in found.whole and moved[start] != start:
                raise DifferenceError("GPU code moved that something else than a pointer refers to")
            if start in found.whole and here.size != there.size:
                raise DifferenceError("GPU code went that something else than a pointer refers to")
    return frozenset(place for place, _ in found.pointers)


def _memory(old: File, new: File, moves: _Moves) -> None:
    """Compare all that is loaded outside GPU code, and see that nothing else is loaded than was."""
    if len(new.loads) > len(old.loads) + len(old.codes):  # a cut makes two of one
        raise DifferenceError("its segments came out different")
    if max(each.alignment for each in old.loads) != max(each.alignment for each in new.loads):
        raise DifferenceError("its segments came out different")  # loaders choose its address by that
    here, there = list(outside(old.spans(), old.gpu)), list(outside(new.spans(), old.gpu))
    if shape(here) != shape(there):
        raise DifferenceError("its segments came out different")
    known = list(old.spans())
    for span in inside(new.spans(), old.gpu):
        holders = (each for each in known if each.begin <= span.begin and span.end <= each.end)
        if not any(each.rights == span.rights for each in holders):
            raise DifferenceError("its segments came out different")
    pieces = iter(there)
    current = next(pieces, None)
    for each in _compared(old, new, here):
        at = each.begin
        while at < each.end:
            while current is not None and current.end <= at:
                current = next(pieces, None)
            if current is None:
                raise DifferenceError(LOADED)
            count = min(each.end, current.end) - at
            _bytes(old, new, each.offset + at - each.begin, current.offset + at - current.begin, count, at, moves)
            at += count


def _compared(old: File, new: File, spans: list[Span]) -> Iterator[Span]:
    """What is loaded from the file, less the header and the section headers, which are compared on their own.

    Section headers are loaded in a file that patchelf has changed; no loader reads them.
    """
    (table, stop), (other, _) = old.headers, new.headers
    for each in spans:
        if each.offset < 0:
            continue
        begin, shift = each.begin, each.begin - each.offset
        for low, high in ((0, ELF_HEADER), (table, stop)):
            low, high = max(low + shift, begin), min(high + shift, each.end)
            if low < high:
                if low - shift == table and other != new.place(low):
                    raise DifferenceError(LOADED)
                yield part(each, begin, low)
                begin = high
        yield part(each, begin, each.end)


def _bytes(old: File, new: File, here: int, there: int, count: int, address: int, moves: _Moves) -> None:
    """Compare loaded bytes; a word that differs must be a known pointer to a container, before and after."""
    for at in range(0, count, CHUNK):
        size = min(CHUNK, count - at)
        one, other = old.read(here + at, size), new.read(there + at, size)
        if one == other and len(one) == size:
            continue
        if len(one) != size or len(other) != size:
            raise DifferenceError(LOADED)
        _words(one, other, here + at, address + at, moves)


def _words(one: bytes, other: bytes, place: int, address: int, moves: _Moves) -> None:
    skew = -address % _WORD.size  # pointers are aligned; a chunk need not be
    whole = len(one) - (len(one) - skew) % _WORD.size
    if one[:skew] != other[:skew] or one[whole:] != other[whole:]:
        raise DifferenceError(LOADED)
    for at in range(skew, whole, 4096):
        stop = min(at + 4096, whole)
        if one[at:stop] == other[at:stop]:
            continue
        for word in range(at, stop, _WORD.size):
            (before,), (after,) = _WORD.unpack_from(one, word), _WORD.unpack_from(other, word)
            if before != after and (place + word not in moves.words or moves.to.get(before) != after):
                raise DifferenceError(LOADED)


def _relocations(old: File, new: File, moved: dict[int, int]) -> None:
    """Each relocation must write what it wrote, and the new address of a container where it wrote the old one."""
    here, there = dynamic(old.read, old.tables), dynamic(new.read, new.tables)
    if here != there:
        raise DifferenceError("its dynamic section, which has the libraries that it needs, came out different")
    gpu = old.gpu
    low, high = (min(begin for begin, _ in gpu), max(end for _, end in gpu)) if gpu else (0, 0)
    starts = sorted(moved)
    for address, size in here.tables():
        one, other = old.place(address), new.place(address)
        for at in range(0, size, _RELA.size << 14):
            count = min(_RELA.size << 14, size - at)
            before, after = old.read(one + at, count), new.read(other + at, count)
            if len(before) != count or len(after) != count:
                raise DifferenceError(LOADED)
            if _expected(before, low, high, gpu, moved, starts) != after:
                raise DifferenceError("a relocation of it came out different")
    _relative(old, new, here, moved)


def _expected(
    rows: bytes, low: int, high: int, gpu: list[tuple[int, int]], moved: dict[int, int], starts: list[int]
) -> bytes:
    """What relocations with addends must have become. Raises DifferenceError if one of them cannot have."""
    words = struct.unpack(f"<{len(rows) // _WORD.size}Q", rows)
    expected = bytearray(rows)
    if any(low <= place < high and any(begin <= place < end for begin, end in gpu) for place in words[0::3]):
        raise DifferenceError("a relocation of it writes into GPU code")
    for number, addend in enumerate(words[2::3]):
        if low <= addend < high and any(begin <= addend < end for begin, end in gpu):
            if words[3 * number + 1] == R_RELATIVE and addend in moved:
                _WORD.pack_into(expected, number * _RELA.size + 16, moved[addend])
            elif _has_moved(addend, moved, starts):
                raise DifferenceError("a relocation of it leads into GPU code that moved")
    return bytes(expected)


def _has_moved(address: int, moved: dict[int, int], starts: list[int]) -> bool:
    """Whether the container that an address lies in is elsewhere now; `starts` are the old addresses in order."""
    at = bisect_right(starts, address) - 1
    return at < 0 or moved[starts[at]] != starts[at]


def _relative(old: File, new: File, found: Dynamic, moved: dict[int, int]) -> None:
    for address in relative_words(old.read, old.place, found):
        (before,), (after,) = (_WORD.unpack(each.read(each.place(address), 8)) for each in (old, new))
        if after != moved.get(before, before):
            raise DifferenceError("a relocation of it came out different")


def _sections(old: File, new: File, moved: dict[int, int]) -> None:
    if len(old.tables.sections) != len(new.tables.sections):
        raise DifferenceError("it came out with other sections")
    holding = {each.section for each in old.codes}
    for at, (one, other) in enumerate(zip(old.tables.sections, new.tables.sections, strict=True)):
        size = other.size if at in holding else one.size
        if one._replace(offset=0, size=size) != other._replace(offset=0) or other.size > one.size:
            raise DifferenceError(f"its section {one.name.decode('utf-8', 'backslashreplace')} came out different")
        if other.is_loaded and other.stored and other.offset != new.place(other.address):
            raise DifferenceError(
                f"its section {one.name.decode('utf-8', 'backslashreplace')} came out in another place"
            )
        if not other.is_loaded and other.stored:
            _unloaded(old.read, new.read, one, other, old.gpu, moved)


def _unloaded(
    before: Read, after: Read, old: Section, new: Section, gpu: list[tuple[int, int]], moved: dict[int, int]
) -> None:
    if same(before, old.offset, after, new.offset, old.stored):
        return
    if old.kind != elf.SHT_SYMTAB or old.size % _SYMBOL.size:
        raise DifferenceError("a section that is not loaded came out different")
    step = _SYMBOL.size << 14
    for at in range(0, old.size, step):
        count = min(step, old.size - at)
        one, other = before(old.offset + at, count), after(new.offset + at, count)
        if one == other:
            continue
        for row, now in zip(_SYMBOL.iter_unpack(one), _SYMBOL.iter_unpack(other), strict=True):
            is_gpu = any(low <= row[4] < high for low, high in gpu)
            if row != now and not (is_gpu and now[:4] == row[:4] and now[4] == moved.get(row[4]) and now[5] <= row[5]):
                raise DifferenceError("its symbols came out different")
