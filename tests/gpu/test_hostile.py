"""Files that a linker does not make: they are left alone, with the reason, in little time and memory.

They need a C compiler, and no compiler of NVIDIA's.
"""

from __future__ import annotations

import os
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from fat_binaries import Part, container
from plan_images import compiler

from slimagent.elf.tables import PF_R, PT_LOAD, Segment, Tables, tables
from slimagent.gpu.architectures import Target
from slimagent.gpu.containers import Code, gpu_code
from slimagent.gpu.proof import _is_table_readable, difference
from slimagent.gpu.references import references
from slimagent.gpu.rewrite import rewrite

from .test_containers import reader
from .test_rewrite import applied

H100, NO_GPU = Target((90,)), Target(())
WIDE = container([Part("sm_80"), Part("sm_90")])
SECTION, SEGMENT = struct.Struct("<IIQQQQIIQQ"), struct.Struct("<IIQQQQQQ")
PT_DYNAMIC, SECONDS = 2, 20.0
FLAGS = 16 + 40  # where those of the first piece are: after the header of its container


def library(place: Path, *lines: str, flags: str = "a", code: str = "", options: tuple[str, ...] = ()) -> Path:
    """A library with one container of two pieces and its wrapper, and with these lines of assembler in `.data`."""
    (place / "container").write_bytes(WIDE)
    text = [
        f'.section .nv_fatbin,"{flags}",@progbits',
        ".balign 8",
        "before:",
        f'container: .incbin "{place / "container"}"',
        *([code] if code else []),
        '.section .nvFatBinSegment,"aw",@progbits',
        ".quad 0x1466243b1, container, 0",
        ".data",
        ".balign 8",
        *lines,
        ".text",
        ".globl host",
        "host: ret",
        '.section .note.GNU-stack,"",@progbits',
        "",
    ]
    source, made = place / "source.s", place / "made.so"
    source.write_text("\n".join(text))
    subprocess.run([compiler(), "-nostdlib", "-shared", *options, source, "-o", made], check=True)
    return made


def answer(path: Path, target: Target = H100) -> str:
    """Why a library is left alone; empty if it is rewritten, and proved."""
    found, read = tables(reader(path)), reader(path)
    assert found is not None
    made = rewrite(read, found, path.stat().st_size, target)
    if isinstance(made, str):
        assert made.isprintable()
        return made
    new = applied(path.read_bytes(), made)
    return difference(read, lambda offset, size: new[offset : offset + size], target)


def changed(path: Path, change: Callable[[bytearray, Tables], None]) -> Path:
    """The library with something changed in it."""
    found, data = tables(reader(path)), bytearray(path.read_bytes())
    assert found is not None
    change(data, found)
    path.write_bytes(data)
    return path


def test_an_honest_one_is_rewritten(tmp_path: Path) -> None:
    """So what the other tests change is why theirs are not."""
    assert answer(library(tmp_path)) == ""


@pytest.mark.parametrize(
    ("lines", "flags", "code", "why"),
    [
        ([], "aw", ".quad 0, host", "writes into"),
        ([".quad before + 8"], "a", "", "nothing to save"),
        ([".globl zeros", "zeros = gap"], "a", "gap: .zero 16", "where there is none"),
        ([".quad gap"], "a", "gap: .zero 16", "where there is none"),
        ([], "a", ".zero 200000", "gaps"),
    ],
    ids=["written", "middle", "symbol-of-gap", "pointer-to-gap", "zeros"],
)
def test_other_references_keep_the_code_in_its_place(
    lines: list[str], flags: str, code: str, why: str, tmp_path: Path
) -> None:
    """Relocations that write into it, that lead into it, or to the zeros in its section."""
    path = library(tmp_path, *lines, flags=flags, code=code)
    assert why in answer(path)
    assert why in answer(path, NO_GPU)


