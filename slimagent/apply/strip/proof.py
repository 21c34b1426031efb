"""Prove that every loader sees a stripped file as the file that it was. Pure, over two readers.

A loader reads an ELF file's header, the program headers and the bytes of the segments (elf(5), ld.so(8)). All of these
must be equal. Tools read the section headers: there all must be equal but symbols and debugging information.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from slimagent.elf import tables as elf
from slimagent.elf.equal import same
from slimagent.elf.tables import Read, Section, Segment, Tables

# GPU code that compilers embed (CUDA fat binaries, HIP, OpenMP offloading).
_GPU = re.compile(rb"\.(?:nv|hip|omp_offloading|llvm\.offloading)|__nv_|__CLANG_OFFLOAD", re.DOTALL)
_VERSIONS = (b".gnu.version", b".gnu.version_d", b".gnu.version_r", b".gnu.hash", b".hash", b".dynstr")
_BUILD_ID = b".note.gnu.build-id"
_MERGED = b".gnu.build.attributes"  # strip merges equal notes (strip(1), --merge-notes)

_DAMAGED = "its headers came out damaged"


def difference(before: Read, after: Read) -> str:
    """The first difference between a file and its stripped copy, or nothing. Reads a megabyte at a time."""
    old, new = elf.tables(before), elf.tables(after)
    if old is None or new is None:
        return _DAMAGED
    return (
        _headers(old, new, before, after)
        or _sections(old, new, before, after)
        or ("" if _equal(_loaded(old), before, after) else "what is loaded of it came out different")
    )


def _headers(old: Tables, new: Tables, before: Read, after: Read) -> str:
    if old.header != new.header or _masked(before(0, old.header), old) != _masked(after(0, new.header), new):
        return "its ELF header came out different"
    if list(map(_normal, old.segments)) != list(map(_normal, new.segments)):
        return "its program headers came out different"
    for each in new.segments:
        if each.kind == elf.PT_LOAD and each.alignment > 1 and (each.offset - each.address) % each.alignment:
            return "its program headers break p_offset ≡ p_vaddr (mod p_align)"
    return ""


def _normal(segment: Segment) -> Segment:
    """A program header as loaders read it: they round the size of thread-local storage up to its alignment.

    Gold writes it rounded, binutils exact (Drepper, "ELF Handling For Thread-Local Storage", 3.4).
    """
    if segment.kind != elf.PT_TLS or segment.alignment < 2:
        return segment
    return segment._replace(memory=-(-segment.memory // segment.alignment) * segment.alignment)


def _masked(header: bytes, found: Tables) -> bytes:
    """An ELF header without what it says of section headers: their offset, number, and the index of their names."""
    place, numbers = (slice(40, 48), slice(60, 64)) if found.wide else (slice(32, 36), slice(48, 52))
    data = bytearray(header)
    for each in (place, numbers):
        data[each] = bytes(each.stop - each.start)
    return bytes(data)


def _sections(old: Tables, new: Tables, before: Read, after: Read) -> str:
    """The first difference in the sections that stay, in plain words."""
    here, there = _staying(old), _staying(new)
    if [each.name for each in here] != [each.name for each in there]:
        return "it came out with other sections"
    for one, other in zip(here, there, strict=True):
        if one.is_loaded and _place(one) != _place(other):
            return f"{_called(one)} came out in another place"
        if one.name == _MERGED:
            continue
        if one.stored != other.stored or not same(before, one.offset, after, other.offset, one.stored):
            return f"{_called(one)} came out different"
    return ""


def _staying(found: Tables) -> list[Section]:
    """The sections that strip keeps. It writes new tables of names."""
    return [
        each
        for each in found.sections[1:]
        if not each.is_symbolic and (each.is_loaded or each.kind != elf.SHT_STRTAB) and each.kind
    ]


def _place(section: Section) -> tuple[int, ...]:
    offset = section.offset if section.stored else 0  # means nothing if no bytes are stored
    return section.kind, section.address, offset, section.size


def _called(section: Section) -> str:
    if section.kind == elf.SHT_DYNAMIC:
        return "its dynamic section, which has the libraries that it needs,"
    if section.kind == elf.SHT_DYNSYM or section.name in _VERSIONS:
        return "the table of the symbols that it exports"
    if section.kind == elf.SHT_NOTE and section.name == _BUILD_ID:
        return "its build id"
    name = section.name.decode("utf-8", "backslashreplace")
    return f"its GPU code ({name})" if _GPU.match(section.name) else f"its section {name}"


def _loaded(found: Tables) -> Iterator[tuple[int, int]]:
    """The parts of the file that lie in segments, as (offset, end), each byte once.

    The header and the program headers are left out: `_headers` compares them.
    """
    cuts = sorted([(0, found.header), (found.segments_at, found.segments_at + found.segment_row * len(found.segments))])
    end = 0
    for begin, stop in sorted((each.offset, each.offset + each.size) for each in found.segments):
        begin = max(begin, end)
        end = max(end, stop)
        for cut, cut_end in cuts:
            if begin < cut_end and cut < stop:
                if begin < cut:
                    yield begin, cut
                begin = cut_end
        if begin < stop:
            yield begin, stop


def _equal(parts: Iterable[tuple[int, int]], before: Read, after: Read) -> bool:
    return all(same(before, begin, after, begin, end - begin) for begin, end in parts)
