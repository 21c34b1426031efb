"""Find what refers to the containers of GPU code in a shared library, so that they can be moved. Pure.

nvcc makes a wrapper for each container, with a pointer that the loader fills in by a relocation (`.nvFatBinSegment`).
Nothing else is known to refer to a container. But other code and data could, so all kinds of references are looked for:
every relocation (System V ABI, AMD64 supplement, "Relocation"; RELR as in the generic ABI), every symbol, and every
instruction that computes an address relative to itself. A container with a reference that cannot be changed stays
where it is. One with a reference into its middle also stays whole.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from slimagent.elf import tables as elf
from slimagent.elf.tables import Read, Section, Tables
from slimagent.gpu.containers import HEADER, Code, UnknownError
from slimagent.gpu.dynamic import DT_STRTAB, DT_SYMTAB, MOST, R_RELATIVE, RELA, Dynamic, dynamic, relative_words

# What the dynamic section gives the address of: the global offset table, hash tables, names, symbols, relocations,
# functions to call, versions (elf.h).
_TABLES = frozenset({3, 4, 5, 6, 7, 12, 13, 23, 25, 26, 32, 36, 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFE})
_STT_SECTION, _STT_TLS = 3, 6
_SHN_LORESERVE = 0xFF00  # an index from here on stands for no section (elf.h)
_SYMBOL = struct.Struct("<IBBHQQ")
_PLACE, _ADDEND, _VALUE = 0, 2, 1  # which of the three words of a relocation, and of a symbol, is an address
_ADDRESS, _DISTANCE = struct.Struct("<Q"), struct.Struct("<i")
_CHUNK = RELA.size << 16  # bytes
_CODE_CHUNK = 1 << 24  # bytes
_MOST_TO_CODE = 1 << 20  # relocations to containers; the largest library seen has 3,000 containers
# `lea` with an address relative to the next instruction (Intel's manual, volume 2: opcode 8D; ModR/M: mod 0, r/m 5)
_LEA = re.compile(rb"\x8d[\x05\x0d\x15\x1d\x25\x2d\x35\x3d]")
_BETWEEN = "it refers to its section of GPU code where there is none"
_TOO_OFTEN = "it refers to its GPU code more often than any compiler does"
_ASTRAY = "it refers to what none of its segments holds"
_WRITTEN = "a relocation writes into its GPU code"
# Instructions of that kind: compilers write one in 28 bytes or more. A file of nothing else would take minutes.
_LEA_EVERY, _LEA_MORE = 12, 1 << 16
_LEA_REST = 6  # bytes from the opcode to the end of the instruction


@dataclass(slots=True)
class References:
    """Where a file refers to its containers; all of these as addresses.

    `pointers` are offsets in the file of 8 bytes that hold the address of a container, with that address. `sized` are
    symbols: the offset of a value and the size after it. `fixed` are containers that cannot move, `whole` those of
    which nothing can go, either.
    """

    pointers: list[tuple[int, int]] = field(default_factory=list)
    sized: list[tuple[int, int]] = field(default_factory=list)
    fixed: set[int] = field(default_factory=set)
    whole: set[int] = field(default_factory=set)


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
        self._points: dict[int, int] = {}  # addresses in containers that code could refer to, with their container
        for code in codes:
            section = found.sections[code.section]
            shift = section.address - section.offset
            for each in code.containers:
                start = each.offset + shift
                spans.append((start, start + each.size))
                self._points |= {piece.offset + shift: start for piece in each.pieces}
                self._points[start + HEADER.size] = start
                self._points[start] = start
        spans.sort()
        self._spans = spans
        self._starts = [start for start, _ in spans]
        self.starts = frozenset(self._starts)
        self.low = min((low for low, _ in self._sections), default=0)
        self.high = max((high for _, high in self._sections), default=0)
        self.references = References()

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

    def note(self, place: int, address: int, changeable: bool) -> None:
        """Note a reference to an address from a place in the file."""
        start = self.container(address)
        if start is None:
            if self.is_in_code(address):
                raise UnknownError(_BETWEEN)
            return
        if address == start and changeable:
            if len(self.references.pointers) >= _MOST_TO_CODE:
                raise UnknownError(_TOO_OFTEN)
            self.references.pointers.append((place, start))
        else:
            self.references.whole.add(start)

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
            if self.low <= value < self.high:
                self.note(place, value, changeable=True)

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
            words = _words(data)
            if any(self.is_in_code(words[3 * row]) for row in self._inside(words, _PLACE)):
                raise UnknownError(_WRITTEN)
            kinds, addends = words[1::3], words[2::3]
            self.see_held(addend for kind, addend in zip(kinds, addends, strict=True) if kind == R_RELATIVE)
            for row in self._with_symbols(kinds, addends):
                _, info, addend = RELA.unpack_from(data, row * RELA.size)
                start = self.container(self._value(info >> 32) + addend)
                if start is not None:
                    self.references.whole.add(start)
            for number in self._inside(words, _ADDEND):
                place, kind, addend = RELA.unpack_from(data, number * RELA.size)
                is_relative = kind == R_RELATIVE
                self.note(offset + at + number * RELA.size + 16, addend, is_relative)
                if is_relative:
                    self._in_place(place, addend)

    def _inside(self, words: tuple[int, ...], column: int) -> list[int]:
        """The rows, of three words each, that have an address among the containers in this column."""
        low, high = self.low, self.high
        return [number for number, word in enumerate(words[column::3]) if low <= word < high]

    @staticmethod
    def _with_symbols(kinds: tuple[int, ...], addends: tuple[int, ...]) -> list[int]:
        """The rows that add something to the value of a symbol: what they refer to need not be that symbol's."""
        return [row for row, (kind, addend) in enumerate(zip(kinds, addends, strict=True)) if kind >> 32 and addend]

    def _value(self, number: int) -> int:
        """The value of a dynamic symbol."""
        table = next(each for each in self._found.sections if each.kind == elf.SHT_DYNSYM)
        return int(_SYMBOL.unpack(self._read(table.offset + number * _SYMBOL.size, _SYMBOL.size))[4])

    def _in_place(self, address: int, value: int) -> None:
        """Some linkers also write the address where the relocation will write it."""
        place = self.offset(address)
        data = self._read(place, _ADDRESS.size)
        if len(data) == _ADDRESS.size and _ADDRESS.unpack(data)[0] == value:
            self.note(place, value, changeable=True)

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
                if section.kind == elf.SHT_DYNSYM:
                    self.see_held(_values(data))
                for number in self._inside(_words(data), _VALUE):
                    place = number * _SYMBOL.size
                    _, info, _, _, value, _ = _SYMBOL.unpack_from(data, place)
                    self._symbol(section.kind, info & 15, section.offset + at + place + 8, value)

    def _symbol(self, table: int, kind: int, place: int, value: int) -> None:
        """Note a symbol in a table of this kind; `place` is the offset of its value."""
        start, is_dynamic = self.container(value), table == elf.SHT_DYNSYM
        if start is None and is_dynamic and self.is_in_code(value):
            raise UnknownError(_BETWEEN)
        if start is None or (kind == _STT_SECTION and not is_dynamic):
            return
        if start == value and not is_dynamic:
            if len(self.references.sized) >= _MOST_TO_CODE:
                raise UnknownError(_TOO_OFTEN)
            self.references.sized.append((place, start))
        else:
            self.references.whole.add(start)

    def _names(self, section: Section) -> int:
        """The size of the table with the names of a table of symbols."""
        if not 0 < section.link < len(self._found.sections):
            raise UnknownError("its symbols have no names")
        return self._found.sections[section.link].size

    def tables(self, found: Dynamic) -> None:
        """See that no table that the loader reads lies in GPU code, and that its symbols are those of the section."""
        tables = [value for tag, value in found.tags if tag in _TABLES]
        if any(map(self.is_in_code, tables)):
            raise UnknownError("its dynamic section refers to its GPU code")
        self.see_held(tables)
        tags, sections = dict(found.tags), self._found.sections
        symbols = [each for each in sections if each.kind == elf.SHT_DYNSYM]
        names = [sections[each.link].address for each in symbols if each.link < len(sections)]
        if [each.address for each in symbols] != [tags.get(DT_SYMTAB)] or names != [tags.get(DT_STRTAB)]:
            raise UnknownError("its dynamic section and its section headers do not say the same of its symbols")

    def instructions(self, skipped: list[tuple[int, int]]) -> None:
        """Look through all that can be executed but the given parts of the file."""
        points, left = self._points, _LEA_MORE
        for segment in self._loads:
            if not segment.flags & 1:
                continue
            for begin, end in _without((segment.offset, segment.offset + segment.size), skipped):
                shift = segment.address - segment.offset
                for at in range(begin, end, _CODE_CHUNK):
                    data = self._read(at, min(_CODE_CHUNK + _LEA_REST, end - at))
                    left += len(data) // _LEA_EVERY
                    for match in _LEA.finditer(data, 0, max(0, len(data) - _DISTANCE.size)):
                        left -= 1
                        if left < 0:
                            raise UnknownError("its code computes more addresses than that of any compiler")
                        after = match.end()
                        address = _DISTANCE.unpack_from(data, after)[0] + at + after + 4 + shift
                        if address in points:
                            start = points[address]
                            (self.references.fixed if address == start else self.references.whole).add(start)


