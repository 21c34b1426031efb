"""One package of a synthetic image in the making: its files, and what it leaves elsewhere. See `synthetic.py`."""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from functools import lru_cache
from random import Random

OPENED, EXECUTED, LOOKED_UP = 2, 4, 1  # values of slimagent.model.trace.How
_USED = 0.27  # share of the packages that the trace touches
_SIZES = (70_000, 131_072, 262_144)  # bytes, of the larger files
_PLAIN = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Part:
    """One package in the making.

    `left` is how many files it is still to get. Beside its files it leaves its paragraphs of dpkg's `status`, the
    `libraries` for the loader's cache, `accesses` (path, how, found) of the trace, and paths that the traced run is
    said to have `created`.
    """

    def __init__(
        self, root: str, number: int, total: int, count: int, rng: Random, folders: set[str] | None = None
    ) -> None:
        self.root, self.number, self.total, self.left, self.rng = root, number, total, count, rng
        self.used = rng.random() < _USED
        self.status: list[bytes] = []
        self.libraries: list[str] = []
        self.accesses: list[tuple[str, int, bool]] = []
        self.created: list[str] = []
        self.files: list[tuple[str, bytes, int]] = []  # path, contents, size
        self.links: list[str] = []
        self._folders = set[str]() if folders is None else folders

    def folder(self, path: str) -> None:
        """Make a folder and those above it, unless they are there."""
        if path not in self._folders:
            os.makedirs(self.root + path, exist_ok=True)
            self._folders.add(path)

    def file(self, path: str, data: bytes = b"", *, use: float = 0.0, mode: int = 0o644, large: bool = False) -> None:
        """Write a file. `use`: how likely the trace opened it if it touched the package; `large`: it may get a hole."""
        self.folder(path[: path.rindex("/")])
        size = len(data)
        descriptor = os.open(self.root + path, _PLAIN, mode)
        if data:
            os.write(descriptor, data)
        if large and self.rng.random() < 0.3:
            size = self.rng.choice(_SIZES)
            os.ftruncate(descriptor, size)
        os.close(descriptor)
        self.files.append((path, data, size))
        self.left -= 1
        if use and self.used and self.rng.random() < use:
            self.open(path, EXECUTED | LOOKED_UP if mode & 0o111 and data[:2] == b"#!" else OPENED | LOOKED_UP)

    def link(self, path: str, target: str, *, use: float = 0.0) -> None:
        """Make a symbolic link."""
        self.folder(path[: path.rindex("/")])
        os.symlink(target, self.root + path)
        self.links.append(path)
        self.left -= 1
        if use and self.used and self.rng.random() < use:
            self.open(path, OPENED)

    def twin(self, path: str) -> None:
        """Make another name of the file that was written last."""
        first, data, size = self.files[-1]
        self.folder(path[: path.rindex("/")])
        os.link(self.root + first, self.root + path)
        self.files.append((path, data, size))
        self.left -= 1

    def open(self, path: str, how: int) -> None:
        """Note an access, and the places where its program looked in vain before."""
        self.accesses.append((path, how, True))
        folder, _, last = path.rpartition("/")
        for at in range(self.rng.choice((1, 1, 2, 2, 3))):
            self.accesses.append((f"{folder}/{at}-{last}.abi3.so", LOOKED_UP | at % 2 * OPENED, False))

    def others(self, first: int, most: int) -> list[int]:
        """Some of the packages from `first` to this one: what it depends on."""
        there = range(first, self.number)
        return sorted(self.rng.sample(there, min(len(there), self.rng.randint(0, most))))


def elf(soname: str = "", needed: tuple[str, ...] = (), *, interpreter: str = "", runpath: str = "") -> bytes:
    """A position-independent ELF file for x86_64 (elf(5)) that has what a loader reads, and no code."""
    strings, dynamic = bytearray(b"\0"), []
    for tag, text in (*((1, each) for each in needed), (14, soname), (29, runpath)):  # NEEDED, SONAME, RUNPATH
        if text:
            dynamic.append((tag, len(strings)))
            strings += text.encode() + b"\0"
    path = interpreter.encode() + b"\0" if interpreter else b""
    count = 3 if interpreter else 2
    at_path = 64 + 56 * count
    at_strings = at_path + len(path)
    at_dynamic = (at_strings + len(strings) + 7) // 8 * 8
    dynamic += [(5, at_strings), (10, len(strings)), (0, 0)]  # STRTAB, STRSZ, NULL
    table = b"".join(struct.pack("<qQ", *each) for each in dynamic)
    whole = at_dynamic + len(table)
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 62, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
    segments = [(3, 4, at_path, len(path), 1)] if interpreter else []
    segments += [(1, 5, 0, whole, 4096), (2, 6, at_dynamic, len(table), 8)]  # INTERP, LOAD, DYNAMIC
    packed = (struct.pack("<IIQQQQQQ", kind, flags, at, at, at, n, n, align) for kind, flags, at, n, align in segments)
    return (header + b"".join(packed) + path + bytes(strings)).ljust(at_dynamic, b"\0") + table


@lru_cache(maxsize=4096)
def md5(data: bytes, size: int) -> str:
    """MD5 of `data` with a hole behind it up to `size` bytes, in hexadecimal as md5sums has it."""
    return hashlib.md5(data.ljust(size, b"\0"), usedforsecurity=False).hexdigest()


@lru_cache(maxsize=4096)
def sha256(data: bytes, size: int) -> str:
    """SHA-256 of `data` with a hole behind it up to `size` bytes, in base64 as RECORD has it."""
    return base64.urlsafe_b64encode(hashlib.sha256(data.ljust(size, b"\0")).digest()).rstrip(b"=").decode()
