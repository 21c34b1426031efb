"""Read CUDA fat binaries: the containers of GPU code in an ELF file's sections, and what each holds. Pure.

NVIDIA does not publish the format. What is read here was measured on the libraries of CUDA 11 to 13 and is compared
with `cuobjdump` in the tests. A container is a header of 16 bytes (magic number, version 1, 16, the size of what
follows) and its pieces. A piece is a header of 64 bytes or more and the code: machine code (an ELF file, "cubin"), PTX
(text), or an intermediate form for link time. Numbers are little endian; everything is aligned to 8 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from slimagent.elf.tables import SHF_EXECINSTR, SHT_NOBITS, SHT_STRTAB, Read, Section, Tables
from slimagent.gpu.architectures import EXACT, FAMILY, Architecture

SECTIONS = (b".nv_fatbin", b"__nv_relfatbin")
ALIGNMENT = 8
HEADER = struct.Struct("<IHHQ")
MAGIC = 0xBA55ED50
_PIECE = struct.Struct("<HHIQIIHHIIIQQQ")
_VERSION, _PIECE_VERSION = 1, 0x101
_LARGEST_HEADER = 4096  # bytes; seen: 64, and more where the options of PTX are stored
_MOST = 1 << 18  # pieces of one file; the largest library seen has 12,000
_MOST_SECTIONS = 4  # of GPU code in one file; linkers make one of each name
_LARGEST_SECTION = 1 << 34  # bytes; a file with holes can claim any size
_HIGHEST = 999  # the number of an architecture has two or three digits
_FEW, _MANY = 64, 1 << 20  # bytes that are read at once to find the end of zeros

_PTX, _CUBIN, _LTO_IR = 1, 2, 8
_LZ4, _ZSTD = 0x2000, 0x8000
_EXACT, _FAMILY = 0x100000, 0x200000
# 64-bit, with debugging information, for Linux, compressed, with a suffix, the ABI of sm_100 and later.
_FLAGS = 0x1 | 0x2 | 0x10 | _LZ4 | _ZSTD | _EXACT | _FAMILY | 0x1000000
_ALWAYS = 0x1 | 0x10  # of all machine code and PTX: whether a loader chooses code without them was not measured
_LTO_IR_FLAG = 0x10000  # of all LTO-IR
_ELF, _ZSTD_FRAME = b"\x7fELF", b"\x28\xb5\x2f\xfd"


class Form(Enum):
    """What a piece of GPU code is."""

    CUBIN = "cubin"
    PTX = "ptx"
    OTHER = "other"  # LTO-IR: it is compiled when it is linked; which of it a loader chooses is not published


_FORMS = {_PTX: Form.PTX, _CUBIN: Form.CUBIN, _LTO_IR: Form.OTHER}


class Piece(NamedTuple):
    """A piece of GPU code. `offset` is where its header lies in the file, `size` its bytes with the header."""

    form: Form
    architecture: Architecture
    offset: int
    size: int


class Container(NamedTuple):
    """A container at `offset` in the file, `size` bytes with its header. `why` says what is not understood in it."""

    offset: int
    size: int
    pieces: tuple[Piece, ...]
    why: str = ""


class Code(NamedTuple):
    """The GPU code of one section: its index, and its containers in the order of the file.

    `why` says why the rest of the section, after the last container, is not understood.
    """

    section: int
    containers: tuple[Container, ...]
    why: str = ""


class UnknownError(ValueError):
    """A header that is not one of those that were measured."""


def gpu_code(read: Read, found: Tables) -> tuple[Code, ...]:
    """The GPU code in each section that has some."""
    codes: list[Code] = []
    left = _MOST
    for at, section in enumerate(found.sections):
        if section.name in SECTIONS and section.kind != SHT_NOBITS and section.size:
            if len(codes) == _MOST_SECTIONS:
                codes.append(Code(at, (), "it has more sections than any linker makes"))
                break
            code = _section(read, at, section, left)
            left -= sum(1 + len(each.pieces) for each in code.containers)
            codes.append(code)
    return tuple(codes)


def _section(read: Read, at: int, section: Section, left: int) -> Code:
    if section.kind == SHT_STRTAB or section.flags & SHF_EXECINSTR or not section.is_loaded:
        return Code(at, (), "the section is not one of loaded data")
    if section.size > _LARGEST_SECTION:
        return Code(at, (), "the section is larger than any linker makes it")
    containers: list[Container] = []
    try:
        for each in _containers(read, section.offset, section.offset + section.size):
            left -= 1 + len(each.pieces)
            if left < 0:
                return Code(at, tuple(containers), "it has more pieces than any compiler makes")
            containers.append(each)
    except (ValueError, struct.error, OverflowError, OSError) as error:  # OSError: an offset that no file has
        return Code(at, tuple(containers), str(error) or "it is cut short")
    return Code(at, tuple(containers))


def _containers(read: Read, offset: int, end: int) -> Iterator[Container]:
    """The containers between two offsets, with nothing but zeros between them."""
    while offset < end:
        header = read(offset, min(HEADER.size, end - offset))
        if len(header) == HEADER.size and not any(header[:ALIGNMENT]):
            offset = _after_zeros(read, offset, end)
            continue
        if len(header) < HEADER.size:
            if any(header) or not header:
                raise UnknownError("a container is cut short")
            return
        magic, version, size, following = HEADER.unpack(header)
        if magic != MAGIC or version != _VERSION or size != HEADER.size:
            raise UnknownError("a container has an unknown header")
        stop = offset + size + following
        if stop > end or following % ALIGNMENT:
            raise UnknownError("a container is longer than its section")
        yield _container(read, offset, stop)
        offset = stop


def _after_zeros(read: Read, offset: int, end: int) -> int:
    """Where the first word that is not zero lies. There are few zeros between containers, or very many."""
    step = _FEW
    while offset < end:
        data = read(offset, min(step, end - offset))
        rest = data.lstrip(b"\0")
        if rest or not data:
            return offset + (len(data) - len(rest)) // ALIGNMENT * ALIGNMENT
        offset += len(data)
        step = min(2 * step, _MANY)
    return end


def _container(read: Read, offset: int, stop: int) -> Container:
    pieces: list[Piece] = []
    at = offset + HEADER.size
    try:
        while at < stop and len(pieces) < _MOST:
            pieces.append(_piece(read, at, stop))
            at += pieces[-1].size
    except (ValueError, struct.error) as error:
        return Container(offset, stop - offset, (), str(error) or "a piece is cut short")
    if at != stop:
        return Container(offset, stop - offset, (), "it has more pieces than any compiler makes")
    return Container(offset, stop - offset, tuple(pieces))


def _piece(read: Read, at: int, stop: int) -> Piece:
    row = read(at, min(_PIECE.size + 4, stop - at))
    kind, version, header, following, stored, _, _, _, number, _, _, flags, _, whole = _PIECE.unpack_from(row)
    size = header + following
    if version != _PIECE_VERSION or not _PIECE.size <= header <= _LARGEST_HEADER or header % ALIGNMENT:
        raise UnknownError("a piece has an unknown header")
    if following % ALIGNMENT or not following or at + size > stop:
        raise UnknownError("a piece is longer than its container")
    form = _FORMS.get(kind)
    if form is None:  # e.g. 0x100: several cubins that were compressed as one, by `nvcc --concat` of CUDA 13.5
        raise UnknownError(f"a piece is of an unknown kind, {kind:#x}")
    if number > _HIGHEST:
        raise UnknownError("a piece is for an unknown architecture")
    packed = flags & (_LZ4 | _ZSTD)
    if (
        flags & ~(_FLAGS | (_LTO_IR_FLAG if form is Form.OTHER else 0))
        or (form is not Form.OTHER and flags & _ALWAYS != _ALWAYS)
        or packed == _LZ4 | _ZSTD
        or flags & (_EXACT | _FAMILY) == _EXACT | _FAMILY
    ):
        raise UnknownError(f"a piece has unknown flags, {flags:#x}")
    if packed and (not whole or stored > following):
        raise UnknownError("a compressed piece has impossible sizes")
    suffix = EXACT if flags & _EXACT else FAMILY if flags & _FAMILY else ""
    start = read(at + header, 4)
    known = _ZSTD_FRAME if packed == _ZSTD else _ELF if form is Form.CUBIN and not packed else start
    if start != known and form is not Form.OTHER:  # LTO-IR is scrambled
        raise UnknownError("a piece does not hold what its header says")
    return Piece(form, Architecture(number, suffix), at, size)
