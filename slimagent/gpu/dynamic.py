"""The dynamic section of a shared library for x86-64 as a loader reads it: tags, and where relocations are. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from slimagent.elf import tables as elf
from slimagent.elf.tables import Read, Tables
from slimagent.gpu.containers import UnknownError

R_RELATIVE = 8  # R_X86_64_RELATIVE
DT_STRTAB, DT_SYMTAB = 5, 6
RELA = struct.Struct("<QQq")
MOST = 1 << 25  # relocations of one file; the most seen are 400,000
_DT_NULL, _DT_RELA, _DT_RELASZ, _DT_REL, _DT_TEXTREL, _DT_JMPREL, _DT_PLTRELSZ = 0, 7, 8, 17, 22, 23, 2
DT_STRSZ = 10
# DT_NEEDED, DT_SONAME, DT_RPATH, DT_RUNPATH, DT_CONFIG, DT_DEPAUDIT, DT_AUDIT, DT_AUXILIARY, DT_FILTER
_DT_NAMES = (1, 14, 15, 29, 0x6FFFFEFA, 0x6FFFFEFB, 0x6FFFFEFC, 0x7FFFFFFD, 0x7FFFFFFF)
_DT_PLTREL, _DT_RELRSZ, _DT_RELR, _DT_FLAGS = 20, 35, 36, 30
_DF_TEXTREL = 4  # in DT_FLAGS, the same as DT_TEXTREL
_SYMBOL, _STT_TLS = struct.Struct("<IBBHQQ"), 6
_SHN_LORESERVE = 0xFF00  # an index from here on stands for no section (elf.h)
_ENTRY, _WORD = struct.Struct("<qQ"), struct.Struct("<Q")
_MOST_RELATIVE = 1 << 22  # words that RELR names; a few bytes of it name many


class Dynamic(NamedTuple):
    """The dynamic section, and its tables of relocations as (address, bytes): with addends, for calls, and RELR."""

    tags: tuple[tuple[int, int], ...]
    rela: tuple[int, int]
    calls: tuple[int, int]
    relr: tuple[int, int]

    def tables(self) -> tuple[tuple[int, int], ...]:
        """The tables of relocations with addends that are not empty."""
        return tuple(each for each in (self.rela, self.calls) if each[1])


def dynamic(read: Read, found: Tables) -> Dynamic:
    """Where a file's relocations are. Raises UnknownError for kinds that are not known."""
    segments = [each for each in found.segments if each.kind == elf.PT_DYNAMIC]
    if len(segments) != 1:  # of several, loaders take different ones
        raise UnknownError("it has several dynamic sections" if segments else "it has no dynamic section")
    (segment,) = segments
    data = elf.bounded(read, segment.offset, segment.size)
    tags, names = {}, [0]
    for tag, value in _ENTRY.iter_unpack(data[: len(data) // _ENTRY.size * _ENTRY.size]):
        if tag == _DT_NULL:
            break
        tags[tag] = value
        if tag in _DT_NAMES:
            names.append(value)
    else:  # loaders read on
        raise UnknownError("its dynamic section has no end")
    if max(names) >= max(tags.get(DT_STRSZ, 0), 1):
        raise UnknownError("its dynamic section has a name outside the table of names")
    if tags.get(_DT_PLTREL, _DT_RELA) != _DT_RELA or _DT_REL in tags or _writes_code(tags):
        raise UnknownError("it has relocations of an unusual kind")
    sizes = [tags.get(each, 0) for each in (_DT_RELASZ, _DT_PLTRELSZ)]
    if any(each > MOST * RELA.size or each % RELA.size for each in sizes):
        raise UnknownError("it has more relocations than any linker writes")
    return Dynamic(
        tuple(sorted(tags.items())),
        (tags.get(_DT_RELA, 0), sizes[0] if _DT_RELA in tags else 0),
        (tags.get(_DT_JMPREL, 0), sizes[1] if _DT_JMPREL in tags else 0),
        (tags.get(_DT_RELR, 0), tags.get(_DT_RELRSZ, 0) if _DT_RELR in tags else 0),
    )


def _writes_code(tags: dict[int, int]) -> bool:
    return _DT_TEXTREL in tags or bool(tags.get(_DT_FLAGS, 0) & _DF_TEXTREL)


def relative_words(read: Read, offset: Callable[[int], int], found: Dynamic) -> Iterator[int]:
    """The addresses of the words to which RELR relocations add the address of the file.

    An even entry is an address, an odd one a bitmap of the 63 words that follow.
    """
    address, size = found.relr
    if not size:
        return
    data = elf.bounded(read, offset(address), size)
    if len(data) != size or size % _WORD.size:
        raise UnknownError("its relocations are cut short")
    where, left = 0, _MOST_RELATIVE
    for (entry,) in _WORD.iter_unpack(data):
        left -= (entry >> 1).bit_count() if entry & 1 else 1
        if left < 0:
            raise UnknownError("it has more relocations than any linker writes")
        if not entry & 1:
            yield entry
            where = entry + _WORD.size
            continue
        for at in range(63):
            if entry >> (at + 1) & 1:
                yield where + at * _WORD.size
        where += 63 * _WORD.size


def values(symbols: bytes) -> Iterator[int]:
    """The addresses that symbols stand for."""
    for _, info, _, section, value, _ in _SYMBOL.iter_unpack(symbols):
        if 0 < section < _SHN_LORESERVE and info & 15 != _STT_TLS:
            yield value
