"""What a loader makes of a library with GPU code, for the proof: addresses, rights and bytes. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from slimagent.elf import tables as elf
from slimagent.elf.equal import CHUNK
from slimagent.elf.tables import Read, Segment, Tables
from slimagent.gpu.containers import Code, Container, gpu_code
from slimagent.gpu.layouts import PAGE
from slimagent.gpu.spans import Span, inside, outside

# Of a 64-bit ELF file: the bytes of its header and of a section header, and where the header says where they are.
HEADER, _SECTION, _SECTIONS_AT = 64, 64, 40

DAMAGED = "its headers came out damaged"
LOADED = "what is loaded of it came out different"


class DifferenceError(Exception):
    """The first difference that was found, in plain words."""


class File:
    """One of the two files: what a loader makes of it, and its containers by section.

    `table` is where its program headers begin and end in the file, `headers` where its section headers do. `gpu` are
    the addresses of its GPU code, in order.
    """

    def __init__(self, read: Read) -> None:
        self.read = read
        found = elf.tables(read)
        if found is None or not found.wide:
            raise DifferenceError(DAMAGED)
        if len(read(found.end - 1, 1)) != 1:  # a program ends where it reads what is mapped and not there
            raise DifferenceError("it is cut short")
        self.tables: Tables = found
        self.codes: tuple[Code, ...] = gpu_code(read, found)
        self.loads = [each for each in found.segments if each.kind == elf.PT_LOAD]
        self.sections = [found.sections[each.section] for each in self.codes]
        self.gpu = sorted((each.address, each.address + each.size) for each in self.sections)
        self.table = found.segments_at, found.segments_at + found.segment_row * len(found.segments)
        sections_at = int.from_bytes(read(_SECTIONS_AT, 8), "little")
        self.headers = sections_at, sections_at + _SECTION * len(found.sections)

    def spans(self) -> Iterator[Span]:
        """What is loaded, in the order of addresses. Raises DifferenceError for what no loader takes.

        Loaders map whole pages: of a page that two segments share, only what the second has is seen. A segment of no
        size can have a page, too. No linker makes either.
        """
        end = 0
        for each in self.loads:
            is_apart = each.address // PAGE * PAGE >= end
            if not is_apart or not each.memory or each.size > each.memory or not _is_aligned(each):
                raise DifferenceError("its program headers came out wrong")
            end = each.address + each.memory
            if each.size:
                yield Span(each.address, each.address + each.size, each.flags, each.offset)
            if each.memory > each.size:
                yield Span(each.address + each.size, end, each.flags, -1)

    def place(self, address: int) -> int:
        """Where an address that is loaded from the file lies in it."""
        for each in self.loads:
            if each.address <= address < each.address + each.size:
                return address - each.address + each.offset
        raise DifferenceError(LOADED)

    def container_address(self, code: Code, container: Container) -> int:
        """The address of a container."""
        section = self.tables.sections[code.section]
        return container.offset - section.offset + section.address


def _is_aligned(segment: Segment) -> bool:
    alignment = segment.alignment
    return (
        alignment > 0
        and alignment % PAGE == 0
        and not alignment & (alignment - 1)
        and (segment.offset - segment.address) % alignment == 0
    )


def see_gpu_code(old: File, new: File) -> None:
    """See that the GPU code in memory is that of the sections, before and after, and that nothing is in its stead."""
    if any(end > begin for (_, end), (begin, _) in zip(old.gpu, old.gpu[1:], strict=False)):
        raise DifferenceError("its sections of GPU code lie in each other")
    for file in (old, new):
        for section in file.sections:
            held = 0
            for part in inside(file.spans(), [(section.address, section.address + section.size)]):
                if part.offset < 0 or part.offset - section.offset != part.begin - section.address:
                    raise DifferenceError("its GPU code is not what a loader sees in its place")
                held += part.end - part.begin
            if held != section.size:
                raise DifferenceError("its GPU code is not loaded as a whole")
    for part in outside(inside(new.spans(), old.gpu), new.gpu):
        if not _is_empty(new, part):
            raise DifferenceError("something else came out in the place of its GPU code")


def _is_empty(file: File, span: Span) -> bool:
    """Whether nothing is loaded there from the file but zeros and the program headers."""
    if span.offset < 0:
        return False
    low, high = (span.begin + each - span.offset for each in file.table)
    for part in outside(iter((span,)), [(low, high)]):
        for at in range(part.begin, part.end, CHUNK):
            count = min(CHUNK, part.end - at)
            if file.read(part.offset + at - part.begin, count).strip(b"\0"):
                return False
    return True
