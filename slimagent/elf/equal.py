"""Compare the bytes of two files, a megabyte at a time. Pure, over two readers."""

from __future__ import annotations

from slimagent.elf.tables import Read

CHUNK = 1 << 20  # bytes


def same(before: Read, here: int, after: Read, there: int, size: int) -> bool:
    """Whether `size` bytes of two files are equal."""
    for at in range(0, size, CHUNK):
        count = min(CHUNK, size - at)
        one = before(here + at, count)
        if len(one) != count or one != after(there + at, count):
            return False
    return True
