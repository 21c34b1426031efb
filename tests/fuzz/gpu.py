"""Target: libraries with GPU code. What comes of one that lies about itself is refused, or loads as it did.

A seed is a library without the bytes that nothing reads, which is most of it: the number of its bytes, and then rows of
an offset, a number of bytes and these bytes. Seeds are made from a library by `compact`.

`python -m tests.fuzz.gpu --mutations 10000` makes libraries with NVIDIA's compiler, changes their headers, tables and
containers number by number, and loads what was rewritten in a process of its own beside what it was made from.
"""

from __future__ import annotations

import argparse
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from slimagent.elf.tables import PT_LOAD, SHT_DYNAMIC, SHT_DYNSYM, SHT_RELA, SHT_SYMTAB, Tables, tables
from slimagent.gpu.architectures import Target
from slimagent.gpu.choice import staying
from slimagent.gpu.containers import HEADER, Code, Container, Piece, gpu_code
from slimagent.gpu.proof import difference
from slimagent.gpu.rewrite import Rewrite, rewrite

Read = Callable[[int, int], bytes]
Span = tuple[int, int, int]  # address, end, offset in the file

TARGETS_OF_GPUS = (Target((80,)), Target((75, 90), ptx=True), Target(()))
MADE = ("many", "relr", "by-gold", "one-segment", "separate")
LARGEST = 1 << 19  # bytes of a library
_MOST_READ = 1 << 25  # bytes that may be asked for at once
_ROW = struct.Struct("<II")
_SHT_RELR = 19
_KEPT_PIECE = 96  # bytes of a piece: its header, and how its code begins
_SUPPORT = Path(__file__).parents[1] / "support"
_LIMIT = 10  # seconds for a library to load
_NO_END = 124  # the status of a load that did not end


def reader(data: bytes) -> Read:
    """Read as pread(2) does, and see that nobody asks for much at once."""

    def read(offset: int, size: int) -> bytes:
        assert 0 <= size <= _MOST_READ and offset >= 0, "a reader asks for too much"
        return data[offset : offset + size]

    return read


def expand(seed: bytes) -> bytes:
    """The library that a seed describes, as far as it can be made."""
    size, at = int.from_bytes(seed[:4], "little"), 4
    data = bytearray(min(size, LARGEST))
    while at + _ROW.size <= len(seed):
        offset, count = _ROW.unpack_from(seed, at)
        part = seed[at + _ROW.size :][:count][: max(0, len(data) - offset)]
        data[offset : offset + len(part)] = part
        at += _ROW.size + count
    return bytes(data)


def compact(data: bytes) -> bytes:
    """A seed of a library."""
    found = tables(reader(data))
    assert found is not None
    codes = gpu_code(reader(data), found)
    holes = [(p.offset + _KEPT_PIECE, p.offset + p.size) for p in _pieces(codes) if p.size > _KEPT_PIECE]
    rows, begin = [], 0
    for low, high in (*sorted(holes), (len(data), len(data))):
        rows.append(_ROW.pack(begin, low - begin) + data[begin:low])
        begin = high
    return len(data).to_bytes(4, "little") + b"".join(rows)


def _pieces(codes: tuple[Code, ...]) -> list[Piece]:
    return [piece for code in codes for each in code.containers for piece in each.pieces]


def gpu_library(seed: bytes) -> None:
    """Its GPU code is read or refused; what is rewritten and proved is the same to a loader but for what went."""
    data = expand(seed)
    for target in TARGETS_OF_GPUS:
        result(data, target)


def result(data: bytes, target: Target) -> tuple[str, bytes]:
    """What becomes of a library: why it is left alone, or nothing and its new bytes."""
    found = tables(reader(data))
    if found is None:
        return "not an ELF file", b""
    codes = gpu_code(reader(data), found)
    _assert_inside(found, codes)
    made = rewrite(reader(data), found, len(data), target)
    if isinstance(made, str):
        assert made and made.isprintable(), ascii(made)
        return made, b""
    new = applied(data, made)
    why = difference(reader(data), reader(new), target)
    if why:
        return f"proof: {why}", b""
    _assert_same(data, new, found, codes, target)
    return "", new


