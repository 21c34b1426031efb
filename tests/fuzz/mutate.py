"""Inputs made of seeds: JSON is changed as JSON, anything else as bytes. Everything follows from a random generator."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

DEEP = (10, 245, 255, 990, 1023, 5000)  # levels: about the limits of what reads, writes and shows JSON
_DEEP = "@DEEP@"  # where a value as deep goes
LARGEST = 1 << 18  # bytes of an input
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63 - 1, -(2**63), 2**64, 10**30, 0.5, -0.0, 1e308),
    *("", "/", "/a", "a/../b", "..", "\\x41", "\\", "\0", "é", "\U0001f600", "a" * 5000, "sha256:", "1:2-3~rc1"),
    *("\x1b]0;t\x07", "\u202e", "::error::x", "##[x]", "2024-01-01T00:00:00Z"),
    *([], {}, [[]], [None], {"": ""}, ["/a", 0]),
)
_PIECES = ("\n", "\x1b[1m", "\u2028", "\\", "/", "..", "*", "\0", " ", "é", "9" * 30, "(" * 300, ";", "|")
_TOKENS = (
    *(each.encode() for each in "\0\n \t\\\"'[]{}()/*?%=:,;#|&<>\u202e"),
    *(b"\r\n", b"\n\n", b"../", b"\x1b[2J", b"\xff", b"\xc3", b"include ", b"\x7fELF", b"a" * 5000, b"\n" * 300),
    *(b"9" * 400, b"-1", b"0x", b"1e999", b"4294967296", b"18446744073709551615", b"(" * 400, b"[" * 999),
)


def mutated(generator: random.Random, seeds: Sequence[bytes]) -> bytes:
    """An input near one of the seeds, or of two of them."""
    data = generator.choice(seeds)
    for _ in range(generator.choice((1, 1, 1, 2, 3, 8))):
        data = _one(generator, data, seeds)
    return data[:LARGEST]


def _one(generator: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    if generator.random() < 0.7:
        lines = data.split(b"\n")
        at = generator.randrange(len(lines))
        for start, end in ((0, len(lines)), (at, at + 1)):  # the whole is JSON, or a line of it
            changed = _as_json(generator, b"\n".join(lines[start:end]))
            if changed is not None:
                return b"\n".join((*lines[:start], changed, *lines[end:]))
    return _as_bytes(generator, data, seeds)


def _as_json(generator: random.Random, text: bytes) -> bytes | None:
    """None for what is not JSON with something in it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    places = _places(value)
    if not places or len(places) > 20_000:
        return None
    _change(generator, places)
    made = json.dumps(value, ensure_ascii=generator.random() < 0.3).encode("utf-8", "surrogatepass")
    depth = generator.choice(DEEP)
    opened, closed = generator.choice((("[", "]"), ('{"a":', "}")))
    deep = f"{opened * depth}0{closed * depth}".encode()
    return made.replace(f'"{_DEEP}"'.encode(), deep)


def _change(generator: random.Random, places: list[tuple[Any, Any]]) -> None:
    """Change one place of a value: deeper, more, less, elsewhere, near, or quite another thing."""
    holder, key = generator.choice(places)
    value = holder[key]
    kind = generator.randrange(8)
    if kind == 0:
        holder[key] = _DEEP
    elif kind == 1 and isinstance(holder, list):
        holder[key:key] = [value] * generator.choice((1, 2, 50))
    elif kind == 1:
        holder[generator.choice(("", "a", "\x1b", "__proto__", f"{key}x"))] = value
    elif kind == 2:
        del holder[key]
    elif kind == 3:
        other, there = generator.choice(places)
        if not _holds(value, other) and not _holds(other[there], holder):
            holder[key], other[there] = other[there], value
    elif kind == 4 and isinstance(value, str):
        holder[key] = _as_text(generator, value)
    elif kind == 5 and isinstance(value, int):
        holder[key] = value + generator.choice((-1, 1, 2**31, 2**63, -(2**64)))
    else:
        holder[key] = generator.choice(_VALUES)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Each place of a value as what holds it and its key or index there."""
    found, pending = [], [value]
    while pending:
        holder = pending.pop()
        inside = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
        for key, each in inside:
            found.append((holder, key))
            pending.append(each)
    return found


def _holds(value: Any, other: Any) -> bool:
    return value is other or any(holder is other or holder[key] is other for holder, key in _places(value))


def _as_text(generator: random.Random, text: str) -> str:
    token = generator.choice(
        ("\n", "\x1b[1m", "\u2028", "\\", "/", "..", "*", "\0", " ", "é", "9" * 30, "(" * 300, ";", "|")
    )
    at = generator.randint(0, len(text))
    return text[:at] + token + text[at + generator.choice((0, 0, 1, 5)) :]


def _as_bytes(generator: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    at = generator.randint(0, len(data))
    end = min(len(data), at + generator.choice((1, 1, 2, 4, 8, 64)))
    kind = generator.randrange(8)
    if kind == 0 and data:
        changed = bytearray(data)
        changed[at % len(data)] ^= 1 << generator.randrange(8)
        return bytes(changed)
    if kind == 1:
        return data[:at] + data[end:]
    if kind == 2:
        return data[:end] + data[at:end] * generator.choice((1, 3, 100)) + data[end:]
    if kind == 3:
        return data[:at]
    if kind == 4:
        other = generator.choice(seeds)
        return data[:at] + other[generator.randint(0, len(other)) :]
    if kind == 5:  # a number in a binary table
        size, order = generator.choice((1, 2, 4, 8)), generator.choice(("little", "big"))
        whole = 1 << 8 * size
        number = generator.choice((0, 1, 0x7F, 0xFF, whole - 1, whole >> 1, generator.randrange(whole)))
        place = at - at % size
        return data[:place] + (number % whole).to_bytes(size, order) + data[place + size :]
    if kind == 6:
        return data[:at] + bytes(generator.getrandbits(8) for _ in range(generator.randrange(1, 9))) + data[end:]
    return data[:at] + generator.choice(_TOKENS) + data[generator.choice((at, end)) :]