KEEPING = {
    "load": [".text", "mov container(%rip), %eax"],
    "compare-8": [".text", "cmpb $7, container(%rip)"],
    "compare-16": [".text", "cmpw $700, container(%rip)"],
    "compare-32": [".text", "cmpl $70000, container(%rip)"],
    "compare-text": [".text", "pcmpestri $1, container(%rip), %xmm0"],
    "shuffle": [".text", "shufps $1, container(%rip), %xmm0"],
    "vector": [".text", "vpermilps $1, container(%rip), %ymm0"],
    "wide-vector": [".text", "vpternlogd $1, container(%rip), %zmm1, %zmm0"],
    "address": [".text", "lea container(%rip), %rax"],
    "address-of-piece": [".text", "lea container+16(%rip), %rax"],
    "size-in-header": [".text", "mov container+8(%rip), %rax"],
    "first-piece": [".text", "movups container+16(%rip), %xmm0"],
    "address-of-end": [".text", "lea end(%rip), %rax"],
    "far": [".text", "lea _GLOBAL_OFFSET_TABLE_(%rip), %rbx", "movabs $container@GOTOFF, %rax"],
    "distance": ['.section .rodata,"a",@progbits', ".balign 4", ".long 1, 2, container - ."],
    "pointer-and-size": [".quad container, 100"],
    "pointer-to-end": [".quad end"],
    "exported": [".globl blob", ".type blob, @object", ".set blob, before", ".size blob, end - before"],
    "exported-before": [".globl blob", ".type blob, @object", ".set blob, before - 64", ".size blob, 65"],
}


@pytest.mark.parametrize("lines", KEEPING.values(), ids=KEEPING)
def test_what_anything_but_its_wrapper_refers_to_stays_whole(lines: list[str], tmp_path: Path) -> None:
    """How long it is may be known there. The end of all GPU code counts as well."""
    path = library(tmp_path, *lines, code="end:", options=("-Wl,-z,noseparate-code",))
    assert "nothing to save" in answer(path)
    assert "nothing to save" in answer(path, NO_GPU)


@pytest.mark.parametrize("neighbour", [False, True])
def test_who_refers_to_one_container_may_find_the_others(neighbour: bool, tmp_path: Path) -> None:
    """From its start, or by a loop that ends where the section ends, also if another one begins there."""
    behind = ['.section .rodata.behind,"a",@progbits', ".balign 8", ".quad 7", ".data"] if neighbour else []
    (tmp_path / "second").write_bytes(WIDE)
    more = f'second: .incbin "{tmp_path / "second"}"\nend:'
    wrapper = ['.section .nvFatBinSegment,"aw",@progbits', ".quad 0x1466243b1, second, 0", ".data"]
    assert answer(library(tmp_path, *wrapper, *behind, code=more)) == ""
    for name in ("container", "second", "end"):
        code = [".text", f"lea {name}(%rip), %rax", ".data"]
        assert "nothing to save" in answer(library(tmp_path, *wrapper, *behind, *code, code=more)), name


def test_a_table_that_is_not_there_is_no_table_in_a_header(tmp_path: Path) -> None:
    """GNU ld writes DT_RELA 0 where all relocations are relative and packed."""
    pack = "-Wl,-z,pack-relative-relocs"
    probe = subprocess.run([compiler(), "-Wl,--help"], capture_output=True, text=True, check=False).stdout
    if "pack-relative-relocs" not in probe:
        pytest.skip("this linker packs no relocations")
    assert answer(library(tmp_path, options=(pack,))) == ""


def test_sections_are_few_and_apart(tmp_path: Path) -> None:
    """Each of many over the same bytes would be searched."""

    def twice(data: bytearray, found: Tables) -> None:
        (at, text) = next((at, each) for at, each in enumerate(found.sections) if each.name == b".nv_fatbin")
        where = struct.unpack_from("<Q", data, 40)[0] + (at + 1) * SECTION.size
        row = list(SECTION.unpack_from(data, where))
        row[4:6] = text.offset, text.size
        SECTION.pack_into(data, where, *row)

    assert answer(changed(library(tmp_path), twice)) == "its sections overlap"


@pytest.mark.parametrize("planted", [0, 40])
def test_as_few_distances_as_chance_finds_in_much_data_count_as_chance(planted: int, tmp_path: Path) -> None:
    """As in NVIDIA's largest libraries, which have thousands of containers and a hundred megabytes of data."""
    count, random = 20_000, Random(1).randbytes(2 << 20)  # noqa: S311
    small = container([Part("sm_80", 128), Part("sm_90", 128)])
    (tmp_path / "small").write_bytes(small)
    (tmp_path / "random").write_bytes(random)
    lines = [
        ".balign 8", f'.incbin "{tmp_path / "random"}"', ".set at, 0",
        f".rept {planted}", f".long many + {len(small)} * (100 + at) - .", ".set at, at + 1", ".endr",
        '.section .nvFatBinSegment,"aw",@progbits', ".set at, 0",
        f".rept {count}", f".quad 0x1466243b1, many + {len(small)} * at, 0", ".set at, at + 1", ".endr", ".data",
    ]  # fmt: skip
    path = library(tmp_path, *lines, code=f'many:\n.rept {count}\n.incbin "{tmp_path / "small"}"\n.endr')
    read = reader(path)
    found = tables(read)
    assert found is not None
    whole = references(read, found, gpu_code(read, found)).whole
    assert (len(whole) >= planted) if planted else not whole


