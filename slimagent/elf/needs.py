"""What an ELF file asks the loader for. Structures as in elf(5) and <elf.h>; a pure function over a reader.

pyelftools builds an object for every field and takes some ten times as long, and an image has thousands of libraries.
The tests compare the two.
"""

from __future__ import annotations

import struct

from slimagent.elf.tables import LAYOUTS, MAGIC, PT_DYNAMIC, PT_INTERP, PT_LOAD, Read, Segment, bounded, segments
from slimagent.model.inventory import Needs

_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 10, 15, 29
_DT_AUXILIARY, _DT_FILTER = 0x7FFFFFFD, 0x7FFFFFFF


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
    interpreter = b""
    dynamic: list[tuple[int, int]] = []
    for segment in headers:
        if segment.kind == PT_INTERP:
            interpreter = bounded(read, segment.offset, segment.size).split(b"\0", 1)[0]
        elif segment.kind == PT_DYNAMIC:
            dynamic = _dynamic(bounded(read, segment.offset, segment.size), order + layout.dynamic)
    strings = _strings(read, headers, dict(dynamic))
    return Needs(
        interpreter=interpreter,
        libraries=tuple(
            _string(strings, value) for tag, value in dynamic if tag in (_DT_NEEDED, _DT_AUXILIARY, _DT_FILTER)
        ),
        search=tuple(
            directory
            for tag, value in dynamic
            if tag in (_DT_RPATH, _DT_RUNPATH)
            for directory in _string(strings, value).split(b":")
            if directory
        ),
        machine=machine << 8 | start[4],
    )


def _dynamic(data: bytes, shape: str) -> list[tuple[int, int]]:
    entries = []
    width = struct.calcsize(shape)
    for tag, value in struct.iter_unpack(shape, data[: len(data) // width * width]):
        if tag == _DT_NULL:
            break
        entries.append((tag, value))
    return entries


def _strings(read: Read, headers: tuple[Segment, ...], dynamic: dict[int, int]) -> bytes:
    """The dynamic string table: DT_STRTAB is an address, which a PT_LOAD segment maps to an offset."""
    address, size = dynamic.get(_DT_STRTAB, 0), dynamic.get(_DT_STRSZ, 0)
    for segment in headers:
        if segment.kind == PT_LOAD and segment.address <= address < segment.address + segment.size:
            return bounded(read, address - segment.address + segment.offset, size)
    return b""


def _string(table: bytes, offset: int) -> bytes:
    end = table.find(0, offset)
    if offset >= len(table) or end < 0:
        raise ValueError("a string lies outside its table")
    return table[offset:end]
