"""What an ELF file asks the loader for. Structures as in elf(5) and <elf.h>; a pure function over a reader.

Not pyelftools: it builds an object for every field and takes some ten times as long (docs/architecture.md),
and an image has thousands of libraries. The tests hold the two against each other.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from slimagent.model.inventory import Needs

Read = Callable[[int, int], bytes]  # (offset, size) -> bytes, shorter at the end of the file

MAGIC = b"\x7fELF"
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 10, 15, 29
_DT_AUXILIARY, _DT_FILTER = 0x7FFFFFFD, 0x7FFFFFFF
_FARTHEST = 1 << 62  # pread(2) refuses offsets near the end of its range: those are no error of the disk
_LIMIT = 1 << 24  # bytes: no table that a loader reads is larger; a hostile header must not make us read gigabytes


class _Class(NamedTuple):
    """The layout of one ELF class: header fields from e_type on, a program header, a dynamic entry."""

    header: str
    segment: str
    dynamic: str


_CLASSES = {1: _Class("HHIIIIIHHH", "IIIIIIII", "iI"), 2: _Class("HHIQQQIHHH", "IIQQQQQQ", "qQ")}


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


def needs(read: Read) -> Needs | None:
    """What the file needs, or None if it is not an ELF file that a loader would take (damaged ones too)."""
    try:
        return _needs(read)
    except (struct.error, ValueError, OverflowError):
        return None


def _needs(read: Read) -> Needs | None:
    start = read(0, 64)
    if len(start) < 16 or start[:4] != MAGIC or start[4] not in _CLASSES or start[5] not in (1, 2):
        return None
    order, layout = "<" if start[5] == 1 else ">", _CLASSES[start[4]]
    fields = struct.unpack_from(order + layout.header, start, 16)
    machine = fields[1]
    segments = _segments(read, order, layout, table=fields[4], size=fields[8], count=fields[9])
    interpreter = b""
    dynamic: list[tuple[int, int]] = []
    for segment in segments:
        if segment.kind == _PT_INTERP:
            interpreter = _bounded(read, segment.offset, segment.size).split(b"\0", 1)[0]
        elif segment.kind == _PT_DYNAMIC:
            dynamic = _dynamic(_bounded(read, segment.offset, segment.size), order + layout.dynamic)
    strings = _strings(read, segments, dict(dynamic))
    return Needs(
        interpreter=interpreter,
        libraries=tuple(
            _string(strings, value) for tag, value in dynamic if tag in (_DT_NEEDED, _DT_AUXILIARY, _DT_FILTER)
        ),
        search=tuple(
            folder
            for tag, value in dynamic
            if tag in (_DT_RPATH, _DT_RUNPATH)
            for folder in _string(strings, value).split(b":")
            if folder
        ),
        machine=machine << 8 | start[4],
    )


def _segments(read: Read, order: str, layout: _Class, *, table: int, size: int, count: int) -> list[_Segment]:
    shape = struct.Struct(order + layout.segment)
    if count and size < shape.size:
        raise ValueError("program headers are too small")
    data = _bounded(read, table, size * count)
    segments = []
    for place in range(count):
        fields = shape.unpack_from(data, place * size)
        if len(layout.segment) == 8 and layout.segment[2] == "Q":  # 64 bits: p_flags comes second
            kind, _, offset, address, _, length = fields[:6]
        else:
            kind, offset, address, _, length = fields[:5]
        segments.append(_Segment(kind, offset, address, length))
    return segments


def _dynamic(data: bytes, shape: str) -> list[tuple[int, int]]:
    entries = []
    width = struct.calcsize(shape)
    for tag, value in struct.iter_unpack(shape, data[: len(data) // width * width]):
        if tag == _DT_NULL:
            break
        entries.append((tag, value))
    return entries


def _strings(read: Read, segments: list[_Segment], dynamic: dict[int, int]) -> bytes:
    """The dynamic string table: DT_STRTAB is an address, which a PT_LOAD segment maps to an offset."""
    address, size = dynamic.get(_DT_STRTAB, 0), dynamic.get(_DT_STRSZ, 0)
    for segment in segments:
        if segment.kind == _PT_LOAD and segment.address <= address < segment.address + segment.size:
            return _bounded(read, address - segment.address + segment.offset, size)
    return b""


def _string(table: bytes, offset: int) -> bytes:
    end = table.find(0, offset)
    if offset >= len(table) or end < 0:
        raise ValueError("a string lies outside its table")
    return table[offset:end]


def _bounded(read: Read, offset: int, size: int) -> bytes:
    if size > _LIMIT or offset > _FARTHEST:
        raise ValueError("a table is larger, or lies farther, than any loader reads")
    return read(offset, size)
