"""Find what refers to the containers of GPU code in a shared library, so that they can be moved. Pure.

nvcc makes a wrapper for each container, with a pointer that the loader fills in by a relocation (`.nvFatBinSegment`).
Nothing else is known to refer to a container. But other code and data could, and then how long a container is may be
known elsewhere. So other references are looked for: relocations (System V ABI, AMD64 supplement, "Relocation"; RELR as
in the generic ABI), exported symbols, instructions that read the header of a container or compute the address of one or
of a piece, tables of distances from their own places. If there is one, all containers of the section stay where they
are, whole.

What is not found: other addresses inside a container, and one that code computes from that of something else.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from slimagent.elf import tables as elf
from slimagent.elf.tables import Read, Section, Segment, Tables
from slimagent.gpu.bounds import see_bounds
from slimagent.gpu.containers import HEADER, SECTIONS, Code, UnknownError
from slimagent.gpu.dynamic import MOST, R_RELATIVE, RELA, Dynamic, dynamic, relative_words, values
from slimagent.gpu.operands import ONE_IN, REST, Wanted, chunks, is_chance, words
from slimagent.gpu.spans import without

# What the dynamic section gives the address of: the global offset table, hash tables, names, symbols, relocations,
# functions to call, versions (elf.h).
_TABLES = frozenset({3, 4, 5, 6, 7, 12, 13, 23, 25, 26, 32, 36, 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFE})
_STT_SECTION = 3
_SYMBOL = struct.Struct("<IBBHQQ")
_PLACE, _ADDEND, _VALUE = 0, 2, 1  # which of the three words of a relocation, and of a symbol, is an address
_ADDRESS = struct.Struct("<Q")
_SIZE_AT = 8  # where in a container's header its size is
_HEADER, _SECTIONS_AT = 64, 40  # bytes of the ELF header and of a section header; where the first says where these are
_CHUNK = RELA.size << 16  # bytes
_MOST_TO_CODE = 1 << 20  # relocations to containers; the largest library seen has 3,000 containers
# What nvcc puts before the pointer of a wrapper: a magic number, and version 1 or 2 (fatbinary_section.h).
_WRAPPER = struct.Struct("<II")
_WRAPPERS = frozenset(_WRAPPER.pack(0x466243B1, version) for version in (1, 2))
# Sections to whose beginning nothing in a program refers: tables to unwind the stack.
_UNWINDING = frozenset({b".eh_frame", b".eh_frame_hdr", b".gcc_except_table"})
_TABLES_OF_ADDRESSES = (b".got", b".got.plt")
_BETWEEN = "it refers to its section of GPU code where there is none"
_TOO_OFTEN = "it refers to its GPU code more often than any compiler does"
_ASTRAY = "it refers to what none of its segments holds"
_WRITTEN = "a relocation writes into its GPU code"
# Distances that may lead to GPU code: compilers write one in 28 bytes or more, and others look like one by chance. A
# file of nothing else would take minutes.
_DISTANCE_EVERY, _DISTANCES_MORE = 6, 1 << 20
_DISTANCE = 4  # bytes


class References(NamedTuple):
    """Where a file refers to its containers; all of these as addresses.

    `pointers` are offsets in the file of 8 bytes that hold the address of a container, with that address. `sized` are
    symbols: the offset of a value and the size after it. `whole` are the containers that cannot move or lose anything.
    """

    pointers: tuple[tuple[int, int], ...] = ()
    sized: tuple[tuple[int, int], ...] = ()
    whole: frozenset[int] = frozenset()


class _Finder:
    def __init__(self, read: Read, found: Tables, codes: tuple[Code, ...]) -> None:
        self._read = read
        self._found = found
        self._loads = [each for each in found.segments if each.kind == elf.PT_LOAD]
        # Where segments begin and end. Between them a loader may show bytes of the file that share a page with one.
        ordered = sorted(self._loads, key=lambda each: each.address)
        self._bounds = [bound for each in ordered for bound in (each.address, each.address + each.memory)]
        spans = []
        sections = [found.sections[each.section] for each in codes]
        self._sections = [(each.address, each.address + each.size) for each in sections]
        self._headers, self._pieces = list[int](), list[int]()  # addresses in containers that code could refer to
        for code in codes:
            section = found.sections[code.section]
            shift = section.address - section.offset
            for each in code.containers:
                start = each.offset + shift
                spans.append((start, start + each.size))
                self._headers += (start, start + _SIZE_AT, start + HEADER.size)
                self._pieces += (piece.offset + shift for piece in each.pieces)
        spans.sort()
        self._spans = spans
        self._starts = [start for start, _ in spans]
        self.starts = frozenset(self._starts)
        self.low = min((low for low, _ in self._sections), default=0)
        self.high = max((high for _, high in self._sections), default=0)
        self._pointers, self._sized = list[tuple[int, int]](), list[tuple[int, int]]()
        self._whole = set[int]()
        self._whole_sections = set[int]()  # by their addresses: all of their containers stay
        self._left = _MOST_TO_CODE  # containers that symbols may still cover

    def references(self) -> References:
        """What was found. What nothing is known to refer to is used in a way that we do not see, so it stays whole."""
        seen = {start for _, start in self._pointers}
        return References(tuple(self._pointers), tuple(self._sized), frozenset(self._whole | (self.starts - seen)))

    def container(self, address: int) -> int | None:
        """The container that an address lies in."""
        at = bisect_right(self._starts, address) - 1
        return self._starts[at] if at >= 0 and address < self._spans[at][1] else None

    def is_in_code(self, address: int) -> bool:
        """Whether an address lies in a section of GPU code, perhaps between containers."""
        return any(low <= address < high for low, high in self._sections)

    def see_held(self, addresses: Iterable[int]) -> None:
        """Raise UnknownError if an address lies between two segments. Programs do refer to the end of one."""
        bounds = self._bounds
        for address in addresses:
            at = bisect_right(bounds, address)
            if at % 2 == 0 and 0 < at < len(bounds) and bounds[at - 1] != address:
                raise UnknownError(_ASTRAY)

    def offset(self, address: int) -> int:
        """Where an address that is loaded from the file lies in it. Raises UnknownError."""
        for each in self._loads:
            if each.address <= address < each.address + each.size:
                return address - each.address + each.offset
        raise UnknownError("its dynamic section refers to what is not loaded")

    def keep(self, address: int, *, only: bool = False) -> None:
        """Note a reference that is no wrapper's, to an address that may be that of GPU code, or just behind it.

        Who refers to one container may find others from there. So all in its section stay whole, or `only` this one.
        """
        start = self.container(address)
        if start is None and self.is_in_code(address):
            raise UnknownError(_BETWEEN)
        if only and start is not None:
            self._whole.add(start)
            return
        for low, high in self._sections:
            if low <= address < high or (address == high and not self._begins(address)):
                self._keep_from(low, high)

    def keep_sure(self, address: int) -> None:
        """Note an address that code computes. The end of a section is where a loop over it ends."""
        self.keep(address)
        for low, high in self._sections:
            if address == high:
                self._keep_from(low, high)

    def _keep_from(self, low: int, high: int) -> None:
        if low in self._whole_sections:
            return
        self._whole_sections.add(low)
        self._whole.update(self._starts[bisect_left(self._starts, low) : bisect_left(self._starts, high)])

    def _begins(self, address: int) -> bool:
        """Whether a section begins there that a program may refer to."""
        return any(
            each.address == address and each.is_loaded and each.name not in _UNWINDING for each in self._found.sections
        )

    def _is_header(self, address: int) -> bool:
        """Whether the ELF header or a section header is loaded there: what they say changes."""
        (at,) = _ADDRESS.unpack(self._read(_SECTIONS_AT, _ADDRESS.size))
        places = (
            address - each.address + each.offset for each in self._loads if 0 <= address - each.address < each.size
        )
        return any(each < _HEADER or 0 <= each - at < _HEADER * len(self._found.sections) for each in places)

    def note(self, place: int, address: int, wrapped: bool) -> None:
        """Note a reference to an address from a place in the file, in a wrapper or not."""
        if not wrapped or address not in self.starts:
            self.keep(address)
            return
        if len(self._pointers) >= _MOST_TO_CODE:
            raise UnknownError(_TOO_OFTEN)
        self._pointers.append((place, address))

    def _is_wrapped(self, address: int) -> bool:
        """Whether the pointer at an address is that of a wrapper."""
        return self._read(self.offset(address - _WRAPPER.size), _WRAPPER.size) in _WRAPPERS

    def relocations(self) -> None:
        found = dynamic(self._read, self._found)
        self.tables(found)
        for address, size in found.tables():
            self._with_addends(self.offset(address), size)
        for address in relative_words(self._read, self.offset, found):
            place = self.offset(address)
            if self.is_in_code(address):
                raise UnknownError(_WRITTEN)
            (value,) = _ADDRESS.unpack(self._read(place, _ADDRESS.size))
            self.see_held((value,))
            if self.low <= value <= self.high:
                self.note(place, value, self._is_wrapped(address))

    def _with_addends(self, offset: int, size: int) -> None:
        tables = (each.size // _SYMBOL.size for each in self._found.sections if each.kind == elf.SHT_DYNSYM)
        symbols = max(1, *tables, 1)
        for at in range(0, size, _CHUNK):
            count = min(_CHUNK, size - at)
            data = self._read(offset + at, count)
            if len(data) != count:
                raise UnknownError("its relocations are cut short")
            if max(memoryview(data).cast("I")[3 :: RELA.size // 4], default=0) >= symbols:
                raise UnknownError("a relocation is for a symbol outside its table")  # perhaps in GPU code
            rows = words(data)
            if any(self.is_in_code(rows[3 * row]) for row in self._inside(rows, _PLACE)):
                raise UnknownError(_WRITTEN)
            kinds, addends = rows[1::3], rows[2::3]
            self.see_held(addend for kind, addend in zip(kinds, addends, strict=True) if kind == R_RELATIVE)
            for row in self._with_symbols(kinds, addends):
                _, info, addend = RELA.unpack_from(data, row * RELA.size)
                self.keep(self._value(info >> 32) + addend)
            for number in self._inside(rows, _ADDEND):
                place, kind, addend = RELA.unpack_from(data, number * RELA.size)
                wrapped = kind == R_RELATIVE and addend in self.starts and self._is_wrapped(place)
                self.note(offset + at + number * RELA.size + 16, addend, wrapped)
                if kind == R_RELATIVE:
                    self._in_place(place, addend, wrapped)

    def _inside(self, words: tuple[int, ...], column: int) -> list[int]:
        """The rows, of three words each, that have an address among the containers in this column."""
        low, high = self.low, self.high
        return [number for number, word in enumerate(words[column::3]) if low <= word <= high]

    @staticmethod
    def _with_symbols(kinds: tuple[int, ...], addends: tuple[int, ...]) -> list[int]:
        """The rows that add something to the value of a symbol: what they refer to need not be that symbol's."""
        return [row for row, (kind, addend) in enumerate(zip(kinds, addends, strict=True)) if kind >> 32 and addend]

    def _value(self, number: int) -> int:
        """The value of a dynamic symbol."""
        table = next(each for each in self._found.sections if each.kind == elf.SHT_DYNSYM)
        return int(_SYMBOL.unpack(self._read(table.offset + number * _SYMBOL.size, _SYMBOL.size))[4])

    def _in_place(self, address: int, value: int, wrapped: bool) -> None:
        """Some linkers also write the address where the relocation will write it."""
        place = self.offset(address)
        data = self._read(place, _ADDRESS.size)
        if len(data) == _ADDRESS.size and _ADDRESS.unpack(data)[0] == value:
            self.note(place, value, wrapped)

    def symbols(self) -> None:
        """Exported symbols cannot change, those for debuggers can."""
        for section in self._found.sections:
            if section.kind not in (elf.SHT_SYMTAB, elf.SHT_DYNSYM):
                continue
            size, names = section.size // _SYMBOL.size * _SYMBOL.size, self._names(section)
            if size > MOST * _SYMBOL.size:
                raise UnknownError("it has more symbols than any linker writes")
            for at in range(0, size, _CHUNK):
                count = min(_CHUNK, size - at)
                data = self._read(section.offset + at, count)
                if len(data) != count:
                    raise UnknownError("its symbols are cut short")
                if max(memoryview(data).cast("I")[:: _SYMBOL.size // 4], default=0) >= names:
                    raise UnknownError("the name of a symbol lies outside its table")  # perhaps in GPU code
                rows = words(data)
                if section.kind == elf.SHT_DYNSYM:
                    self.see_held(values(data))
                    self._exported(rows)
                    continue
                for number in self._inside(rows, _VALUE):
                    place = number * _SYMBOL.size
                    _, info, _, _, value, _ = _SYMBOL.unpack_from(data, place)
                    if value in self.starts and info & 15 != _STT_SECTION:
                        self._note_sized(section.offset + at + place + 8, value)

    def _note_sized(self, place: int, value: int) -> None:
        if len(self._sized) >= _MOST_TO_CODE:
            raise UnknownError(_TOO_OFTEN)
        self._sized.append((place, value))

    def _exported(self, words: tuple[int, ...]) -> None:
        """Keep what exported symbols stand for: a program may have a copy of it, and then knows its size."""
        starts = self._starts
        for value, size in zip(words[1::3], words[2::3], strict=True):
            if value > self.high or value + max(size, 1) <= self.low:
                continue
            if value >= self.low:
                self.keep(value)
            first, last = bisect_right(starts, value), bisect_left(starts, value + size)
            self._left -= max(0, last - first)
            if self._left < 0:
                raise UnknownError(_TOO_OFTEN)
            self._whole.update(starts[first:last])

    def _names(self, section: Section) -> int:
        """The size of the table with the names of a table of symbols."""
        if not 0 < section.link < len(self._found.sections):
            raise UnknownError("its symbols have no names")
        return self._found.sections[section.link].size

    def tables(self, found: Dynamic) -> None:
        """See that no table that the loader reads lies in GPU code, or in headers, which change."""
        tables = [value for tag, value in found.tags if tag in _TABLES and value]  # 0: there is none
        self.see_held(tables)
        if any(map(self._is_header, tables)):
            raise UnknownError("its dynamic section refers to its headers")
        see_bounds(self._read, self._found, found, self.offset, self._sections)

    def distances(self, skipped: list[tuple[int, int]]) -> None:
        """Look through code and data, but the given parts of the file, for distances to GPU code."""
        ends = [high for _, high in self._sections]
        wanted = Wanted((*self._headers, *ends), self._pieces)
        for each in self._loads:
            if each.flags & elf.PF_X:
                self._in_code(each, skipped, wanted)
        table = Wanted((*self._starts, *(each for each in ends if not self._begins(each))), ())
        for section in self._found.sections:
            if section.kind != elf.SHT_PROGBITS or not section.is_loaded or section.flags & elf.SHF_EXECINSTR:
                continue
            if section.name not in _UNWINDING and section.name not in SECTIONS:
                data_of = chunks(self._read, section.offset, section.offset + section.size, _DISTANCE - 1)
                found: Counter[int] = Counter()  # a file of nothing else has more of them than there is memory for
                for data, at in data_of:
                    found.update(table.in_table(data, at + section.address - section.offset))
                if not is_chance(found.total(), section.size // _DISTANCE, len(self._starts)):
                    for address in found:
                        self.keep(address, only=address in self.starts)

    def _in_code(self, segment: Segment, skipped: list[tuple[int, int]], wanted: Wanted) -> None:
        tables = [each.address for each in self._found.sections if each.name in _TABLES_OF_ADDRESSES][:2]
        found: Counter[int] = Counter()
        searched, left = 0, _DISTANCES_MORE
        for span in without((segment.offset, segment.offset + segment.size), skipped):
            searched += span[1] - span[0]
            for data, at in chunks(self._read, *span, REST):
                left += len(data) // _DISTANCE_EVERY
                sure, hits, looked = wanted.in_code(data, at + segment.address - segment.offset, left)
                left -= looked
                if left <= 0:
                    raise UnknownError("its code computes more addresses than that of any compiler")
                found.update(hits)
                for address in (*sure, *wanted.in_large_code(data, tables)):
                    self.keep_sure(address)
        if not is_chance(found.total(), searched // ONE_IN, len(self._headers)):
            for address in found:
                self.keep(address)


def references(read: Read, found: Tables, codes: tuple[Code, ...]) -> References:
    """All references to the containers of a shared library. Raises UnknownError for a file that cannot be searched."""
    finder = _Finder(read, found, codes)
    finder.relocations()
    finder.symbols()
    sections = [found.sections[each.section] for each in codes]
    finder.distances([(each.offset, each.offset + each.size) for each in sections])
    return finder.references()
