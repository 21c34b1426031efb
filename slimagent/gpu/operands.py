"""Find the distances in a file that lead to given addresses. Pure.

Code of x86-64 refers to data by a distance of 32 bits from the next instruction (Intel's manual, volume 2, 2.2.1.6
"RIP-Relative Addressing": a ModR/M byte with mod 0 and r/m 5), with at most four bytes of a constant between. Code
for the large model adds a distance of 64 bits to the address of the global offset table (System V ABI, AMD64
supplement, "Large position independent code model"). Tables can hold distances from the place of each entry.

Nearly all bytes that look so are something else. Where the wanted addresses are known to lie decides what the highest
byte of a distance can be, and a regular expression finds those, so that little is left to look at one by one.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator

from slimagent.elf.tables import Read

REST = 8  # bytes after a chunk of code that belong to the last distances in it

_CHUNK = 1 << 24  # bytes
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
_FAR = re.compile(rb"[\x48\x49][\xb8-\xbf](?s:.{4})(?:\0{4}|\xff{4})")  # mov of 64 bits into a register


def chunks(read: Read, begin: int, end: int, more: int) -> Iterator[tuple[bytes, int]]:
    """A part of a file in chunks with their offsets, each with some bytes of the next."""
    for at in range(begin, end, _CHUNK):
        yield read(at, min(_CHUNK + more, end - at)), at


def words(rows: bytes) -> tuple[int, ...]:
    """Relocations or symbols as words, three in each row."""
    return struct.unpack(f"<{len(rows) // _LONG.size}Q", rows)


class Wanted:
    """The addresses to find distances to: `points`, and `inner` ones, which code is only thought to compute.

    There are so many of the inner ones that other distances to them would be found by chance.
    """

    def __init__(self, points: Iterable[int], inner: Iterable[int]) -> None:
        self._points = frozenset(points)
        self._low, self._high = min(self._points, default=0), max(self._points, default=0)
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
        search = re.compile(b"[" + re.escape(_RELATIVE) + b"](?s:...)[" + re.escape(tops) + b"]").search
        before, distance, after = self._before, _DISTANCE.unpack_from, address + _DISTANCE.size
        sure, hits, looked = list[int](), list[int](), 0
        found = search(data)
        while found is not None and looked < most:
            looked += 1
            at = found.start() + 1
            leads = distance(data, at)[0] + after + at
            if leads in before:
                (sure if data[max(0, at - 3) : at - 1] in _LEA_WIDE else hits).extend(
                    point for constant, point in before[leads] if _is_operand(data, at, constant)
                )
            found = search(data, at)
        return sure, hits, looked

    def in_large_code(self, data: bytes, table: int) -> list[int]:
        """What code refers to by a distance of 64 bits from the global offset table at `table`."""
        hits = []
        found = _FAR.search(data)
        while found is not None:
            leads = table + int(_LONG.unpack_from(data, found.start() + 2)[0])
            if leads in self._points:
                hits.append(leads)
            found = _FAR.search(data, found.start() + 1)
        return hits

    def in_table(self, data: bytes, address: int) -> list[int]:
        """The points to which aligned distances in data at an address lead, each from its own place."""
        tops = _tops(self._low, self._high, address, address + len(data))
        skew = -address % _DISTANCE.size
        if not tops:
            return []
        places = (skew + 4 * each.start() for each in re.finditer(b"[" + re.escape(tops) + b"]", data[skew + 3 :: 4]))
        leads = (_DISTANCE.unpack_from(data, at)[0] + address + at for at in places)
        return [each for each in leads if each in self._points]


def is_chance(found: int, tries: int, points: int) -> bool:
    """Whether so many tries find as many distances to so many points by chance.

    In very large data, as in NVIDIA's largest libraries, as many were found as chance explains, and not one more.
    """
    expected = tries * points / (1 << 8 * _DISTANCE.size)
    return expected >= 1 and found <= expected + _DEVIATIONS * expected**0.5


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