@pytest.mark.parametrize("flag", [0x1, 0x10])
def test_code_without_a_flag_that_all_code_has_is_not_understood(flag: int, tmp_path: Path) -> None:
    """Whether a loader chooses such a piece was not measured."""

    def without(data: bytearray, found: Tables) -> None:
        (section,) = (each for each in found.sections if each.name == b".nv_fatbin")
        data[section.offset + FLAGS] &= ~flag

    read = reader(changed(library(tmp_path), without))
    found = tables(read)
    assert found is not None
    assert "unknown flags" in gpu_code(read, found)[0].containers[0].why


def test_a_section_that_no_compiler_makes_keeps_the_shape(tmp_path: Path) -> None:
    """A program may read it from the file."""
    path = library(tmp_path)
    (tmp_path / "payload").write_bytes(b"payload")
    subprocess.run(["objcopy", "--add-section", f"payload={tmp_path / 'payload'}", path], check=True)
    assert answer(path) == "it holds a section 'payload' that no compiler makes"


def test_symbols_are_read_where_the_loader_reads_them(tmp_path: Path) -> None:
    """A header of their section can have the right address and another place in the file."""

    def elsewhere(data: bytearray, found: Tables) -> None:
        (at,) = (at for at, each in enumerate(found.sections) if each.name == b".dynsym")
        where = struct.unpack_from("<Q", data, 40)[0] + at * SECTION.size
        row = list(SECTION.unpack_from(data, where))
        row[4] += 24
        SECTION.pack_into(data, where, *row)

    assert "do not say the same" in answer(changed(library(tmp_path), elsewhere))


@pytest.mark.parametrize(("name", "section"), [("host", b".text"), ("far", b".data")], ids=["before", "behind"])
def test_a_symbol_of_something_else_and_a_distance_lead_to_code(name: str, section: bytes, tmp_path: Path) -> None:
    """A loader adds the two up. The distance from a symbol behind the code is below zero."""
    path = library(tmp_path, ".globl far", "far: .quad 1", f".quad {name} + 0x1234567")

    def distance(data: bytearray, found: Tables) -> None:
        named = {each.name: each.address for each in found.sections}
        at = data.index(struct.pack("<q", 0x1234567))
        assert (named[b".nv_fatbin"] < named[section]) == (name == "far")
        struct.pack_into("<q", data, at, named[b".nv_fatbin"] - named[section])

    assert answer(path) == ""
    assert "nothing to save" in answer(changed(path, distance))


def beside(found: Tables) -> int:
    """An address before the last segment, in its first page: the loader shows there what the file has before it."""
    last = max(each.address for each in found.segments if each.kind == PT_LOAD)
    assert last % 4096 >= 8
    return last - 8


def pointer_beside(data: bytearray, found: Tables) -> None:
    """A relocation leads there."""
    named = {each.name: each for each in found.sections}
    rows, held = named[b".rela.dyn"], named[b".data"]
    for at in range(rows.offset, rows.offset + rows.size, 24):
        _, kind, addend = struct.unpack_from("<QQQ", data, at)
        if kind == 8 and held.address <= addend < held.address + held.size:  # R_X86_64_RELATIVE
            struct.pack_into("<Q", data, at + 16, beside(found))


def symbol_beside(data: bytearray, found: Tables) -> None:
    """The first exported symbol lies there."""
    symbols = next(each for each in found.sections if each.name == b".dynsym")
    struct.pack_into("<Q", data, symbols.offset + 24 + 8, beside(found))


def table_beside(data: bytearray, found: Tables) -> None:
    """The table of global offsets, which no code of this library uses, lies there."""
    table = next(each for each in found.sections if each.kind == 6)
    for at in range(table.offset, table.offset + table.size, 16):
        if struct.unpack_from("<Q", data, at)[0] == 5:  # DT_STRTAB
            struct.pack_into("<QQ", data, at, 3, beside(found))  # DT_PLTGOT


@pytest.mark.parametrize("change", [pointer_beside, symbol_beside, table_beside])
def test_what_lies_between_segments_is_not_referred_to(
    change: Callable[[bytearray, Tables], None], tmp_path: Path
) -> None:
    """A loader shows whole pages. What it shows beside a segment is another part of the file after a cut."""
    path = library(tmp_path, "here: .quad here")
    assert answer(path) == ""
    assert "none of its segments" in answer(changed(path, change))