def _assert_inside(found: Tables, codes: tuple[Code, ...]) -> None:
    """Containers lie in their section without touching each other, and pieces fill their container."""
    for code in codes:
        section = found.sections[code.section]
        end = section.offset
        for each in code.containers:
            assert end <= each.offset and each.offset + each.size <= section.offset + section.size
            end = each.offset + each.size
            assert not (each.why and each.pieces)
            if each.pieces:
                assert each.size == HEADER.size + sum(piece.size for piece in each.pieces)
        assert all(text.isprintable() for text in (code.why, *(each.why for each in code.containers)))


def applied(data: bytes, made: Rewrite) -> bytes:
    """The rewritten file."""
    assert made.size < len(data) and sum(size for _, _, size in made.copies) <= made.size
    new = bytearray(made.size)
    for begin, to, size in made.copies:
        assert min(begin, to) >= 0 < size and begin + size <= len(data) and to + size <= made.size
        new[to : to + size] = data[begin : begin + size]
    for at, patch in made.patches:
        assert at >= 0 and at + len(patch) <= made.size
        new[at : at + len(patch)] = patch
    return bytes(new)


def _loads(data: bytes) -> list[Span]:
    """What a loader maps from the file; read here in another way than elsewhere."""
    (at,), (count,) = struct.unpack_from("<Q", data, 32), struct.unpack_from("<H", data, 56)
    rows = [struct.unpack_from("<IIQQQQQQ", data, at + 56 * number) for number in range(count)]
    return [(row[3], row[3] + row[5], row[2]) for row in rows if row[0] == PT_LOAD and row[5]]


def _memory(data: bytes, spans: list[Span], begin: int, end: int) -> bytes:
    """The bytes at some addresses, which must all be mapped."""
    found = b""
    for low, high, offset in spans:
        if low <= begin < high:
            stop = min(end, high)
            found += data[offset + begin - low : offset + stop - low]
            begin = stop
    assert begin == end, "what was mapped is not mapped any more"
    return found


def _assert_same(data: bytes, new: bytes, found: Tables, codes: tuple[Code, ...], target: Target) -> None:
    """Each container has what it must have, and each other loaded byte is as it was, but for pointers to containers."""
    again = tables(reader(new))
    assert again is not None
    moved = {}
    for code, other in zip(codes, gpu_code(reader(new), again), strict=True):
        here, there = found.sections[code.section], again.sections[other.section]
        for one, now in zip(code.containers, other.containers, strict=True):
            after = new[now.offset : now.offset + now.size]
            assert after in (content(data, one, staying(one, target)), content(data, one, one.pieces or None))
            moved[one.offset - here.offset + here.address] = now.offset - there.offset + there.address
    spans, spans_now = _loads(data), _loads(new)
    gone = [(each.address, each.address + each.size) for each in (found.sections[code.section] for code in codes)]
    for low, high, _ in spans:
        for begin, end in _outside(low, high, gone):
            one, other = _memory(data, spans, begin, end), _memory(new, spans_now, begin, end)
            for at in (at for at in range(0, end - begin, 8) if one[at : at + 8] != other[at : at + 8]):
                words = [each[at - (begin + at) % 8 :][:8] for each in (one, other)]
                before, after_ = (int.from_bytes(each, "little") for each in words)
                is_header = spans[0][2] == 0 and begin + at < spans[0][0] + 64
                assert moved.get(before) == after_ or is_header or _is_table(data, spans, begin + at), hex(begin + at)


def _is_table(data: bytes, spans: list[Span], address: int) -> bool:
    """Whether section headers lie there: they are loaded in a few files, and no loader reads them."""
    (table,), (count,) = struct.unpack_from("<Q", data, 40), struct.unpack_from("<H", data, 60)
    return any(low <= address < high and table <= address - low + at < table + count * 64 for low, high, at in spans)


