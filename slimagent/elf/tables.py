"""The two tables of an ELF file: its segments, which are loaded, and its sections, which tools read. Pure.

Structures as in elf(5) and <elf.h>. What the dynamic loader is asked for is read by `elf/needs.py`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import NamedTuple

Read = Callable[[int, int], bytes]  # (offset, size) -> bytes, shorter at the end of the file

MAGIC = b"\x7fELF"
ET_REL, ET_EXEC, ET_DYN = 1, 2, 3
PT_LOAD, PT_INTERP, PT_TLS = 1, 3, 7
PF_W = 2
SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_DYNAMIC, SHT_NOTE, SHT_NOBITS, SHT_REL = 2, 3, 4, 6, 7, 8, 9
SHT_DYNSYM, SHT_SYMTAB_SHNDX = 11, 18
SHF_ALLOC, SHF_EXECINSTR = 2, 4
_XINDEX = 0xFFFF  # PN_XNUM and SHN_XINDEX: the number did not fit
_LIMIT = 1 << 24  # bytes of a table: more is no file of a linker, and a hostile header must not fill the memory
_FARTHEST = 1 << 62  # pread(2) refuses offsets near the end of its range

# What binutils takes for debugging information (bfd/elf.c, _bfd_elf_make_section_from_shdr).
_DEBUGGING = re.compile(rb"\.(?:z?debug|gnu\.debuglto_|gnu\.linkonce\.wi\.|line|stab|gdb_index)")


class Segment(NamedTuple):
    """A program header; sizes and offsets in bytes."""

    kind: int
    flags: int
    offset: int
    address: int
    size: int
    memory: int
    alignment: int


class Section(NamedTuple):
    """A section header; sizes and offsets in bytes. `link` is the index of the section it refers to."""

    name: bytes
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry: int

    @property
    def is_loaded(self) -> bool:
        """Whether it belongs to what a loader maps."""
        return bool(self.flags & SHF_ALLOC)

    @property
    def is_symbolic(self) -> bool:
        """Whether `strip --strip-unneeded` takes it out of a program or library: symbols, debugging information."""
        if self.is_loaded:
            return False
        return self.kind in (SHT_SYMTAB, SHT_SYMTAB_SHNDX) or _DEBUGGING.match(self.name) is not None

    @property
    def stored(self) -> int:
        """Its bytes in the file."""
        return 0 if self.kind == SHT_NOBITS else self.size


class Tables(NamedTuple):
    """An ELF file's tables. `header` is the size of its header, `wide` whether it is of 64 bits.

    `segments_at` is where its program headers lie, `names` is the index of the section with their names.
    `end` is the first byte after everything that the headers speak of.
    """

    wide: bool
    kind: int
    machine: int
    header: int
    segments_at: int
    names: int
    end: int
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]

    @property
    def segment_row(self) -> int:
        """The size of a program header."""
        return 56 if self.wide else 32


class Symbols(NamedTuple):
    """What `strip` would take from an ELF file for the processor `machine`: `saves` bytes, none if `why` forbids it."""

    saves: int
    why: str
    machine: int = 0


class _Layout(NamedTuple):
    header: str
    segment: str
    section: str


_NARROW = _Layout("HHIIIIIHHHHHH", "IIIIIIII", "IIIIIIIIII")
_WIDE = _Layout("HHIQQQIHHHHHH", "IIQQQQQQ", "IIQQQQIIQQ")


def tables(read: Read) -> Tables | None:
    """The tables of a file, or None if it is no ELF file or they are damaged or cut short."""
    try:
        return _tables(read)
    except (struct.error, ValueError, OverflowError, IndexError):
        return None


def _tables(read: Read) -> Tables | None:
    start = read(0, 64)
    if len(start) < 52 or start[:4] != MAGIC or start[4] not in (1, 2) or start[5] not in (1, 2):
        return None
    order, wide = "<" if start[5] == 1 else ">", start[4] == 2
    layout = _WIDE if wide else _NARROW
    kind, machine, _, _, phoff, shoff, _, header, phsize, phnum, shsize, shnum, names = struct.unpack_from(
        order + layout.header, start, 16
    )
    rows = _section_rows(read, order + layout.section, shoff, shsize, shnum)
    if names == _XINDEX:
        names = rows[0][6]
    if phnum == _XINDEX:
        raise ValueError("more segments than any loader takes")
    segments = _segments(read, order + layout.segment, phoff, phsize, phnum, wide=wide)
    sections = _named(read, rows, names)
    end = max(
        header,
        phoff + phsize * phnum,
        shoff + shsize * len(rows),
        *(each.offset + each.size for each in segments),
        *(each.offset + each.stored for each in sections),
    )
    return Tables(wide, kind, machine, header, phoff, names, end, segments, sections)


def _section_rows(read: Read, shape: str, offset: int, size: int, count: int) -> list[tuple[int, ...]]:
    if not offset:
        return []
    row = struct.Struct(shape)
    if size != row.size:
        raise ValueError("section headers of an unknown size")
    if not count:  # so many that the number stands in the first of them
        count = row.unpack(_whole(read, offset, size))[5]
    return list(row.iter_unpack(_whole(read, offset, size * count)))


def _named(read: Read, rows: list[tuple[int, ...]], names: int) -> tuple[Section, ...]:
    if not rows or not names:
        return tuple(Section(b"", *row[1:]) for row in rows)
    table = rows[names]
    text = _whole(read, table[4], table[5])
    found = []
    for row in rows:
        end = text.find(0, row[0])
        if end < 0:
            raise ValueError("a name lies outside its table")
        found.append(Section(text[row[0] : end], *row[1:]))
    return tuple(found)


def _segments(read: Read, shape: str, offset: int, size: int, count: int, *, wide: bool) -> tuple[Segment, ...]:
    if not count:
        return ()
    row = struct.Struct(shape)
    if size != row.size:
        raise ValueError("program headers of an unknown size")
    found = []
    for fields in row.iter_unpack(_whole(read, offset, size * count)):
        if wide:
            kind, flags, place, address, _, length, memory, alignment = fields
        else:
            kind, place, address, _, length, memory, flags, alignment = fields
        found.append(Segment(kind, flags, place, address, length, memory, alignment))
    return tuple(found)


def _whole(read: Read, offset: int, size: int) -> bytes:
    """All of a table: one that is cut short is damaged."""
    if size > _LIMIT or offset > _FARTHEST:
        raise ValueError("a table is larger, or lies farther, than any tool writes it")
    data = read(offset, size)
    if len(data) != size:
        raise ValueError("a table is cut short")
    return data
