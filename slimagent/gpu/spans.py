"""Parts of memory, as a loader makes them of an ELF file's segments, and how they compare. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """Addresses from `begin` to `end` with the rights of their segment; `offset` in the file, -1 for zeros."""

    begin: int
    end: int
    rights: int
    offset: int


def outside(spans: Iterator[Span], gpu: list[tuple[int, int]]) -> Iterator[Span]:
    """What of the spans lies outside the given addresses."""
    for each in spans:
        begin = each.begin
        for low, high in gpu:
            if low < each.end and high > begin:
                if begin < low:
                    yield part(each, begin, low)
                begin = max(begin, high)
        if begin < each.end:
            yield part(each, begin, each.end)


def inside(spans: Iterator[Span], gpu: list[tuple[int, int]]) -> Iterator[Span]:
    """What of the spans lies at the given addresses."""
    for each in spans:
        for low, high in gpu:
            if low < each.end and high > each.begin:
                yield part(each, max(low, each.begin), min(high, each.end))


def part(span: Span, begin: int, end: int) -> Span:
    """A part of a span, by its addresses."""
    return Span(begin, end, span.rights, span.offset if span.offset < 0 else span.offset + begin - span.begin)


def shape(spans: list[Span]) -> list[tuple[int, int, int, bool]]:
    """What is loaded where, whatever segments it comes from."""
    found: list[tuple[int, int, int, bool]] = []
    for each in spans:
        row = (each.begin, each.end, each.rights, each.offset < 0)
        if found and found[-1][1] == each.begin and found[-1][2:] == row[2:]:
            row = (found.pop()[0], *row[1:])
        found.append(row)
    return found


def without(span: tuple[int, int], skipped: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The parts of a span that lie in none of the others."""
    begin, end = span
    for low, high in sorted(skipped):
        if low < end and high > begin:
            if begin < low:
                yield begin, low
            begin = high
    if begin < end:
        yield begin, end
