"""Distances that lead to given addresses are found wherever they stand, in chunks of any size."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.gpu import operands
from slimagent.gpu.operands import AFTER, BEFORE, Wanted, chunks

LEA, MOV, FAR_MOV = b"\x48\x8d\x05", b"\x8b\x0d", b"\x48\xb8"
ALIGNED = st.integers(0, 1 << 20).map(lambda number: number * 8)
POINTS = st.lists(ALIGNED | st.integers(0, 1 << 23), min_size=1, max_size=40, unique=True)
ADDRESSES = st.integers(0, 1 << 23)


def signed(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little", signed=True)


def instruction(opcode: bytes, address: int, to: int) -> bytes:
    """An instruction at an address that refers to another by its distance."""
    return opcode + struct.pack("<i", to - address - len(opcode) - 4)


@st.composite
def codes(draw: st.DrawFn) -> tuple[bytes, int, list[int], list[tuple[int, int]]]:
    """Code with planted references at an address; the points, and the references: whether of an LEA, and to what."""
    points, address = draw(POINTS), draw(ADDRESSES)
    data, planted = b"", list[tuple[int, int]]()
    for opcode in draw(st.lists(st.sampled_from((LEA, MOV)), max_size=8)):
        data += draw(st.binary(max_size=30))
        to = draw(st.sampled_from(points))
        data += instruction(opcode, address + len(data), to)
        planted.append((opcode is LEA, to))
    return data + draw(st.binary(max_size=30)), address, points, planted


@given(codes())
def test_each_planted_reference_is_found(code: tuple[bytes, int, list[int], list[tuple[int, int]]]) -> None:
    data, address, points, planted = code
    sure, hits, looked = Wanted(points, ()).in_code(data, address, 1 << 20)
    assert {to for is_whole, to in planted if is_whole} <= set(sure)
    assert {to for is_whole, to in planted if not is_whole} <= {*hits, *sure}
    assert {*sure, *hits} <= set(points)
    assert looked >= len(planted)


@given(codes(), st.integers(16, 64))
def test_chunks_hide_none(code: tuple[bytes, int, list[int], list[tuple[int, int]]], size: int) -> None:
    data, address, points, planted = code

    def read(offset: int, count: int) -> bytes:
        return data[offset : offset + count]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operands, "_CHUNK", size)
        found = list(chunks(read, 0, len(data), BEFORE, AFTER))
    wanted = Wanted(points, ())
    sure = {hit for part, at in found for hit in wanted.in_code(part, address + at, 1 << 20)[0]}
    assert {to for is_whole, to in planted if is_whole} <= sure


@given(POINTS, ADDRESSES, st.binary(max_size=60), st.data())
def test_tables_are_read_as_one_by_one(points: list[int], address: int, data: bytes, more: st.DataObject) -> None:
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


@given(POINTS, st.lists(ADDRESSES, min_size=1, max_size=2), st.binary(max_size=60), st.data())
def test_large_code_is_read_as_one_by_one(
    points: list[int], tables: list[int], data: bytes, more: st.DataObject
) -> None:
    for to in more.draw(st.lists(st.sampled_from(points), max_size=8)):
        table = more.draw(st.sampled_from(tables))
        data += FAR_MOV + struct.pack("<q", to - table) + more.draw(st.binary(max_size=10))

    def one_by_one() -> Iterator[int]:
        for at in range(len(data) - 9):
            if data[at] in b"\x48\x49" and 0xB8 <= data[at + 1] <= 0xBF:
                for table in tables:
                    if table + signed(data, at + 2, 8) in points:
                        yield table + signed(data, at + 2, 8)

    assert sorted(Wanted(points, ()).in_large_code(data, tables)) == sorted(one_by_one())


@pytest.mark.parametrize("skew", range(1, 10))
@pytest.mark.parametrize("opcode", [LEA, FAR_MOV], ids=["lea", "movabs"])
def test_an_instruction_between_two_chunks_is_found_whole(
    opcode: bytes, skew: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted fault: without the bytes around a chunk, it is not found."""
    monkeypatch.setattr(operands, "_CHUNK", 64)
    table, to = 5, 4096
    size = len(opcode) + (4 if opcode is LEA else 8)
    at = 64 - min(skew, size - 1)
    made = instruction(LEA, at, to) if opcode is LEA else FAR_MOV + struct.pack("<q", to - table)
    data = b"\x90" * at + made + b"\x90" * 64
    wanted = Wanted([to], ())

    def found(before: int, after: int) -> set[int]:
        parts = chunks(lambda offset, count: data[offset : offset + count], 0, len(data), before, after)
        hits = ((*wanted.in_code(part, place, 99)[0], *wanted.in_large_code(part, (table,))) for part, place in parts)
        return {hit for each in hits for hit in each}

    assert found(BEFORE, AFTER) == {to}
    assert found(0, 0) == set()
