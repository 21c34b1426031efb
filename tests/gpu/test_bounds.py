"""What a loader reads by way of the dynamic section must not lie in GPU code: else a file is left alone.

They need a C compiler, and no compiler of NVIDIA's.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from slimagent.elf.tables import SHT_DYNAMIC, Tables

from .test_hostile import SECONDS, answer, changed, library

NEEDED, STRTAB, STRSZ, INIT_ARRAY, INIT_ARRAYSZ, RUNPATH, AUXILIARY = 1, 5, 10, 25, 27, 29, 0x7FFFFFFD
RELASZ, TLSDESC_GOT = 8, 0x6FFFFEF7
CALLS = (".text", ".globl calls", "calls: call abort@PLT", ".data")
OPTIONS = ("-Wl,--hash-style=both", "-Wl,-z,lazy", "-Wl,--enable-new-dtags", "-Wl,-rpath,/placeholder", "-Wl,-f,aux.so")


def linked(place: Path) -> Path:
    """A library with both hash tables, and versions that it needs and defines."""
    script = place / "versions"
    script.write_text("ONE { global: host; local: *; }; TWO { global: calls; } ONE;\n")
    return library(place, *CALLS, options=(*OPTIONS, f"-Wl,--version-script={script}", "-Wl,--no-as-needed", "-lc"))


def far(found: Tables, *, of: bytes) -> int:
    """How far the middle of the GPU code lies behind a section."""
    gpu, section = (next(each for each in found.sections if each.name == name) for name in (b".nv_fatbin", of))
    return gpu.address + gpu.size // 2 - section.address


def tag(data: bytearray, found: Tables, wanted: int, value: int) -> None:
    """Set an entry of the dynamic section."""
    section = next(each for each in found.sections if each.kind == SHT_DYNAMIC)
    for at in range(section.offset, section.offset + section.size, 16):
        if struct.unpack_from("<q", data, at)[0] == wanted:
            struct.pack_into("<Q", data, at + 8, value)
            return
    raise AssertionError(f"no entry {wanted:#x}")


def at(found: Tables, name: bytes) -> int:
    """Where a section lies in the file."""
    return next(each.offset for each in found.sections if each.name == name)


def name_in_gpu_code(which: int, *, with_size: bool) -> object:
    def change(data: bytearray, found: Tables) -> None:
        tag(data, found, which, far(found, of=b".dynstr"))
        if with_size:
            tag(data, found, STRSZ, far(found, of=b".dynstr") + 100)

    return change


def leads(section: bytes, field: int, size: int = 1) -> object:
    """A word of a section becomes the distance to the GPU code, in units of `size` bytes."""

    def change(data: bytearray, found: Tables) -> None:
        struct.pack_into("<I", data, at(found, section) + field, far(found, of=section) // size)

    return change


def in_bucket(data: bytearray, found: Tables) -> None:
    """A symbol far behind the table."""
    begin = at(found, b".gnu.hash")
    count, _, words, _ = struct.unpack_from("<IIII", data, begin)
    buckets = begin + 16 + 8 * words
    which = next(each for each in range(count) if struct.unpack_from("<I", data, buckets + 4 * each)[0])
    struct.pack_into("<I", data, buckets + 4 * which, far(found, of=b".dynsym") // 24)


def without_end(data: bytearray, found: Tables) -> None:
    section = next(each for each in found.sections if each.name == b".gnu.hash")
    data[section.offset + section.size - 4] &= 0xFE


CHANGES = {
    "runpath": (name_in_gpu_code(RUNPATH, with_size=False), "name outside"),
    "runpath-and-size": (name_in_gpu_code(RUNPATH, with_size=True), "reaches into"),
    "auxiliary": (name_in_gpu_code(AUXILIARY, with_size=False), "name outside"),
    "bucket": (in_bucket, "outside its symbols"),
    "end-of-chain": (without_end, "outside its symbols"),
    "old-bucket": (leads(b".hash", 8, 24), "outside its symbols"),
    "bloom": (leads(b".gnu.hash", 8, 8), "reaches into"),
    "old-chains": (leads(b".hash", 4, 4), "outside its symbols"),
    "needed-version": (leads(b".gnu.version_r", 8), "reaches into"),
    "next-needed": (leads(b".gnu.version_r", 12), "reaches into"),
    "needed-name": (leads(b".gnu.version_r", 4), "name that its loader reads"),
    "defined-version": (leads(b".gnu.version_d", 12), "reaches into"),
    "next-defined": (leads(b".gnu.version_d", 16), "reaches into"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_nothing_that_a_loader_reads_lies_in_gpu_code(name: str, tmp_path: Path) -> None:
    """It checks no bounds: then the library would load differently, or not at all."""
    assert answer(linked(tmp_path)) == ""
    change, why = CHANGES[name]
    found = answer(changed(linked(tmp_path), change))  # type: ignore[arg-type]
    assert found and why in found


def test_many_references_to_many_containers_cost_little(tmp_path: Path) -> None:
    """A section is kept whole once, however many refer to it."""
    empty = ".quad 0x00100001ba55ed50, 0"
    code = "\n".join((".rept 80000", empty, ".endr"))
    path = library(tmp_path, ".rept 8000", ".quad container", ".endr", code=code)
    begin = time.process_time()
    assert "nothing to save" in answer(path)
    assert time.process_time() - begin < SECONDS