def _outside(begin: int, end: int, gone: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for low, high in sorted(gone):
        if low < end and high > begin:
            if begin < low:
                yield begin, low
            begin = max(begin, high)
    if begin < end:
        yield begin, end


def content(data: bytes, container: Container, pieces: tuple[Piece, ...] | None) -> bytes:
    """A container with these pieces; None: as it is."""
    if pieces is None:
        return data[container.offset : container.offset + container.size]
    body = b"".join(data[each.offset : each.offset + each.size] for each in pieces)
    return data[container.offset : container.offset + 8] + struct.pack("<Q", len(body)) + body


TARGETS: dict[str, Callable[[bytes], None]] = {"gpu_library": gpu_library}


def fields(data: bytes) -> list[tuple[int, int]]:
    """Where the numbers of a library's headers, tables and containers are, as (offset, bytes)."""
    found = tables(reader(data))
    assert found is not None
    places = [(16, 2), (18, 2), (20, 4), (24, 8), (32, 8), (40, 8), (48, 4), *((at, 2) for at in range(52, 64, 2))]
    for at in range(found.segments_at, found.segments_at + 56 * len(found.segments), 56):
        places += [(at, 4), (at + 4, 4), *((at + 8 * n, 8) for n in range(1, 7))]
    (table,) = struct.unpack_from("<Q", data, 40)
    for number, section in enumerate(found.sections):
        at = table + 64 * number
        places += [(at, 4), (at + 4, 4), (at + 40, 4), (at + 44, 4)]
        places += [(at + each, 8) for each in (8, 16, 24, 32, 48, 56)]
        end = section.offset + section.size
        if section.kind in (SHT_DYNAMIC, SHT_RELA, _SHT_RELR) or section.name == b".nvFatBinSegment":
            places += [(each, 8) for each in range(section.offset, end, 8)]
        if section.kind in (SHT_SYMTAB, SHT_DYNSYM):
            for each in range(section.offset, end, 24):
                places += [(each, 4), (each + 4, 1), (each + 5, 1), (each + 6, 2), (each + 8, 8), (each + 16, 8)]
    for code in gpu_code(reader(data), found):
        for container in code.containers:
            at = container.offset
            places += [(at, 4), (at + 4, 2), (at + 6, 2), (at + 8, 8)] * 3
            for piece in container.pieces:
                at = piece.offset
                places += [(at, 2), (at + 2, 2), *((at + each, 4) for each in range(4, 64, 4)), (at + 8, 8)]
    return [each for each in places if sum(each) <= len(data)]


def changed(generator: random.Random, data: bytes, places: list[tuple[int, int]]) -> bytes:
    """A library with a few other numbers in it."""
    new = bytearray(data)
    for _ in range(generator.choice((1, 1, 1, 2, 2, 3, 5))):
        at, size = generator.choice(places)
        value, whole = int.from_bytes(new[at : at + size], "little"), 1 << 8 * size
        other, length = generator.choice(places)
        step = generator.choice((1, 2, 8, 16, 24, 56, 64, 4096, 1 << 16))
        value = generator.choice(
            (
                value + step,
                value - step,
                int.from_bytes(new[other : other + length], "little"),
                value ^ 1 << generator.randrange(8 * size),
                generator.choice((0, 1, whole - 1, whole >> 1)),
                generator.randrange(whole),
            )
        )
        new[at : at + size] = (value % whole).to_bytes(size, "little")
    if generator.random() < 0.03:
        return bytes(new[: generator.randrange(len(new))])
    return bytes(new) + bytes(generator.choice((0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 4096)))


class Loads:
    """Loads libraries, each in a process of its own that can do little."""

    def __init__(self, place: Path) -> None:
        self._place = place
        place.chmod(0o777)
        self._program, self._stand_in = place / "load", place / "libstand_in.so"
        build = ["gcc", "-w", "-o", self._program, _SUPPORT / "cuda_load.c", "-ldl"]
        subprocess.run(build, check=True)
        build = ["gcc", "-w", "-shared", "-fPIC", "-o", self._stand_in, _SUPPORT / "cuda_stand_in.c"]
        subprocess.run(build, check=True)

    def load(self, data: bytes) -> tuple[int, bytes, bytes]:
        """Its exit status, what `host` gave, and what it registered."""
        library, record = self._place / "library", self._place / "record"
        library.write_bytes(data)
        library.chmod(0o755)
        record.unlink(missing_ok=True)
        command = ["prlimit", "--as=1000000000", "--fsize=100000000", "--core=0"]
        try:
            done = subprocess.run(
                [*command, "--", self._program, self._stand_in, library],
                env={"SLIMAGENT_TEST_REGISTERED": str(record)},
                user=65534 if os.geteuid() == 0 else None,
                capture_output=True,
                timeout=_LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:  # a changed library can go in circles
            return _NO_END, b"", b""
        return done.returncode, done.stdout, record.read_bytes() if record.exists() else b""


def only_chosen(data: bytes, registered: bytes, target: Target) -> list[bytes]:
    """What a library registered, one after the other, with only the chosen pieces: a few containers have to stay whole.

    It ends where something registers what is no container: that may be the ELF header, which is another one now.
    """
    found = tables(reader(data))
    assert found is not None
    chosen = {}
    for code in gpu_code(reader(data), found):
        for each in code.containers:
            kept = content(data, each, staying(each, target))
            chosen |= {content(data, each, None): kept, kept: kept}
    rows, at = [], 0
    while at + 32 <= len(registered):
        wrapper, count = registered[at : at + 8], int.from_bytes(registered[at + 8 : at + 16], "little")
        rows.append(wrapper)
        at += 16
        for _ in range(count):
            size = HEADER.size + int.from_bytes(registered[at + 8 : at + 16], "little")
            if registered[at : at + size] not in chosen:
                return rows
            rows.append(chosen[registered[at : at + size]])
            at += size
    return rows


def _count(bases: list[bytes], mutations: int, seed: int, loads: Loads) -> tuple[Counter[str], list[str]]:
    generator, counted, wrong = random.Random(seed), Counter[str](), []
    places = [fields(each) for each in bases]
    for number in range(mutations):
        at = generator.randrange(len(bases))
        data = changed(generator, bases[at], places[at])
        target = generator.choice(TARGETS_OF_GPUS)
        try:
            why, new = result(data, target)
            if not why:
                before, after = loads.load(data), loads.load(new)
                if before[0] == 0 and loads.load(data)[1] != before[1]:
                    why = "rewritten, but what it computes was another thing each time before"
                elif before[0] == 0:
                    why = "rewritten, loads as before"
                    assert after[:2] == before[:2], f"it loads differently: {after[:2]}"
                    one, other = (only_chosen(data, each[2], target) for each in (before, after))
                    assert one == other, "it registers other code"
                else:
                    why = f"rewritten, did not load before ({before[0]}), nor does now"
                    assert after[0] != 0, "it loads, and did not"
        except (Exception, AssertionError) as error:
            why = f"FAILED: {type(error).__name__}: {str(error)[:120]}"
            kept = Path(tempfile.gettempdir()) / f"slimagent-gpu-{seed}-{number}"
            kept.write_bytes(data)
            wrong.append(f"{kept} for {target}: {why}")
        counted[why] += 1
    return counted, wrong


def _made() -> list[bytes]:
    sys.path.insert(0, str(_SUPPORT))
    from cuda_toolkit import Toolkit
    from gpu_shapes import Shapes

    with tempfile.TemporaryDirectory(prefix="slimagent-gpu-") as place:
        shapes = Shapes(Toolkit(), Path(place))
        return [shapes.make(name).read_bytes() for name in MADE]


def main() -> int:
    """Run; 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.gpu", description=__doc__)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write-seed", metavar="FILE", help="write the first library as a seed, and end")
    parser.add_argument("libraries", nargs="*", help="others than those: small ones, linked without the CUDA runtime")
    asked = parser.parse_args()
    bases = [Path(each).read_bytes() for each in asked.libraries] or _made()
    if asked.write_seed:
        Path(asked.write_seed).write_bytes(compact(bases[0]))
        return 0
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="slimagent-gpu-") as place:
        counted, wrong = _count(bases, asked.mutations, asked.seed, Loads(Path(place)))
    for why, count in counted.most_common():
        print(f"{count:7,}  {why}")
    print(f"{asked.mutations:,} mutations in {time.monotonic() - begin:.0f} s, {len(wrong)} findings", *wrong, sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
