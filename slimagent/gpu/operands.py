"""Find the distances in a file that lead to given addresses. Pure.

Code of x86-64 refers to data by a distance of 32 bits from the next instruction (Intel's manual, volume 2, 2.2.1.6
"RIP-Relative Addressing": a ModR/M byte with mod 0 and r/m 5), with at most four bytes of a constant between. Code
for the large model adds a distance of 64 bits to the address of the global offset table (System V ABI, AMD64
supplement, "Large position independent code model"). Tables can hold distances from the place of each entry.

Nearly all bytes that look so are something else. Where the wanted addresses are known to lie decides what the highest
byte of a distance can be, and their remainders, divided by 8, decide its lowest bits in a table. Whole chunks are
checked for both at once: as one long number, which Python shifts and compares at memory speed. Little is left to look
at one by one.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterable, Iterator

from slimagent.elf.tables import Read

REST = 9  # bytes after a chunk of code that belong to an instruction in it: the longest that counts has ten

_CHUNK = 1 << 19  # bytes: the fewer, the fewer highest bytes are possible, and the caches of a core hold them
_DEVIATIONS = 4  # standard deviations of what chance finds
ONE_IN = 32  # of so many places in random bytes, one looks like a distance in code

_DISTANCE, _LONG = struct.Struct("<i"), struct.Struct("<q")
_RELATIVE = b"\x05\x0d\x15\x1d\x25\x2d\x35\x3d"  # ModR/M: mod 0, r/m 5
_LEA = 0x8D
_LEA_WIDE = (b"\x48\x8d", b"\x4c\x8d")  # with the prefix REX.W, for addresses of 64 bits
_CONSTANTS = (0, 1, 2, 4)  # bytes of an instruction that can follow the distance
# Opcodes with a constant after the operand in memory (volume 2, appendix A): of one byte, and after 0F.
_BYTE, _BYTE_0F = b"\x6b\x80\x83\xc0\xc1\xc6\xf6", b"\x70\x71\x72\x73\xa4\xac\xba\xc2\xc4\xc5\xc6"
_WORD = b"\x69\x81\xc7\xf7"
# mov of 64 bits into a register, found by the upper half of what it moves: four zeros, or four FF. A regular expression
# that begins with bytes as they are is searched for ten times as fast as one that begins with a choice.
_FAR = tuple(
    re.compile(half + rb"(?<=[\x48\x49][\xb8-\xbf](?s:....)" + half + rb")")
    for half in (rb"\0\0\0\0", rb"\xff\xff\xff\xff")
)
_LOWER_HALF = 4  # bytes
_LANES = 8  # bytes: containers begin at multiples of it


def chunks(read: Read, begin: int, end: int, more: int) -> Iterator[tuple[bytes, int]]:
    """A part of a file in chunks with their offsets, each with some bytes of the next.

    What is found in those alone is found twice: then it only looks less like chance.
    """
    for at in range(begin, end, _CHUNK):
        yield read(at, min(_CHUNK + more, end - at)), at


def words(rows: bytes) -> tuple[int, ...]:
    """Relocations or symbols as words, three in each row."""
    return struct.unpack(f"<{len(rows) // _LONG.size}Q", rows)


class Wanted:
    """The addresses to find distances to: `points`, and `inner` ones, which code is only thought to compute.

    There are so many of the inner ones that other distances to them would be found by chance. They lie between points.
    """

    def __init__(self, points: Iterable[int], inner: Iterable[int]) -> None:
        self._points = frozenset(points)
        self._low, self._high = min(self._points, default=0), max(self._points, default=0)
        self._ends = {point % _LANES for point in self._points}
        # Where a distance leads that has one of these at its end: before a constant, if one follows.
        self._before: dict[int, list[tuple[int, int]]] = {}
        for point in self._points:
            for constant in _CONSTANTS:
                self._before.setdefault(point - constant, []).append((constant, point))
        for point in inner:
            self._before.setdefault(point, [(-1, point)])

    def in_code(self, data: bytes, address: int, most: int) -> tuple[list[int], list[int], int]:
        """What instructions in code at an address refer to, and how many distances were looked at: `most` at most.

        First what is computed as a whole address: chance does not find that. Then what others seem to refer to.
        """
        tops = _tops(self._low, self._high, address, address + len(data) + REST)
        if not tops:
            return [], [], 0
        before, distance, after = self._before, _DISTANCE.unpack_from, address + _DISTANCE.size
        sure, hits, looked = list[int](), list[int](), 0
        for place in _operands(data, tops):
            if looked >= most:
                break
            looked += 1
            at = place + 1
            leads = distance(data, at)[0] + after + at
            if leads in before:
                (sure if data[max(0, at - 3) : at - 1] in _LEA_WIDE else hits).extend(
                    point for constant, point in before[leads] if _is_operand(data, at, constant)
                )
        return sure, hits, looked

    def in_large_code(self, data: bytes, tables: Collection[int]) -> list[int]:
        """What code refers to by a distance of 64 bits from a global offset table, if that is one of `tables`."""
        hits = list[int]()
        possible = [any(self._high >= each for each in tables), any(self._low < each for each in tables)]
        for search in (far.search for far, is_possible in zip(_FAR, possible, strict=True) if is_possible):
            found = search(data)
            while found is not None:
                (leads,) = _LONG.unpack_from(data, found.start() - _LOWER_HALF)
                hits += (table + leads for table in tables if table + leads in self._points)
                found = search(data, found.start() + 1)
        return hits

    def in_table(self, data: bytes, address: int) -> list[int]:
        """The points to which aligned distances in data at an address lead, each from its own place."""
        tops = _tops(self._low, self._high, address, address + len(data))
        if not tops:
            return []
        hits, points, distance = list[int](), self._points, _DISTANCE.unpack_from
        skew = -address % _DISTANCE.size
        for first in range(skew, skew + _LANES, _DISTANCE.size):
            left = {(point - address - first) % _LANES for point in self._ends}
            lows = bytes(each for each in range(256) if each % _LANES in left)
            for lane in _both(data[first::_LANES], lows, data[first + _DISTANCE.size - 1 :: _LANES], tops):
                at = first + _LANES * lane
                leads = distance(data, at)[0] + address + at
                if leads in points:
                    hits.append(leads)
        return hits


def is_chance(found: int, tries: int, points: int) -> bool:
    """Whether so many tries find as many distances to so many points by chance.

    In very large data, as in NVIDIA's largest libraries, as many were found as chance explains, and not one more.
    """
    expected = tries * points / (1 << 8 * _DISTANCE.size)
    return expected >= 1 and found <= expected + _DEVIATIONS * expected**0.5


def _operands(data: bytes, tops: bytes) -> Iterator[int]:
    """Where a ModR/M byte stands before a distance that has one of `tops` as its highest byte."""
    marks = bytes((each in _RELATIVE) | (each in tops) << 1 for each in range(256))
    marked = int.from_bytes(data.translate(marks), "little")
    both = marked & marked >> 8 * _DISTANCE.size + 1  # the second mark of a byte meets the first of that four before
    return _marked(both.to_bytes(len(data), "little"))


def _both(one: bytes, ones: bytes, other: bytes, others: bytes) -> Iterator[int]:
    """Where `one` has one of `ones` and `other` one of `others`."""
    here, there = (
        int.from_bytes(data.translate(bytes(each in wanted for each in range(256))), "little")
        for data, wanted in ((one, ones), (other, others))
    )
    return _marked((here & there).to_bytes(len(one), "little"))


def _marked(marks: bytes) -> Iterator[int]:
    at = marks.find(1)
    while at >= 0:
        yield at
        at = marks.find(1, at + 1)


def _is_operand(data: bytes, at: int, constant: int) -> bool:
    """Whether the bytes before a distance can be an instruction with a constant of so many bytes after it.

    -1 stands for an instruction that computes an address.
    """
    if constant < 0:
        return at >= 2 and data[at - 2] == _LEA
    if at < 2 or constant == 0:
        return True
    opcode = data[at - 2]
    if constant > 1:
        return opcode in _WORD
    if opcode in _BYTE:
        return True
    before = data[max(0, at - 6) : at - 2]
    if before[-1:] == b"\x0f" or before[-2:-1] == b"\xc5":  # 0F, or a VEX prefix of two bytes
        return opcode in _BYTE_0F
    return before[-2:] == b"\x0f\x3a" or before[-3:-2] == b"\xc4" or before[:1] == b"\x62"  # 0F 3A, VEX, EVEX


def _tops(low: int, high: int, first: int, last: int) -> bytes:
    """The highest bytes that a distance from between `first` and `last` to between `low` and `high` can have."""
    least, most = max(low - last, -(1 << 31)), min(high - first, (1 << 31) - 1)
    return bytes({number & 0xFF for number in range(least >> 24, (most >> 24) + 1)}) if least <= most else b""
