"""What an ELF file asks the loader for. Structures as in elf(5) and <elf.h>; a pure function over a reader.

pyelftools builds an object for every field and takes some ten times as long, and an image has thousands of libraries.
The tests compare the two.
"""

from __future__ import annotations

import struct

from slimagent.elf.tables import (
    LAYOUTS,
    LONGEST,
    MAGIC,
    PT_DYNAMIC,
    PT_INTERP,
    PT_LOAD,
    Read,
    Segment,
    bounded,
    segments,
    string,
)
from slimagent.model.inventory import Needs

_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 10, 15, 29
_DT_SONAME = 14
_DT_AUXILIARY, _DT_FILTER = 0x7FFFFFFD, 0x7FFFFFFF
_LIBRARIES, _SEARCH = (_DT_NEEDED, _DT_AUXILIARY, _DT_FILTER), (_DT_RPATH, _DT_RUNPATH)
# What no linker writes, so that a small file costs little memory and time. Entries may share one string.
_MOST_ENTRIES = 1 << 16  # of the dynamic section
_MOST_TEXT = 1 << 18  # bytes of all names of libraries and search paths
_MOST_LOOKUPS = 1 << 18  # libraries times directories: each library is looked for in each directory


def needs(read: Read) -> Needs | None:
    """What the file needs. None if it is not an ELF file, or is one that no loader would take, e.g. a damaged one."""
    try:
        return _needs(read)
    except (struct.error, ValueError, OverflowError):
        return None


def _needs(read: Read) -> Needs | None:
    start = read(0, 64)
    if len(start) < 16 or start[:4] != MAGIC or start[4] not in LAYOUTS or start[5] not in (1, 2):
        return None
    order, layout = "<" if start[5] == 1 else ">", LAYOUTS[start[4]]
    _, machine, _, _, table, _, _, _, size, count = struct.unpack_from(order + layout.header[:10], start, 16)
    headers = segments(read, order + layout.segment, table, size, count)
    interpreter = _only(headers, PT_INTERP)
    name = b"" if interpreter is None else _interpreter(read, interpreter)
    section = _only(headers, PT_DYNAMIC)
    dynamic = [] if section is None else _dynamic(bounded(read, section.offset, section.size), order + layout.dynamic)
    strings = _strings(read, headers, dict(dynamic))
    libraries, search = _names(strings, dynamic)
    own, kind = _own_name(strings, dict(dynamic)), machine << 8 | start[4]
    return Needs(interpreter=name, libraries=libraries, search=search, machine=kind, own_name=own)


def _only(headers: tuple[Segment, ...], kind: int) -> Segment | None:
    """The one program header of a kind. Raises ValueError for several: the kernel and loaders take different ones."""
    found = [each for each in headers if each.kind == kind]
    if len(found) > 1:
        raise ValueError("several program headers of a kind that a file has once")
    return found[0] if found else None


def _interpreter(read: Read, segment: Segment) -> bytes:
    if segment.size > LONGEST:  # the kernel does not execute such a file (load_elf_binary in fs/binfmt_elf.c)
        raise ValueError("the path of its interpreter is longer than any path")
    return bounded(read, segment.offset, segment.size).split(b"\0", 1)[0]


def _dynamic(data: bytes, shape: str) -> list[tuple[int, int]]:
    entries: list[tuple[int, int]] = []
    width = struct.calcsize(shape)
    for tag, value in struct.iter_unpack(shape, data[: len(data) // width * width]):
        if tag == _DT_NULL:
            break
        if len(entries) == _MOST_ENTRIES:
            raise ValueError("more dynamic entries than any linker writes")
        entries.append((tag, value))
    return entries


def _names(strings: bytes, dynamic: list[tuple[int, int]]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The names of libraries, and the directories to search. Raises ValueError for more than any linker writes."""
    libraries: list[bytes] = []
    search: list[bytes] = []
    left = _MOST_TEXT
    for tag, value in dynamic:
        if tag in _LIBRARIES:
            libraries.append(string(strings, value))
            left -= len(libraries[-1]) + 1
        elif tag in _SEARCH:
            text = string(strings, value, _MOST_TEXT)
            left -= len(text) + 1
            search += [directory for directory in text.split(b":") if directory]
        if left < 0:
            raise ValueError("its names of libraries and search paths are longer than any linker writes them")
    if len(libraries) * len(search) > _MOST_LOOKUPS or max(map(len, search), default=0) > LONGEST:
        raise ValueError("a search path that no loader can follow")
    return tuple(libraries), tuple(search)


def _own_name(strings: bytes, dynamic: dict[int, int]) -> bytes:
    """What the library calls itself. A loader ignores it if it is damaged, and so do we."""
    try:
        return string(strings, dynamic[_DT_SONAME])
    except (KeyError, ValueError):
        return b""


def _strings(read: Read, headers: tuple[Segment, ...], dynamic: dict[int, int]) -> bytes:
    """The dynamic string table: DT_STRTAB is an address, which a PT_LOAD segment maps to an offset."""
    address, size = dynamic.get(_DT_STRTAB, 0), dynamic.get(_DT_STRSZ, 0)
    for segment in headers:
        if segment.kind == PT_LOAD and segment.address <= address < segment.address + segment.size:
            return bounded(read, address - segment.address + segment.offset, size)
    return b""
