"""Load a library in a process of its own, and print as JSON what is in its memory then. A script; no package of ours.

`python loaded_gpu_code.py LIBRARY [STAND_IN]`: the numbers that its function `host` gives, if it has one, and for each
wrapper in .nvFatBinSegment the digest of the container that it points to, as the relocated pointer has it.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys

from elftools.elf.elffile import ELFFile

MAGIC, ROW = 0x466243B1, 24


class LinkMap(ctypes.Structure):
    """The beginning of `struct link_map` (<link.h>), which is what a handle of dlopen(3) points to in glibc."""

    _fields_ = (("address", ctypes.c_void_p),)


def wrappers(path: str, base: int) -> list[list[object]]:
    """The wrappers of a loaded library."""
    with open(path, "rb") as file:
        section = ELFFile(file).get_section_by_name(".nvFatBinSegment")
        if section is None:
            return []
        start, size = base + section["sh_addr"], section["sh_size"]
    found: list[list[object]] = []
    for at in range(start, start + size, ROW):
        magic, version = (ctypes.c_uint32 * 2).from_address(at)
        data = ctypes.c_uint64.from_address(at + 8).value
        if magic == MAGIC:
            following = ctypes.c_uint64.from_address(data + 8).value
            found.append([version, hashlib.sha256(ctypes.string_at(data, 16 + following)).hexdigest()])
    return found


def main() -> None:
    path, *others = sys.argv[1:]
    for each in others:
        ctypes.CDLL(each, mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(path, mode=os.RTLD_NOW)
    base = LinkMap.from_address(library._handle).address or 0
    numbers = [library.host(each) for each in range(100)] if hasattr(library, "host") else []
    print(json.dumps({"numbers": numbers, "wrappers": wrappers(path, base)}))


if __name__ == "__main__":
    main()
