"""The two tables of an ELF file: its segments, which are loaded, and its sections, which tools read. Pure.

Structures as in elf(5) and <elf.h>. `elf/needs.py` reads what the file asks the dynamic loader for.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple

Read = Callable[[int, int], bytes]  # (offset, size) -> bytes, shorter at the end of the file

MAGIC = b"\x7fELF"
ET_REL, ET_EXEC, ET_DYN = 1, 2, 3
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_PHDR, PT_TLS = 1, 2, 3, 6, 7
PF_X, PF_W, PF_R = 1, 2, 4
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_DYNAMIC, SHT_NOTE, SHT_NOBITS, SHT_REL = 1, 2, 3, 4, 6, 7, 8, 9
SHT_DYNSYM, SHT_SYMTAB_SHNDX = 11, 18
SHF_ALLOC, SHF_EXECINSTR = 2, 4
_XINDEX = 0xFFFF  # PN_XNUM and SHN_XINDEX: the number does not fit here
LONGEST = 4096  # bytes of a name: the kernel takes no longer path (PATH_MAX), and no linker names a section so
_LIMIT = 1 << 24  # bytes of a table: no linker writes more, and a hostile header must not fill the memory
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
        """Whether a loader maps it."""
        return bool(self.flags & SHF_ALLOC)

    @property
    def is_symbolic(self) -> bool:
        """Whether `strip --strip-unneeded` removes it from a program or library: symbols, debugging information."""
        if self.is_loaded:
            return False
        return self.kind in (SHT_SYMTAB, SHT_SYMTAB_SHNDX) or _DEBUGGING.match(self.name) is not None

    @property
    def stored(self) -> int:
        """Its bytes in the file."""
        return 0 if self.kind == SHT_NOBITS else self.size


class Tables(NamedTuple):
    """An ELF file's tables. `header` is the size of its header, `wide` whether it is a 64-bit file.

    `segments_at` is where its program headers lie, `names` is the index of the section with the names of sections.
    `end` is the first byte after everything that the headers describe.
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


class Layout(NamedTuple):
    """What `struct` makes of an ELF header from e_type on, a program header, a section header and a dynamic entry."""

    header: str
    segment: str
    section: str
    dynamic: str


# By EI_CLASS: 32 and 64 bits.
LAYOUTS = {
    1: Layout("HHIIIIIHHHHHH", "IIIIIIII", "IIIIIIIIII", "iI"),
    2: Layout("HHIQQQIHHHHHH", "IIQQQQQQ", "IIQQQQIIQQ", "qQ"),
}


def tables(read: Read) -> Tables | None:
    """The tables of a file. None if it is not an ELF file, or its tables are damaged or cut short."""
    try:
        return _tables(read)
    except (struct.error, ValueError, OverflowError, IndexError):
        return None


def _tables(read: Read) -> Tables | None:
    start = read(0, 64)
    if len(start) < 52 or start[:4] != MAGIC or start[4] not in LAYOUTS or start[5] not in (1, 2):
        return None
    order, layout = "<" if start[5] == 1 else ">", LAYOUTS[start[4]]
    kind, machine, _, _, phoff, shoff, _, header, phsize, phnum, shsize, shnum, names = struct.unpack_from(
        order + layout.header, start, 16
    )
    rows = _section_rows(read, order + layout.section, shoff, shsize, shnum)
    if names == _XINDEX:
        names = rows[0][6]
    if phnum == _XINDEX:
        raise ValueError("more segments than any loader takes")
    loaded = segments(read, order + layout.segment, phoff, phsize, phnum)
    sections = _named(read, rows, names)
    end = max(
        header,
        phoff + phsize * phnum,
        shoff + shsize * len(rows),
        *(each.offset + each.size for each in loaded),
        *(each.offset + each.stored for each in sections),
    )
    return Tables(start[4] == 2, kind, machine, header, phoff, names, end, loaded, sections)


def _section_rows(read: Read, shape: str, offset: int, size: int, count: int) -> list[tuple[int, ...]]:
    if not offset:
        return []
    row = struct.Struct(shape)
    if size != row.size:
        raise ValueError("section headers of an unknown size")
    if not count:  # the number did not fit: the first section header has it
        count = row.unpack(_whole(read, offset, size))[5]
    return list(row.iter_unpack(_whole(read, offset, size * count)))


def _named(read: Read, rows: list[tuple[int, ...]], names: int) -> tuple[Section, ...]:
    if not rows or not names:
        return tuple(Section(b"", *row[1:]) for row in rows)
    table = rows[names]
    text = _whole(read, table[4], table[5])
    found, left = [], _LIMIT
    for row in rows:
        name = string(text, row[0])
        left -= len(name)
        if left < 0:  # names may share their place in the table, so a small file could have any number of long ones
            raise ValueError("the names of its sections are longer than any table of names")
        found.append(Section(name, *row[1:]))
    return tuple(found)


def string(table: bytes, offset: int, longest: int = LONGEST) -> bytes:
    """The string at an offset of a table. Raises ValueError if it does not end there within `longest` bytes."""
    end = table.find(0, offset, offset + longest + 1)
    if end < 0:
        raise ValueError("a string lies outside its table, or is longer than any linker writes it")
    return table[offset:end]


def segments(read: Read, shape: str, offset: int, size: int, count: int) -> tuple[Segment, ...]:
    """The program headers, `count` of `size` bytes at `offset`. Raises ValueError or struct.error for damaged ones."""
    if not count:
        return ()
    row = struct.Struct(shape)
    if size != row.size:
        raise ValueError("program headers of an unknown size")
    # p_flags comes second in 64 bits and next to last in 32; physical addresses are left out
    fields = itemgetter(*((0, 1, 2, 3, 5, 6, 7) if shape.endswith("Q") else (0, 6, 1, 2, 4, 5, 7)))
    return tuple(Segment._make(fields(each)) for each in row.iter_unpack(_whole(read, offset, size * count)))


def bounded(read: Read, offset: int, size: int) -> bytes:
    """A table, or what there is of it. Raises ValueError for one that no file has."""
    if size > _LIMIT or offset > _FARTHEST:
        raise ValueError("a table is larger, or lies farther, than any tool writes it")
    return read(offset, size)


def _whole(read: Read, offset: int, size: int) -> bytes:
    """A whole table. Raises ValueError for one that is cut short."""
    data = bounded(read, offset, size)
    if len(data) != size:
        raise ValueError("a table is cut short")
    return data
