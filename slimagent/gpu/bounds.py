"""See that nothing a loader reads by way of the dynamic section lies in GPU code. Pure.

A loader checks no bounds: it goes where an index, a distance or an offset leads. So each of them is followed here, as
glibc does (elf/dl-lookup.c, elf/dl-version.c), and the tables must end where the section headers say.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from slimagent.elf import tables as elf
from slimagent.elf.tables import Read, Section, Tables
from slimagent.gpu.containers import UnknownError
from slimagent.gpu.dynamic import DT_STRSZ, DT_STRTAB, DT_SYMTAB, Dynamic

# Tables with the tag of their size in bytes (elf.h): relocations, functions to call before and after, names.
_SIZED = ((7, 8), (23, 2), (36, 35), (25, 27), (26, 28), (32, 33), (DT_STRTAB, DT_STRSZ))
_DT_HASH, _DT_GNU_HASH, _DT_VERSYM, _DT_VERDEF, _DT_VERNEED = 4, 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFE
# Numbers, sizes, flags and names in the dynamic section. Any other entry may be an address.
_NUMBERS = frozenset(
    (
        1, 2, 8, 9, 10, 11, 14, 15, 16, 18, 19, 20, 21, 22, 24, 27, 28, 29, 30, 33, 35, 37, 0x6FFFFDF5, 0x6FFFFDF6,
        0x6FFFFDF7, 0x6FFFFDF8, 0x6FFFFDF9, 0x6FFFFDFA, 0x6FFFFDFB, 0x6FFFFDFC, 0x6FFFFDFD, 0x6FFFFDFE, 0x6FFFFDFF,
        0x6FFFFEFA, 0x6FFFFEFB, 0x6FFFFEFC, 0x6FFFFFF9, 0x6FFFFFFA, 0x6FFFFFFB, 0x6FFFFFFD, 0x6FFFFFFF, 0x7FFFFFFD,
        0x7FFFFFFF, 0x70000001, 0x70000003,
    )
)  # fmt: skip
_SYMBOL, _HASH_WORD, _BLOOM_WORD, _VERSION = 24, 4, 8, 2  # bytes
_HASH, _GNU_HASH = struct.Struct("<II"), struct.Struct("<IIII")
# Versions that a library needs or defines, and what each of them is of: the name and where the next one is.
_NEED, _NEED_OF, _DEFINE, _DEFINE_OF = (struct.Struct(each) for each in ("<HHIII", "<IHHII", "<HHHHIII", "<II"))
_MOST_VERSIONS = 1 << 16
_ELSEWHERE = "a table that its loader reads reaches into its GPU code"
_OTHER_SYMBOLS = "its dynamic section and its section headers do not say the same of its symbols"
_OUTSIDE = "an index in its hash table lies outside its symbols"
_NO_NAME = "a name that its loader reads lies outside the table of names"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Follows what a loader would. `offset` is where an address lies in the file, `gpu` are addresses of GPU code."""

    read: Read
    offset: Callable[[int], int]
    gpu: tuple[tuple[int, int], ...]
    tags: Mapping[int, int]
    symbols: int
    names: int

    def see(self, address: int, size: int) -> None:
        """Raise UnknownError if a part of memory touches GPU code."""
        if any(address < high and low < address + max(size, 1) for low, high in self.gpu):
            raise UnknownError(_ELSEWHERE)

    def data(self, address: int, size: int) -> bytes:
        """A part of memory as the file has it."""
        self.see(address, size)
        found = elf.bounded(self.read, self.offset(address), size)
        if len(found) != size:
            raise UnknownError("a table that its loader reads is cut short")
        return found

    def see_tables(self) -> None:
        """See where each table begins and ends."""
        for tag, value in self.tags.items():
            if tag not in _NUMBERS and value:
                self.see(value, 1)
        for tag, size in _SIZED:
            if self.tags.get(tag):
                self.see(self.tags[tag], self.tags.get(size, 0))
        size = self.tags.get(DT_STRSZ, 0)
        if not 0 < size <= self.names or self.data(self.tags[DT_STRTAB] + size - 1, 1) != b"\0":
            raise UnknownError(_NO_NAME)
        self.see(self.tags[DT_SYMTAB], self.symbols * _SYMBOL)
        if self.tags.get(_DT_VERSYM):
            self.see(self.tags[_DT_VERSYM], self.symbols * _VERSION)

    def see_hash(self) -> None:
        """See that no entry of the old hash table leads out of the symbols."""
        at = self.tags.get(_DT_HASH)
        if not at:
            return
        buckets, chains = _HASH.unpack(self.data(at, _HASH.size))
        if chains > self.symbols:
            raise UnknownError(_OUTSIDE)
        rows = memoryview(self.data(at + _HASH.size, (buckets + chains) * _HASH_WORD)).cast("I")
        if max(rows, default=0) >= max(chains, 1):
            raise UnknownError(_OUTSIDE)

    def see_gnu_hash(self) -> None:
        """See the same of GNU's: a chain goes on until an entry is odd, so the last symbol's has to be."""
        at = self.tags.get(_DT_GNU_HASH)
        if not at:
            return
        count, first, words, _ = _GNU_HASH.unpack(self.data(at, _GNU_HASH.size))
        at += _GNU_HASH.size + words * _BLOOM_WORD
        self.see(at - words * _BLOOM_WORD, words * _BLOOM_WORD)
        buckets = memoryview(self.data(at, count * _HASH_WORD)).cast("I")
        last = max(buckets, default=0)
        if not last:
            return
        if last >= self.symbols or min(filter(None, buckets)) < first:
            raise UnknownError(_OUTSIDE)
        chains = self.data(at + count * _HASH_WORD, (self.symbols - first) * _HASH_WORD)
        if not chains[-_HASH_WORD] & 1:
            raise UnknownError(_OUTSIDE)

    def see_versions(self) -> None:
        """See that the lists of versions, and the names in them, lie where they may. A loader ignores their number."""
        left = _MOST_VERSIONS
        for tag, shape, of, each_of in (
            (_DT_VERNEED, _NEED, _NEED_OF, self._of_needed),
            (_DT_VERDEF, _DEFINE, _DEFINE_OF, self._of_defined),
        ):
            at = self.tags.get(tag, 0)
            while at:
                row = shape.unpack(self.data(at, shape.size))
                more = at + row[-2]
                while True:
                    left -= 1
                    if left < 0:
                        raise UnknownError("it has more versions of symbols than any linker writes")
                    step = each_of(row, of.unpack(self.data(more, of.size)))
                    if not step:
                        break
                    more += step
                at = at + row[-1] if row[-1] else 0

    def _of_needed(self, row: tuple[int, ...], of: tuple[int, ...]) -> int:
        self._see_names(row[2], of[3])
        return of[4]

    def _of_defined(self, row: tuple[int, ...], of: tuple[int, ...]) -> int:
        self._see_names(of[0])
        return of[1]

    def _see_names(self, *offsets: int) -> None:
        if max(offsets) >= self.tags.get(DT_STRSZ, 0):
            raise UnknownError(_NO_NAME)


