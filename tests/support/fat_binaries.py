"""Small shared libraries with GPU code in them, made with a C compiler alone: containers, pieces, wrappers; for tests.

The code is no code of any GPU, but its headers are those that nvcc writes.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from plan_images import compiler

_MAGIC, _VERSION, _PIECE_VERSION, _HEADER = 0xBA55ED50, 1, 0x101, 64
_PTX, _CUBIN = 1, 2
_EXACT, _FAMILY = 0x100000, 0x200000
_SUFFIXES = {"a": _EXACT, "f": _FAMILY}
SIZE = 1 << 17  # bytes of a piece: more than a few pages, so that its removal makes a file smaller


class Part(NamedTuple):
    """A piece of a container, by its name: `sm_90a` is machine code, `ptx_80` PTX."""

    name: str
    size: int = SIZE


def piece(part: Part) -> bytes:
    """A piece with its header."""
    kind, _, number = part.name.partition("_")
    flags = 0x11 | _SUFFIXES.get(number[-1], 0)
    start = b"\x7fELF" if kind == "sm" else b".version 8.0\n"
    code = (start + part.name.encode() * (part.size // 4))[: part.size - _HEADER]
    code += bytes(-len(code) % 8)
    numbers = (_PTX if kind == "ptx" else _CUBIN, _PIECE_VERSION, _HEADER, len(code), len(code), 0, 0, 0)
    header = struct.pack("<HHIQIIHHIIIQQQ", *numbers, int(number.rstrip("af")), 0, 0, flags, 0, 0)
    return header.ljust(_HEADER, b"\0") + code


def container(parts: Sequence[Part]) -> bytes:
    """A container with its header."""
    data = b"".join(map(piece, parts))
    return struct.pack("<IHHQ", _MAGIC, _VERSION, 16, len(data)) + data


def build_gpu_library(root: Path, path: str, *containers: Sequence[str], needs: Sequence[str] = ()) -> Path:
    """A library at `path` in the image at `root` with one container for each list of names of pieces."""
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    blobs = [container([Part(name) for name in names]) for names in containers]
    return build_with(target, blobs, [str(root / each.lstrip("/")) for each in needs])


def build_with(target: Path, blobs: Sequence[bytes], libraries: Sequence[str] = ()) -> Path:
    """A library with these bytes as its containers, each with a wrapper that points to it."""
    lines = ['.section .nv_fatbin,"a",@progbits', ".balign 8"]
    for number, blob in enumerate(blobs):
        data = target.with_name(f"{target.name}.{number}.bin")
        data.write_bytes(blob)
        lines += [f".Lcontainer{number}:", f'.incbin "{data}"', ".balign 8"]
    lines += ['.section .nvFatBinSegment,"aw",@progbits', ".balign 8"]
    for number in range(len(blobs)):
        lines += [".long 0x466243b1, 1", f".quad .Lcontainer{number}", ".quad 0"]
    lines += [".text", ".globl host", ".type host,@function", "host: movl $42, %eax", "ret", ".size host,.-host"]
    lines += ['.section .note.GNU-stack,"",@progbits', ""]
    source = target.with_name(f"{target.name}.s")
    source.write_text("\n".join(lines))
    options = ("-nostdlib", "-shared", "-fPIC", "-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined")
    soname = f"-Wl,-soname,{target.name}"
    subprocess.run([compiler(), *options, soname, str(source), *libraries, "-o", str(target)], check=True)
    for each in (source, *target.parent.glob(f"{target.name}.*.bin")):
        each.unlink()
    return target
