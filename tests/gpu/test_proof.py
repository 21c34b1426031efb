"""The proof refuses rewritten libraries with one fault planted in each, whatever the rewrite thought of it.

They need a C compiler, and no compiler of NVIDIA's.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from slimagent.elf.tables import PT_LOAD, PT_PHDR, Read, Section, Tables, tables
from slimagent.gpu import rewrite as rewriting
from slimagent.gpu.containers import Code, UnknownError, gpu_code
from slimagent.gpu.proof import difference
from slimagent.gpu.references import References, references
from slimagent.gpu.rewrite import rewrite

from .test_containers import reader
from .test_hostile import H100, SEGMENT, library
from .test_rewrite import applied

PAGE = 4096
PHOFF, SHOFF, PHNUM = 32, 40, 56  # in the ELF header
KIND, OFFSET, ADDRESS, PHYSICAL, SIZE, MEMORY = 0, 2, 3, 4, 5, 6  # in a program header
NUMBER = 0x1122334455667788
# A second container with its pointer: it moves when the first gets smaller. A number, and a table that is long enough
# to be cut in two. A shared library with an interpreter can be run, and has a PT_PHDR.
SECOND = 'second: .incbin "{}/container"'
LINES = (".quad 0x1466243b1, second, 0", f".quad {NUMBER:#x}", ".fill 64, 8, 7")
INTERPRETER = ('.section .interp,"a",@progbits', '.string "/lib64/ld-linux-x86-64.so.2"', ".data")


def with_two(place: Path, *lines: str) -> Path:
    """A library with two containers, and with these lines of assembler in `.data`."""
    return library(place, *lines, code=SECOND.format(place))


def read_of(data: bytes) -> Read:
    return lambda offset, size: data[offset : offset + size]


def parsed(data: bytes) -> Tables:
    found = tables(read_of(data))
    assert found is not None
    return found


def smaller(data: bytes) -> bytearray:
    """The library, rewritten."""
    made = rewrite(read_of(data), parsed(data), len(data), H100)
    assert not isinstance(made, str), made
    return bytearray(applied(data, made))


def refusal(old: bytes, new: bytes | bytearray) -> str:
    """What the proof says. It says the same with references that are handed over, as the workspace does it."""
    before, after = read_of(old), read_of(bytes(new))
    said, found = difference(before, after, H100), tables(before)
    if found is not None:
        with contextlib.suppress(UnknownError):
            known = references(before, found, gpu_code(before, found))
            assert difference(before, after, H100, known) == said
    return said


def container_addresses(data: bytes) -> list[int]:
    found = parsed(data)
    (code,) = gpu_code(read_of(data), found)
    section = found.sections[code.section]
    return [each.offset - section.offset + section.address for each in code.containers]


def section(data: bytes, name: bytes) -> Section:
    return next(each for each in parsed(data).sections if each.name == name)


def rows(data: bytes) -> list[list[int]]:
    """The program headers."""
    (at,), (count,) = struct.unpack_from("<Q", data, PHOFF), struct.unpack_from("<H", data, PHNUM)
    return [list(SEGMENT.unpack_from(data, at + 56 * number)) for number in range(count)]


def write_rows(data: bytearray, new: list[list[int]]) -> None:
    """Other program headers in the place of those that are there; behind them are zeros to the end of the page."""
    (at,) = struct.unpack_from("<Q", data, PHOFF)
    for number, row in enumerate(new):
        if row[KIND] == PT_PHDR:
            row[SIZE] = row[MEMORY] = 56 * len(new)
        SEGMENT.pack_into(data, at + 56 * number, *row)
    struct.pack_into("<H", data, PHNUM, len(new))


def part(row: list[int], begin: int, end: int) -> list[int]:
    """A part of a loaded segment, by offsets in it."""
    kind, flags, offset, address, physical, *_, alignment = row
    return [kind, flags, offset + begin, address + begin, physical + begin, end - begin, end - begin, alignment]


def of_code(data: bytes) -> tuple[list[list[int]], int]:
    """The program headers, and which of them is that of the segment with the containers."""
    found, code = rows(data), section(data, b".nv_fatbin")
    return found, next(at for at, row in enumerate(found) if row[KIND] == PT_LOAD and row[ADDRESS] == code.address)


def page_not_loaded(data: bytearray) -> None:
    """A page in the middle of a container is not there."""
    found, at = of_code(data)
    row = found[at]
    found[at : at + 1] = [part(row, 0, 4 * PAGE), part(row, 5 * PAGE, row[SIZE])]
    write_rows(data, found)


def page_from_elsewhere(data: bytearray) -> None:
    """A page in the middle of a container is another one of the file."""
    found, at = of_code(data)
    row, other = found[at], part(found[at], 4 * PAGE, 5 * PAGE)
    other[OFFSET] += PAGE
    found[at : at + 1] = [part(row, 0, 4 * PAGE), other, part(row, 5 * PAGE, row[SIZE])]
    write_rows(data, found)


def more_beyond_the_end(data: bytearray) -> None:
    """A segment, where GPU code was, of what the file has not."""
    found, at = of_code(data)
    row = found[at]
    end = -(-row[SIZE] // PAGE) * PAGE
    beyond = part(row, end, end + PAGE)
    beyond[OFFSET] += len(data) // PAGE * PAGE
    found.insert(at + 1, beyond)
    write_rows(data, found)


def zeros_behind_code(data: bytearray) -> None:
    """Pages, where GPU code was, that are not in the file."""
    found, at = of_code(data)
    found[at][MEMORY] += PAGE
    write_rows(data, found)


def other_bytes_behind_code(data: bytearray) -> None:
    """The rest of the page with the program headers holds something else."""
    (table,), (count,) = struct.unpack_from("<Q", data, PHOFF), struct.unpack_from("<H", data, PHNUM)
    data[table + 56 * count] = 1


def segment_without_size(data: bytearray) -> None:
    """Loaders map the page that it begins in, over what was there."""
    found = rows(data)
    at = max(at for at, row in enumerate(found) if row[KIND] == PT_LOAD)
    last = found[at]
    end = last[ADDRESS] + last[MEMORY]
    found.insert(at + 1, [PT_LOAD, last[1], end % PAGE, end, end, 0, 0, PAGE])
    write_rows(data, found)


def page_of_two_segments(data: bytearray) -> None:
    """The second half of `.data` comes from a copy at the end. Its page has other bytes than the end of the first."""
    found, held = rows(data), section(data, b".data")
    at = next(n for n, row in enumerate(found) if row[KIND] == PT_LOAD and 0 <= held.offset - row[OFFSET] < row[SIZE])
    row = found[at]
    cut = held.address + held.size - 64 - row[ADDRESS]
    rest = bytes(data[row[OFFSET] + cut : row[OFFSET] + row[SIZE]])
    data += bytes(-len(data) % PAGE) + b"\xee" * ((row[ADDRESS] + cut) % PAGE)
    moved = part(row, cut, row[SIZE])
    moved[OFFSET] = len(data)
    moved[MEMORY] = row[MEMORY] - cut
    data += rest
    (table,) = struct.unpack_from("<Q", data, SHOFF)
    for number, each in enumerate(parsed(data).sections):
        if each.is_loaded and each.address >= moved[ADDRESS]:
            struct.pack_into("<Q", data, table + 64 * number + 24, moved[OFFSET] + each.address - moved[ADDRESS])
    found[at : at + 1] = [part(row, 0, cut), moved]
    write_rows(data, found)


def no_program_headers_of_its_own(data: bytearray) -> None:
    """Programs find their place in memory by it."""
    write_rows(data, [row for row in rows(data) if row[KIND] != PT_PHDR])


def number_like_an_address(data: bytearray) -> None:
    """See the test: the number is the address that the second container had, and becomes the one that it has."""
    address, at = container_addresses(data)[1], section(data, b".data").offset + 24
    assert struct.unpack_from("<Q", data, at)[0] != address
    struct.pack_into("<Q", data, at, address)


def more_at_the_end(data: bytearray) -> None:
    """Something is appended."""
    data += b"more"


def other_bytes_between_segments(data: bytearray) -> None:
    """Linkers fill the last page of code with zeros."""
    row = next(row for row in rows(data) if row[KIND] == PT_LOAD and row[1] & 1)
    end = row[OFFSET] + row[SIZE]
    assert end % PAGE and not any(data[end : end + 4])
    data[end : end + 4] = b"more"


def more_before_the_section_headers(data: bytearray) -> None:
    """They are farther than they were."""
    (at,) = struct.unpack_from("<Q", data, SHOFF)
    data[at:at] = b"more" * 16
    struct.pack_into("<Q", data, SHOFF, at + 64)


FAULTS: dict[Callable[[bytearray], None], str] = {
    page_not_loaded: "not loaded as a whole",
    page_from_elsewhere: "not what a loader sees",
    more_beyond_the_end: "cut short",
    zeros_behind_code: "something else came out in the place of its GPU code",
    other_bytes_behind_code: "something else came out in the place of its GPU code",
    segment_without_size: "program headers came out wrong",
    page_of_two_segments: "program headers came out wrong",
    no_program_headers_of_its_own: "program headers came out different",
    number_like_an_address: "what is loaded of it came out different",
    more_at_the_end: "at its end",
    other_bytes_between_segments: "no header names",
    more_before_the_section_headers: "no header names",
}


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_refused(plant: Callable[[bytearray], None], tmp_path: Path) -> None:
    """And what came out without it is not. In `.data` is a number that equals the address of a container."""
    old = bytearray(with_two(tmp_path, *LINES, *INTERPRETER).read_bytes())
    struct.pack_into("<Q", old, old.index(struct.pack("<Q", NUMBER)), container_addresses(old)[1])
    honest = smaller(bytes(old))
    assert refusal(bytes(old), honest) == ""
    plant(honest)
    assert FAULTS[plant] in refusal(bytes(old), honest)


def test_what_lies_behind_everything_stays(tmp_path: Path) -> None:
    """patchelf leaves a zero at the end of a file."""
    path = with_two(tmp_path, *LINES)
    old = path.read_bytes() + bytes(8)
    new = smaller(old)
    assert refusal(old, new) == ""
    assert "at its end" in refusal(old, new[:-8])
    assert "at its end" in refusal(old, new[:-1] + b"\1")


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ((".quad second", ".text", "lea second(%rip), %rax", "ret", ".data"), "GPU code went"),
        ((".quad second", ".globl exported", ".set exported, second"), "GPU code went"),
        ((".quad second", ".quad second + 16"), "GPU code went"),
        ((), "GPU code moved"),
        ((".quad second", ".quad before + 16"), "GPU code went"),
        ((".quad second", ".globl exported", ".set exported, before"), "GPU code went"),
    ],
    ids=["instruction", "symbol", "middle", "nothing", "middle-of-first", "symbol-of-first"],
)
def test_what_something_else_refers_to_stays(
    lines: tuple[str, ...], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rewrite forgets what it found of it; the proof looks for itself."""
    old = with_two(tmp_path, *lines).read_bytes()

    def forgotten(read: Read, found: Tables, codes: tuple[Code, ...]) -> References:
        known = references(read, found, codes)
        return References(known.pointers, known.sized)

    monkeypatch.setattr(rewriting, "references", forgotten)
    assert why in refusal(old, smaller(old))
    monkeypatch.undo()
    made = rewrite(reader(tmp_path / "made.so"), parsed(old), len(old), H100)
    assert isinstance(made, str) or refusal(old, applied(old, made)) == ""