def see_bounds(
    read: Read, found: Tables, dynamic: Dynamic, offset: Callable[[int], int], gpu: list[tuple[int, int]]
) -> None:
    """Raise UnknownError if a loader of this file could read something in its GPU code.

    `gpu` are the addresses where that begins and ends.
    """
    tags = dict(dynamic.tags)
    symbols, names = _symbols(found, tags, offset)
    bounds = Bounds(read, offset, tuple(gpu), tags, symbols.size // _SYMBOL, names.size)
    bounds.see_tables()
    bounds.see_hash()
    bounds.see_gnu_hash()
    bounds.see_versions()


def _symbols(found: Tables, tags: Mapping[int, int], offset: Callable[[int], int]) -> tuple[Section, Section]:
    """The table of dynamic symbols and that of their names. The loader's have to be those of the section headers."""
    sections = found.sections
    tables = [each for each in sections if each.kind == elf.SHT_DYNSYM]
    names = [sections[each.link] for each in tables if each.link < len(sections)]
    if [each.address for each in tables] != [tags.get(DT_SYMTAB)]:
        raise UnknownError(_OTHER_SYMBOLS)
    if [each.address for each in names] != [tags.get(DT_STRTAB)]:
        raise UnknownError(_OTHER_SYMBOLS)
    if any(offset(each.address) != each.offset for each in (*tables, *names)):  # it goes by addresses, we by places
        raise UnknownError(_OTHER_SYMBOLS)
    return tables[0], names[0]