def _words(rows: bytes) -> tuple[int, ...]:
    """Relocations or symbols as words, three in each row."""
    return struct.unpack(f"<{len(rows) // _ADDRESS.size}Q", rows)


def _values(symbols: bytes) -> Iterator[int]:
    """The addresses that symbols stand for."""
    for _, info, _, section, value, _ in _SYMBOL.iter_unpack(symbols):
        if 0 < section < _SHN_LORESERVE and info & 15 != _STT_TLS:
            yield value


def _without(span: tuple[int, int], skipped: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    begin, end = span
    for low, high in sorted(skipped):
        if low < end and high > begin:
            if begin < low:
                yield begin, low
            begin = high
    if begin < end:
        yield begin, end


def references(read: Read, found: Tables, codes: tuple[Code, ...]) -> References:
    """All references to the containers of a shared library. Raises UnknownError for a file that cannot be searched."""
    finder = _Finder(read, found, codes)
    finder.relocations()
    finder.symbols()
    sections = [found.sections[each.section] for each in codes]
    finder.instructions([(each.offset, each.offset + each.size) for each in sections])
    seen = {start for _, start in finder.references.pointers}
    finder.references.fixed |= finder.references.whole
    # what nothing is known to refer to is used in a way that we do not see
    unseen = finder.starts - seen
    finder.references.fixed |= unseen
    finder.references.whole |= unseen
    return finder.references
