"""Work out a shared library without the GPU code that no GPU of a target would choose. Pure.

Containers move together at the start of their section, and what refers to them is changed. The pages that this leaves
empty at the end of the section are taken out of the file: the segment is cut in two there. Every other byte keeps its
address, so no code or data outside the containers changes, and nothing else has to be understood. The table of program
headers has one more row for each cut, so it moves to the end of the first section of GPU code that is cut.

What the loader asks of segments is in elf(5); that it takes a table of program headers from anywhere is in glibc's
elf/dl-load.c (`open_verify`, `_dl_map_object_from_fd`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from slimagent.elf import tables as elf
from slimagent.elf.sections import aligned
from slimagent.elf.tables import Read, Section, Tables
from slimagent.gpu.architectures import Target
from slimagent.gpu.choice import staying
from slimagent.gpu.containers import ALIGNMENT, HEADER, Code, Container, Piece, UnknownError, gpu_code
from slimagent.gpu.layouts import PAGE, why_not, why_not_for
from slimagent.gpu.references import References, references

_LEAST = 16 * PAGE  # bytes: a smaller cut is not worth a mapping
_SEGMENT, _SECTION = struct.Struct("<IIQQQQQQ"), struct.Struct("<IIQQQQIIQQ")
_DATA, _LITTLE_ENDIAN = 5, b"\1"  # EI_DATA
_NOTHING = "there is nothing to save, or less than a few pages"
_PHOFF, _SHOFF, _PHNUM = 32, 40, 56  # offsets in the ELF header


class Rewrite(NamedTuple):
    """A file made of another: `size` zeros, then `copies` (from, to, bytes), then `patches` (to, data), in order.

    `references` are all that the other has to its containers.
    """

    size: int
    copies: tuple[tuple[int, int, int], ...]
    patches: tuple[tuple[int, bytes], ...]
    references: References


class Cut(NamedTuple):
    """A part of the file that goes, as offsets in the original; whole pages."""

    begin: int
    end: int


class _Placed(NamedTuple):
    """A container, where it will lie (as an offset in the original's section), and the pieces that stay."""

    container: Container
    offset: int
    pieces: tuple[Piece, ...]
    is_whole: bool

    @property
    def size(self) -> int:
        return self.container.size if self.is_whole else HEADER.size + sum(each.size for each in self.pieces)


@dataclass(slots=True)
class _Layout:
    """The sections of GPU code by index, with their containers' places and ends, and what is cut."""

    placed: dict[int, list[_Placed]] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    cuts: list[Cut] = field(default_factory=list)
    table: int = 0  # where the program headers go, as an offset in the original; 0: they stay

    def offset(self, old: int) -> int:
        """Where what lay at an offset lies afterwards."""
        return old - sum(each.end - each.begin for each in self.cuts if each.end <= old)


def rewrite(read: Read, found: Tables, size: int, target: Target) -> Rewrite | str:
    """The file of `size` bytes without what `target` does not need, or why it is left alone."""
    codes = gpu_code(read, found)
    why = why_not(found, size, codes) or why_not_for(codes, target)
    if not why and read(_DATA, 1) != _LITTLE_ENDIAN:
        why = "it is for a processor other than x86-64, the only one that was measured"
    if not why and (size - found.end > PAGE or any(read(found.end, size - found.end))):  # patchelf appends a zero
        why = "data follow the ELF image"
    if why:
        return why
    try:
        if not _layout(found, codes, References(), target).cuts:  # references can only keep more
            return _NOTHING
        refers = references(read, found, codes)
        layout = _layout(found, codes, refers, target)
        if not layout.cuts:
            return _NOTHING
        return _written(read, found, size, layout, refers)
    except UnknownError as error:
        return str(error)
    except (ValueError, struct.error, OverflowError):
        return "its tables are damaged"


def _layout(found: Tables, codes: tuple[Code, ...], refers: References, target: Target) -> _Layout:
    layout = _Layout()
    rows = len(found.segments) + len(codes)
    for code in sorted(codes, key=lambda each: found.sections[each.section].offset):
        section = found.sections[code.section]
        placed = list(_packed(section, code.containers, refers, target))
        end = max((each.offset + each.size for each in placed), default=section.offset)
        table = aligned(end, ALIGNMENT) if not layout.table else 0
        cut = _cut(section, table + rows * _SEGMENT.size if table else end)
        layout.placed[code.section] = placed
        layout.ends[code.section] = end if cut else section.offset + section.size
        if cut:
            layout.cuts.append(cut)
            layout.table = layout.table or table
    return layout


def _packed(
    section: Section, containers: tuple[Container, ...], refers: References, target: Target
) -> Iterator[_Placed]:
    """Move each container as far to the start of the section as those before it allow."""
    shift = section.address - section.offset
    end = section.offset
    for each in containers:
        address = each.offset + shift
        pieces = each.pieces if address in refers.whole else staying(each, target)
        place = each.offset if address in refers.whole else aligned(end, ALIGNMENT)
        placed = _Placed(each, place, pieces, bool(each.why) or len(pieces) == len(each.pieces))
        yield placed
        end = place + placed.size


def _cut(section: Section, end: int) -> Cut | None:
    """The whole pages between the end of what stays and that of the section, if they are worth it."""
    shift = section.address - section.offset
    begin = aligned(end + shift, PAGE) - shift
    stop = (section.offset + section.size + shift) // PAGE * PAGE - shift
    return Cut(begin, stop) if stop - begin >= _LEAST else None


def _written(read: Read, found: Tables, size: int, layout: _Layout, refers: References) -> Rewrite:
    copies = list(_merged(_copies(found, size, layout)))
    patches = [
        *_containers_patched(layout),
        *_references_patched(read, found, layout, refers),
        *_headers_patched(read, found, layout),
    ]
    return Rewrite(layout.offset(size), tuple(copies), tuple(patches), refers)


def _copies(found: Tables, size: int, layout: _Layout) -> Iterator[tuple[int, int, int]]:
    begin = 0
    for at, placed in sorted(layout.placed.items(), key=lambda item: found.sections[item[0]].offset):
        section = found.sections[at]
        yield begin, layout.offset(begin), section.offset - begin
        for each in placed:
            to = layout.offset(each.offset)
            if each.is_whole:
                yield each.container.offset, to, each.container.size
                continue
            yield each.container.offset, to, HEADER.size
            to += HEADER.size
            for piece in each.pieces:
                yield piece.offset, to, piece.size
                to += piece.size
        begin = section.offset + section.size
    yield begin, layout.offset(begin), size - begin


def _merged(copies: Iterator[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """Fewer, longer copies: those that follow each other here and there become one."""
    source, to, count = 0, 0, 0
    for each in copies:
        if each[0] == source + count and each[1] == to + count:
            count += each[2]
            continue
        if count:
            yield source, to, count
        source, to, count = each
    if count:
        yield source, to, count


def _containers_patched(layout: _Layout) -> Iterator[tuple[int, bytes]]:
    for placed in layout.placed.values():
        for each in placed:
            if not each.is_whole:
                yield layout.offset(each.offset) + HEADER.size - 8, struct.pack("<Q", each.size - HEADER.size)


def _references_patched(read: Read, found: Tables, layout: _Layout, refers: References) -> Iterator[tuple[int, bytes]]:
    moved: dict[int, tuple[int, _Placed]] = {}
    for at, placed in layout.placed.items():
        section = found.sections[at]
        shift = section.address - section.offset
        moved |= {each.container.offset + shift: (each.offset + shift, each) for each in placed}
    spans = [(found.sections[at].offset, found.sections[at].offset + found.sections[at].size) for at in layout.placed]
    for place, _ in (*refers.pointers, *refers.sized):
        if any(begin <= place < end for begin, end in spans):
            raise UnknownError("its GPU code refers to itself by a relocation")
    for place, start in refers.pointers:
        yield layout.offset(place), struct.pack("<Q", moved[start][0])
    for place, start in refers.sized:
        address, each = moved[start]
        (size,) = struct.unpack("<Q", read(place + 8, 8))
        yield (
            layout.offset(place),
            struct.pack("<QQ", address, each.size if size == each.container.size else size),
        )


def _headers_patched(read: Read, found: Tables, layout: _Layout) -> Iterator[tuple[int, bytes]]:
    rows = [_SEGMENT.unpack(row) for row in _rows(read, found.segments_at, len(found.segments), _SEGMENT.size)]
    segments = [new for row in rows for new in _segments(row, layout)]
    table = layout.offset(layout.table)
    loads = [row for row in rows if row[0] == elf.PT_LOAD]
    shifts = [row[3] - row[2] for row in loads if row[2] <= layout.table < row[2] + row[5]]
    if not shifts:  # it was changed meanwhile
        raise UnknownError("its headers are damaged")
    shift, first = shifts[0], loads[0][3] - loads[0][2]
    if shift != first:  # older kernels, and code that looks for its own headers, add e_phoff to the start
        raise UnknownError("its program headers would not lie as far from its start as its ELF header says")
    if max(row[-1] for row in segments if row[0] == elf.PT_LOAD) != max(row[-1] for row in loads):
        raise UnknownError("something in it must lie at a multiple of more than a page")
    size = len(segments) * _SEGMENT.size
    segments = [
        (kind, flags, table, layout.table + shift, layout.table + shift, size, size, alignment)
        if kind == elf.PT_PHDR
        else (kind, flags, *rest, alignment)
        for kind, flags, *rest, alignment in segments
    ]
    yield table, b"".join(_SEGMENT.pack(*row) for row in segments)
    sections_at = struct.unpack("<Q", read(_SHOFF, 8))[0]
    yield _PHOFF, struct.pack("<Q", table)
    yield _SHOFF, struct.pack("<Q", layout.offset(sections_at))
    yield _PHNUM, struct.pack("<H", len(segments))
    headers = []
    for number, row in enumerate(_rows(read, sections_at, len(found.sections), _SECTION.size)):
        name, kind, flags, address, offset, length, *rest = _SECTION.unpack(row)
        if number in layout.ends:
            length = layout.ends[number] - offset
        headers.append(_SECTION.pack(name, kind, flags, address, layout.offset(offset), length, *rest))
    yield layout.offset(sections_at), b"".join(headers)


def _rows(read: Read, offset: int, count: int, size: int) -> list[bytes]:
    data = elf.bounded(read, offset, count * size)
    if len(data) != count * size:
        raise UnknownError("its headers are cut short")
    return [data[at : at + size] for at in range(0, len(data), size)]


def _segments(row: tuple[int, ...], layout: _Layout) -> Iterator[tuple[int, ...]]:
    """The rows that one program header becomes: a loaded segment is cut at each cut inside it."""
    kind, flags, offset, address, physical, size, memory, alignment = row
    if kind != elf.PT_LOAD:
        yield kind, flags, layout.offset(offset), address, physical, size, memory, alignment
        return
    end = offset + size
    for cut in layout.cuts:
        if offset <= cut.begin and cut.end <= end:
            part = cut.begin - offset
            if part:
                yield _load(flags, layout.offset(offset), address, physical, part, part, alignment)
            gone = cut.end - offset
            offset, address, physical, size, memory = (
                cut.end,
                address + gone,
                physical + gone,
                size - gone,
                memory - gone,
            )
    if memory:
        yield _load(flags, layout.offset(offset), address, physical, size, memory, alignment)


def _load(
    flags: int, offset: int, address: int, physical: int, size: int, memory: int, alignment: int
) -> tuple[int, ...]:
    """A loaded segment. Cuts are of whole pages: a larger alignment that they break becomes that of pages."""
    if (offset - address) % PAGE:
        raise UnknownError("its program headers break p_offset ≡ p_vaddr (mod p_align)")
    if alignment > PAGE and (offset - address) % alignment:
        alignment = PAGE
    return elf.PT_LOAD, flags, offset, address, physical, size, memory, alignment