def test_data_at_multiples_of_more_than_a_page_stay_there(tmp_path: Path) -> None:
    """A cut moves the file's offsets by pages, and loaders need offsets and addresses equal by the alignment."""
    path = library(tmp_path, ".balign 65536", "wide: .quad 1", options=("-Wl,-z,max-page-size=4096",))
    found = tables(reader(path))
    assert found is not None
    assert {each.alignment for each in found.segments if each.kind == PT_LOAD} == {0x1000, 0x10000}
    assert "multiple of more than a page" in answer(path)


def shorter_dynamic(data: bytearray, found: Tables) -> None:
    """Loaders read to the end that the section itself has."""
    at = next(number for number, each in enumerate(found.segments) if each.kind == PT_DYNAMIC)
    struct.pack_into("<Q", data, found.segments_at + 56 * at + 32, 32)


def another_dynamic(data: bytearray, found: Tables) -> None:
    """Loaders take the last one."""
    last = found.segments_at + 56 * (len(found.segments) - 1)
    at = next(number for number, each in enumerate(found.segments) if each.kind == PT_DYNAMIC)
    data[last : last + 56] = data[found.segments_at + 56 * at :][:56]


def other_symbols(data: bytearray, found: Tables) -> None:
    """Loaders do not read section headers."""
    at = next(number for number, each in enumerate(found.sections) if each.name == b".dynsym")
    table = struct.unpack_from("<Q", data, 40)[0] + 64 * at
    struct.pack_into("<QQ", data, table + 16, found.sections[at].address + 24, found.sections[at].offset + 24)


def big_endian(data: bytearray, found: Tables) -> None:
    """Every number of the ELF headers the other way round."""
    (at,) = struct.unpack_from("<Q", data, 40)
    for number in range(len(found.sections)):
        struct.pack_into(">IIQQQQIIQQ", data, at + 64 * number, *SECTION.unpack_from(data, at + 64 * number))
    for number in range(len(found.segments)):
        place = found.segments_at + 56 * number
        struct.pack_into(">IIQQQQQQ", data, place, *SEGMENT.unpack_from(data, place))
    struct.pack_into(">HHIQQQIHHHHHH", data, 16, *struct.unpack_from("<HHIQQQIHHHHHH", data, 16))
    data[5] = 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (shorter_dynamic, "no end"),
        (another_dynamic, "several dynamic sections"),
        (other_symbols, "do not say the same"),
        (big_endian, "other than x86-64"),
    ],
)
def test_headers_that_loaders_read_otherwise(
    change: Callable[[bytearray, Tables], None], why: str, tmp_path: Path
) -> None:
    """What is read must be what a loader reads."""
    assert why in answer(changed(library(tmp_path), change))


def with_sections(path: Path, offset: int, size: int, count: int) -> tuple[Code, ...]:
    """The GPU code of a file that says that it has so many sections of it, at one place."""
    with open(path, "rb") as file:
        found = tables(lambda at, length: os.pread(file.fileno(), length, at))
        assert found is not None
        section = next(each for each in found.sections if each.name == b".nv_fatbin")
        lying = found._replace(sections=(section._replace(offset=offset, size=size),) * count)
        return gpu_code(lambda at, length: os.pread(file.fileno(), length, at), lying)


def test_many_sections_at_one_place_are_not_read_again_and_again(tmp_path: Path) -> None:
    """Each would take memory for all its pieces."""
    path = library(tmp_path)
    small = struct.pack("<HHIQIIHHIIIQQQ", 1, 0x101, 64, 8, 8, 0, 0, 0, 80, 0, 0, 0x11, 0, 0).ljust(64, b"\0") + bytes(
        8
    )
    pieces = small * 20_000
    at = path.stat().st_size // 8 * 8 + 8
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(pieces)) + pieces)
    codes = with_sections(path, at, len(pieces) + 16, 1000)
    assert 1 < len(codes) < 10 and codes[-1].why
    assert len(codes[0].containers[0].pieces) == 20_000


def test_a_hole_in_a_file_costs_little(tmp_path: Path) -> None:
    """It is read in large steps, and not at all if it is larger than any section."""
    path = library(tmp_path)
    with open(path, "r+b") as file:
        file.truncate(1 << 40)
    begin = time.process_time()
    (code,) = with_sections(path, 1 << 20, 1 << 30, 1)
    assert not code.containers and not code.why
    (code,) = with_sections(path, 1 << 20, 1 << 39, 1)
    assert "larger than any linker" in code.why
    assert time.process_time() - begin < SECONDS


