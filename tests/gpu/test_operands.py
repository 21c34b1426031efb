"""Distances that lead to given addresses are found wherever they stand, in chunks of any size."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.gpu import operands
from slimagent.gpu.operands import REST, Wanted, chunks

LEA, FAR_MOV = b"\x48\x8d\x05", b"\x48\xb8"
OPCODES = (LEA, b"\x4c\x8d\x3d", b"\x8d\x15", b"\x8b\x0d", b"\x83\x3d", b"\xc7\x05", b"\x0f\xba\x25")
RELATIVE = {5 | register << 3 for register in range(8)}  # ModR/M bytes
FAR = (1 << 31) - (1 << 24)  # bytes: nearly as far as a distance of 32 bits can lead


def signed(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little", signed=True)


def instruction(opcode: bytes, address: int, to: int) -> bytes:
    """An instruction at an address that refers to another by its distance."""
    return opcode + struct.pack("<i", to - address - len(opcode) - 4)


@st.composite
def places(draw: st.DrawFn) -> tuple[int, list[int]]:
    """An address, and points near each other that can be reached from there; most of them are aligned."""
    address = draw(st.integers(1 << 31, 1 << 33))
    middle = address + draw(st.integers(-FAR, FAR))
    near = st.integers(0, 1 << 20).map(lambda number: middle // 8 * 8 + number * 8) | st.integers(0, 999).map(
        middle.__add__
    )
    return address, draw(st.lists(near, min_size=1, max_size=40, unique=True))


@st.composite
def codes(draw: st.DrawFn) -> tuple[bytes, int, list[int]]:
    """Code at an address with planted references to points, and the points."""
    address, points = draw(places())
    data = b""
    for opcode in draw(st.lists(st.sampled_from(OPCODES), max_size=8)):
        data += draw(st.binary(max_size=30))
        to = draw(st.sampled_from(points))
        data += instruction(opcode, address + len(data), to - draw(st.sampled_from((0, 0, 1, 2, 4))))
    return data + draw(st.binary(max_size=30)), address, points


@given(codes(), st.integers(0, 5))
def test_code_is_read_as_byte_by_byte(code: tuple[bytes, int, list[int]], count: int) -> None:
    """A few of the points in the middle count as inner ones: only an LEA refers to these."""
    data, address, points = code
    inner = sorted(points)[1:-1][:count]
    points = [each for each in points if each not in inner]
    sure, hits = list[int](), list[int]()
    for at in (each + 1 for each in range(len(data) - 4) if data[each] in RELATIVE):
        leads = address + at + 4 + signed(data, at, 4)
        found = [(each, leads + each) for each in (0, 1, 2, 4) if leads + each in points]
        found = found or ([(-1, leads)] if leads in inner else [])
        into = sure if data[max(0, at - 3) : at - 1] in (b"\x48\x8d", b"\x4c\x8d") else hits
        into += [point for constant, point in found if operands._is_operand(data, at, constant)]
    got = Wanted(points, inner).in_code(data, address, 1 << 20)
    assert (sorted(got[0]), sorted(got[1])) == (sorted(sure), sorted(hits))


@given(codes(), st.integers(0, 3))
def test_no_more_is_looked_at_than_asked_for(code: tuple[bytes, int, list[int]], most: int) -> None:
    data, address, points = code
    assert Wanted(points, ()).in_code(data, address, most)[2] <= most


@given(codes(), st.integers(16, 64))
def test_chunks_hide_none(code: tuple[bytes, int, list[int]], size: int) -> None:
    data, address, points = code

    def found(parts: list[tuple[bytes, int]]) -> list[set[int]]:
        each = [wanted.in_code(part, address + at, 1 << 20) for part, at in parts]
        return [{hit for one in each for hit in one[0]}, {hit for one in each for hit in (*one[0], *one[1])}]

    wanted = Wanted(points, ())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operands, "_CHUNK", size)
        parts = list(chunks(lambda offset, count: data[offset : offset + count], 0, len(data), REST))
    assert all(whole <= divided for whole, divided in zip(found([(data, 0)]), found(parts), strict=True))


@given(places(), st.binary(max_size=60), st.data())
def test_tables_are_read_as_one_by_one(place: tuple[int, list[int]], data: bytes, more: st.DataObject) -> None:
    address, points = place
    for to in more.draw(st.lists(st.sampled_from(points), max_size=20)):
        data += bytes(-(address + len(data)) % 4)
        data += struct.pack("<i", to - address - len(data))
    data += more.draw(st.binary(max_size=20))

    def one_by_one() -> Iterator[int]:
        for at in range(-address % 4, len(data) - 3, 4):
            leads = signed(data, at, 4) + address + at
            if leads in points:
                yield leads

    assert sorted(Wanted(points, ()).in_table(data, address)) == sorted(one_by_one())


@given(places(), st.lists(st.integers(0, 1 << 33), min_size=1, max_size=2), st.binary(max_size=60), st.data())
def test_large_code_is_read_as_one_by_one(
    place: tuple[int, list[int]], tables: list[int], data: bytes, more: st.DataObject
) -> None:
    """Distances of more than 32 bits and a sign do not count."""
    _, points = place
    for to in more.draw(st.lists(st.sampled_from(points), max_size=8)):
        table = more.draw(st.sampled_from(tables))
        data += FAR_MOV + struct.pack("<q", to - table) + more.draw(st.binary(max_size=10))

    def one_by_one() -> Iterator[int]:
        for at in range(len(data) - 9):
            distance = signed(data, at + 2, 8)
            if data[at] in b"\x48\x49" and 0xB8 <= data[at + 1] <= 0xBF and -(1 << 32) <= distance < 1 << 32:
                yield from (table + distance for table in tables if table + distance in points)

    assert sorted(Wanted(points, ()).in_large_code(data, tables)) == sorted(one_by_one())


def test_a_table_that_is_not_aligned_in_its_chunk_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last entry of a chunk lies in two."""
    monkeypatch.setattr(operands, "_CHUNK", 16)
    address, to, size = 2, 4096, struct.calcsize("<i")
    data = bytes(14) + struct.pack("<i", to - address - 14) + bytes(14)

    def found(more: int) -> list[int]:
        parts = chunks(lambda offset, count: data[offset : offset + count], 0, len(data), more)
        return [hit for part, at in parts for hit in Wanted([to], ()).in_table(part, address + at)]

    assert (found(size - 1), found(0)) == ([to], [])


@pytest.mark.parametrize("skew", range(1, 10))
@pytest.mark.parametrize("opcode", [LEA, FAR_MOV], ids=["lea", "movabs"])
def test_an_instruction_between_two_chunks_is_found_whole(
    opcode: bytes, skew: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted fault: without the bytes after a chunk, it is not found."""
    monkeypatch.setattr(operands, "_CHUNK", 64)
    table, to = 5, 4096
    size = len(opcode) + (4 if opcode is LEA else 8)
    at = 64 - min(skew, size - 1)
    made = instruction(LEA, at, to) if opcode is LEA else FAR_MOV + struct.pack("<q", to - table)
    data = b"\x90" * at + made + b"\x90" * 64
    wanted = Wanted([to], ())

    def found(more: int) -> set[int]:
        parts = chunks(lambda offset, count: data[offset : offset + count], 0, len(data), more)
        hits = ((*wanted.in_code(part, place, 99)[0], *wanted.in_large_code(part, (table,))) for part, place in parts)
        return {hit for each in hits for hit in each}

    assert found(REST) == {to}
    assert found(size - 1 - min(skew, size - 1)) == set()
