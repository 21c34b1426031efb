"""Which shared libraries have a layout that GPU code can be cut out of, and why the others have not. Pure."""

from __future__ import annotations

from slimagent.elf import tables as elf
from slimagent.elf.sections import foreign
from slimagent.elf.tables import Section, Segment, Tables
from slimagent.gpu.architectures import Target
from slimagent.gpu.choice import unserved
from slimagent.gpu.containers import Code

PAGE = 4096  # of x86-64, the one processor that was measured
_X86_64 = 62
_MOST_SEGMENTS, _MOST_SECTIONS = 64, 1024
_MOST_SEARCHED = 1 << 32  # bytes of code, and of data; the largest library seen has 0.4 GB
_LONGEST = 1 << 33  # bytes; addresses in a shared library are 2 GB apart at most, or 4 GB with a large model's data
_INTEGRITY = b".note.fdo.integrity"


def why_not(found: Tables, size: int, codes: tuple[Code, ...]) -> str:
    """Why nothing can be cut out of a file of `size` bytes with this GPU code; empty if something can."""
    if not codes:
        return "it has no GPU code"
    if found.machine != _X86_64 or not found.wide:
        return "it is for a processor other than x86-64, the only one that was measured"
    if found.kind != elf.ET_DYN:
        return "not a shared library: addresses in it are fixed"
    if size < found.end:
        return "it is cut short"
    if any(each.name == _INTEGRITY for each in found.sections):
        return "it holds a checksum of itself"
    if any(each.kind in (elf.SHT_REL, elf.SHT_RELA) and not each.is_loaded for each in found.sections):
        return "it holds relocations that the linker left in it"
    why = foreign(found) or _why_not_searched(found, size, len(codes))
    if why:
        return why
    unknown = next((each.why for each in codes if each.why), "")
    if unknown:
        return f"its GPU code is not understood: {unknown}"
    if any(_has_gaps(found, each) for each in codes):
        return "its GPU code has gaps, which something else may use"
    return next((why for each in codes if (why := _why_not_here(found, each.section))), "")


def _why_not_searched(found: Tables, size: int, count: int) -> str:
    """Why its code cannot be searched for references in bounded time."""
    if len(found.segments) + count > _MOST_SEGMENTS or len(found.sections) > _MOST_SECTIONS:
        return "it has more segments or sections than any linker makes"
    if sum(each.stored for each in found.sections) > size:
        return "its sections overlap"
    searched = sum(each.size for each in found.segments if each.kind == elf.PT_LOAD and each.flags & elf.PF_X)
    if searched > size:
        return "its segments overlap"  # the search for references would read the same code again and again
    data = sum(each.size for each in found.sections if each.kind == elf.SHT_PROGBITS and each.is_loaded)
    if max(searched, data) > _MOST_SEARCHED or size > _LONGEST:  # a hole can have any size
        return "it is longer than any library"
    return ""


def _has_gaps(found: Tables, code: Code) -> bool:
    """Whether there are more zeros between containers, or after the last, than any alignment needs."""
    section = found.sections[code.section]
    ends = [section.offset, *(each.offset + each.size for each in code.containers)]
    begins = [*(each.offset for each in code.containers), section.offset + section.size]
    return any(begin - end >= PAGE for end, begin in zip(ends, begins, strict=True))


def why_not_for(codes: tuple[Code, ...], target: Target) -> str:
    """Why a file with this GPU code is left alone for a target: it has no code for a GPU of it."""
    lacking = unserved(codes, target)
    return f"it has no code for {', '.join(f'sm_{each}' for each in lacking)}" if lacking else ""


def _why_not_here(found: Tables, at: int) -> str:
    """Why nothing can be cut out of a section: it must lie alone in one loaded segment."""
    section = found.sections[at]
    shared = "its GPU code shares its place with something else"
    loads = [each for each in found.segments if each.kind == elf.PT_LOAD]
    if [each.address for each in loads] != sorted(each.address for each in loads):
        return "its segments are not in order"
    inside = [each for each in loads if _within(section, each)]
    if len(inside) != 1 or section.address - section.offset != inside[0].address - inside[0].offset:
        return shared
    if not inside[0].flags & elf.PF_R:  # loaders read the program headers, which move there
        return "its GPU code lies in a segment that cannot be read"
    if any(each is not inside[0] and _touch(section.offset, section.size, each.offset, each.size) for each in loads):
        return shared
    for other in found.segments:
        if other.kind not in (elf.PT_LOAD, elf.PT_PHDR) and _touch(
            section.address, section.size, other.address, other.memory
        ):
            return shared
    for number, each in enumerate(found.sections):
        if number != at and each.stored and _touch(section.offset, section.size, each.offset, each.stored):
            return shared
    if _touch(section.offset, section.size, found.segments_at, found.segment_row * len(found.segments)):
        return shared
    return ""


def _within(section: Section, segment: Segment) -> bool:
    return segment.offset <= section.offset and section.offset + section.size <= segment.offset + segment.size


def _touch(one: int, size: int, other: int, length: int) -> bool:
    return one < other + length and other < one + size