def test_many_segments_are_refused_before_their_code_is_searched(tmp_path: Path) -> None:
    """All of them can be the same part of the file."""
    path = library(tmp_path)
    found = tables(reader(path))
    assert found is not None
    code = next(each for each in found.segments if each.kind == PT_LOAD and each.flags & 1)
    many = tuple(code._replace(address=code.address + (1 << 40) + (at << 30), size=1) for at in range(60_000))
    lying = found._replace(segments=(*found.segments, *many))
    assert (
        rewrite(reader(path), lying, path.stat().st_size, H100)
        == "it has more segments or sections than any linker makes"
    )
    lying = found._replace(segments=(*found.segments, *(each._replace(size=1 << 16) for each in many[:9])), end=0)
    assert rewrite(reader(path), lying, path.stat().st_size, H100) == "its segments overlap"


def test_an_architecture_with_too_many_digits_is_unknown(tmp_path: Path) -> None:
    """So a plan has few of them to list."""
    path = library(tmp_path)
    data = path.read_bytes()
    at = data.index(WIDE) + 16 + 28
    path.write_bytes(data[:at] + (123_456).to_bytes(4, "little") + data[at + 4 :])
    found = tables(reader(path))
    assert found is not None
    ((one,),) = (each.containers for each in gpu_code(reader(path), found))
    assert one.why == "a piece is for an unknown architecture"


def holder(found: Tables) -> int:
    """Which program header is that of the segment with the GPU code."""
    section = next(each for each in found.sections if each.name == b".nv_fatbin")
    return next(
        at
        for at, each in enumerate(found.segments)
        if each.kind == PT_LOAD and each.offset <= section.offset < each.offset + each.size
    )


def unreadable(data: bytearray, found: Tables) -> None:
    """A loader does not read GPU code, and so the library loads."""
    place = found.segments_at + 56 * holder(found) + 4
    struct.pack_into("<I", data, place, struct.unpack_from("<I", data, place)[0] & ~PF_R)


def test_program_headers_do_not_move_to_where_loaders_cannot_read_them(tmp_path: Path) -> None:
    """The rewrite leaves such a library alone. The proof refuses it too, without trusting the rewrite."""
    path = library(tmp_path)
    honest = tables(reader(path))
    assert honest is not None
    assert answer(changed(path, unreadable)) == "its GPU code lies in a segment that cannot be read"
    made = rewrite(reader(path), honest, path.stat().st_size, H100)
    assert not isinstance(made, str)
    new = applied(path.read_bytes(), made)
    why = difference(reader(path), lambda offset, size: new[offset : offset + size], H100)
    assert why == "its program headers came out where a loader cannot read them"


BEFORE = Segment(PT_LOAD, 6, 0x1000, 0x1000, 0x1F00, 0x1F00, 0x1000)
GPU = Segment(PT_LOAD, 4, 0x2F00, 0x3F00, 0x8000, 0x8000, 0x1000)


@pytest.mark.parametrize(
    ("loads", "is_readable"),
    [
        ([GPU], True),
        ([BEFORE, GPU], True),
        ([], False),
        ([BEFORE], False),
        ([GPU._replace(flags=3)], False),
        ([GPU, GPU._replace(address=0x100000)], False),
        ([GPU._replace(size=0x100, memory=0x100)], False),
        ([BEFORE._replace(flags=2), GPU], False),
        ([BEFORE._replace(memory=0x5000), GPU], False),
    ],
    ids=["one", "neighbour", "none", "beside", "unreadable", "twice", "beyond", "unreadable-neighbour", "zeros"],
)
def test_where_loaders_find_program_headers(loads: list[Segment], is_readable: bool) -> None:
    """glibc looks into whole pages, in which the end of a neighbour may lie."""
    at = 0x2F80 if GPU._replace(size=0x100, memory=0x100) not in loads else 0x2FD0
    assert _is_table_readable(loads, at, 0x60) == is_readable


def test_code_full_of_addresses_is_not_searched(tmp_path: Path) -> None:
    """What could be a distance to its GPU code, over and over."""
    path = library(tmp_path, ".text", f".fill {1 << 19}, 8, 0x05050505", ".data")
    begin = time.process_time()
    assert answer(path) == "its code computes more addresses than that of any compiler"
    assert time.process_time() - begin < 2
