"""What `strip --strip-unneeded` (strip(1)) would save on an ELF file, or why it must not be tried. Pure.

It is worked out from the section headers as GNU binutils does (bfd/elf.c): loaded parts stay where they are, then come
the sections that are not loaded, their names, and the section headers.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

from slimagent.elf import tables as elf
from slimagent.elf.tables import Read, Segment, Symbols, Tables

_APPENDED = "data follow the ELF image: a program that reads itself, as self-extracting ones do"
_PATCHED = "its segments would move, as in files that patchelf or auditwheel has changed"
# What compilers, linkers and packagers add to a file that is not loaded. It may lie anywhere.
_KNOWN = re.compile(
    rb"\.(?:comment|strtab|shstrtab|note\..*|gnu_debuglink|gnu_debugaltlink|gnu_debugdata|gnu\.build\.attributes.*"
    rb"|gnu\.warning\..*|GCC\.command\.line|ARM\.attributes|annobin\..*|rustc|llvm.*|nv.*|hip.*)",
    re.DOTALL,
)
_INTEGRITY = b".note.fdo.integrity"  # libgcrypt 1.10 and later: a checksum over the file
# Linkers put these into read-only segments; a tool that made them longer afterwards had to move them elsewhere.
_DYNAMIC_TABLES = (b".dynstr", b".dynsym", b".hash", b".gnu.hash", b".interp", b".gnu.version", b".gnu.version_r")

DAMAGED = "its headers are damaged or cut short"


def symbols(read: Read, size: int) -> Symbols | None:
    """What strip would take from an ELF file of `size` bytes; None if it would take nothing."""
    found = elf.tables(read)
    if found is None:
        return Symbols(0, DAMAGED)
    if not any(each.is_symbolic for each in found.sections):
        return None
    why = _why_not(found, size)
    return Symbols(0 if why else max(0, size - stripped_size(found)), why, found.machine)


def _why_not(found: Tables, size: int) -> str:
    """Why strip must not touch a file; empty if it may."""
    if found.kind == elf.ET_REL:
        return "an object file: linkers and the kernel need its symbols"
    if found.kind not in (elf.ET_EXEC, elf.ET_DYN):
        return "neither a program nor a shared library"
    if _is_detached(found):
        return "a detached debug file"
    if size < found.end:
        return DAMAGED
    why = _why_not_movable(found)
    if why:
        return why
    if size > found.end:
        return _APPENDED
    if any(each.name == _INTEGRITY for each in found.sections):
        return "it holds a checksum of itself"
    if any(each.kind in (elf.SHT_REL, elf.SHT_RELA) and not each.is_loaded for each in found.sections):
        return "it holds relocations that the linker left in it"
    return foreign(found)


def foreign(found: Tables) -> str:
    """Why a file must keep its shape, if somebody put a section into it that a program may read from the file."""
    others = [each.name for each in found.sections[1:] if not each.is_loaded and not each.is_symbolic]
    name = next((name for name in others if not _KNOWN.fullmatch(name)), None)
    return (
        ""
        if name is None
        else f"it holds a section {name.decode('utf-8', 'backslashreplace')!r} that no compiler makes"
    )


def _is_detached(found: Tables) -> bool:
    """Whether the loaded parts are elsewhere: `objcopy --only-keep-debug` leaves their headers, without contents."""
    code = [each for each in found.sections if each.is_loaded and each.flags & elf.SHF_EXECINSTR and each.size]
    loads = any(each.kind == elf.PT_LOAD for each in found.segments)
    return not loads or (bool(code) and all(each.kind == elf.SHT_NOBITS for each in code))


def _why_not_movable(found: Tables) -> str:
    """Why its segments would move: strip lays them out again, as a linker does (bfd/elf.c)."""
    loads = [each for each in found.segments if each.kind == elf.PT_LOAD]
    if any(each.alignment > 1 and (each.offset - each.address) % each.alignment for each in loads):
        return "its program headers break p_offset ≡ p_vaddr (mod p_align)"
    tables = [each.offset for each in found.sections if each.name in _DYNAMIC_TABLES]
    if _is_any_inside(tables, [each for each in loads if each.flags & elf.PF_W]):
        return _PATCHED
    end = None
    for each in loads:
        if each.size:
            if end is not None and end + (each.address - end) % max(each.alignment, 1) != each.offset:
                return _PATCHED
            end = each.offset + each.size
    return ""


def _is_any_inside(offsets: Iterable[int], segments: Iterable[Segment]) -> bool:
    """Whether an offset lies in a segment. A hostile file has very many of both, so not each is tried with each."""
    spans = sorted((each.offset, each.offset + each.size) for each in segments)
    begins, ends = [begin for begin, _ in spans], list(accumulate((end for _, end in spans), max))
    places = ((each, bisect_right(begins, each)) for each in offsets)
    return any(place and ends[place - 1] > each for each, place in places)


def stripped_size(found: Tables) -> int:
    """The size in bytes of a program or library after `strip --strip-unneeded`."""
    strings = {each.link for each in found.sections if each.kind == elf.SHT_SYMTAB}
    stays = [
        each
        for at, each in enumerate(found.sections)
        if at and not each.is_symbolic and at != found.names and at not in strings
    ]
    end = max((each.offset + each.stored for each in stays if each.is_loaded), default=found.segments_at)
    end = max(end, found.segments_at + found.segment_row * len(found.segments))
    for each in stays:
        if not each.is_loaded:
            end = aligned(end, each.alignment) + each.stored
    end += _names_size([*(each.name for each in stays), b".shstrtab"])
    return aligned(end, 8 if found.wide else 4) + (64 if found.wide else 40) * (len(stays) + 2)


def aligned(offset: int, alignment: int) -> int:
    """The first multiple of an alignment that is not below an offset; the offset itself for an alignment of 0 or 1."""
    return -(-offset // alignment) * alignment if alignment > 1 else offset


def _names_size(names: Iterable[bytes]) -> int:
    """The bytes of a string table, in which a name may be stored as the end of another one (bfd/elf-strtab.c)."""
    size, longer = 1, b""
    for each in sorted({name[::-1] for name in names if name}, reverse=True):
        if not longer.startswith(each):
            size += len(each) + 1
            longer = each
    return size
