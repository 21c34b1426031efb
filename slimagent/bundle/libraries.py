"""The libraries that programs and extension modules need, and how to make a copy independent of this machine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import subprocess
from collections.abc import Iterable

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from slimagent.errors import UnavailableError

_MAGIC = b"\x7fELF"
# ld.so(8), --list: "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)", "libx.so => not found", "/lib64/ld… (0x…)".
_FOUND = re.compile(r"^\s+(?:(\S+) => )?(/.+) \(0x[0-9a-f]+\)$")
_HWCAPS = re.compile(r"/glibc-hwcaps/[^/]+")
# What the C library loads by name to cancel a thread or (before glibc 2.34) to look up an account or a host.
_BY_NAME = ("libgcc_s.so.1", "libnss_files.so.2", "libnss_dns.so.2")
_PRELOADS, _NO_FILE = b"\0/etc/ld.so.preload\0", b"\0/dev/null/.preload\0"  # ld.so(8), FILES
_SEARCH_TAGS = ("DT_RPATH", "DT_RUNPATH")


def is_elf(path: str) -> bool:
    """Whether a file starts like an ELF file."""
    with open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def loader_of(program: str) -> str:
    """The dynamic loader that a program asks for. Raises UnavailableError if it asks for none."""
    with open(program, "rb") as file:
        for segment in ELFFile(file).iter_segments("PT_INTERP"):
            if isinstance(segment, InterpSegment):
                return str(segment.get_interp_name())
    raise UnavailableError(
        f"{program} asks for no dynamic loader, so its C library cannot be bundled",
        "make the bundle with an ordinary Python, not a static one or one from a bundle",
    )


def libraries(loader: str, paths: Iterable[str]) -> dict[str, str]:
    """The libraries that the loader finds here for ELF files: name → path. The first file's choice counts."""
    found: dict[str, str] = {}
    for path in paths:
        done = subprocess.run([loader, "--list", path], capture_output=True, text=True, errors="replace", check=False)
        for line in done.stdout.splitlines():
            match = _FOUND.match(line)
            if match and match[2] != loader:
                found.setdefault(match[1] or os.path.basename(match[2]), _generic(match[2]))
    found.pop(os.path.basename(loader), None)
    return found


def by_name() -> dict[str, str]:
    """The libraries of this machine that are loaded by name, and that no file names."""
    for name in _BY_NAME:
        with contextlib.suppress(OSError):
            ctypes.CDLL(name)
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        mapped = {line.split(maxsplit=5)[5].rstrip("\n") for line in file if "/" in line}
    return {os.path.basename(path): _generic(path) for path in mapped if os.path.basename(path) in _BY_NAME}


def _generic(path: str) -> str:
    """The variant of a library for every processor, because the bundle will run on others."""
    generic = _HWCAPS.sub("", path)
    if os.path.exists(generic):
        return generic
    raise UnavailableError(
        f"{path} is only for processors like this one, and {generic} does not exist",
        "make the bundle on another machine",
    )


def preload_nothing(loader: str) -> None:
    """Let a copy of the loader look for /etc/ld.so.preload where no file can be: that file is the container's."""
    with open(loader, "r+b") as file:
        data = file.read()
        at = data.find(_PRELOADS)
        if at >= 0:
            file.seek(at)
            file.write(_NO_FILE)


def forget_search_paths(path: str) -> None:
    """Remove the library search path of an ELF file: a bundle has all libraries in one directory.

    DT_RPATH and DT_RUNPATH (gABI, "Dynamic Section") go, later entries move up, and DT_NULL fills the end.
    """
    with open(path, "r+b") as file:
        try:
            elf = ELFFile(file)
            segment = next(elf.iter_segments("PT_DYNAMIC"), None)
            if not isinstance(segment, DynamicSegment):
                return
            tags = [(each.entry.d_tag, each.entry.d_val) for each in segment.iter_tags()]
            if not any(tag in _SEARCH_TAGS for tag, _ in tags):
                return
            width = 2 * elf.elfclass // 8
            offset = segment.header.p_offset
        except ELFError as error:
            raise UnavailableError(f"cannot read {path}: {error}", "install it again") from None
        file.seek(offset)
        table = file.read(width * len(tags))
        entries = [table[at * width : (at + 1) * width] for at in range(len(tags))]
        kept = [entry for entry, (tag, _) in zip(entries, tags, strict=True) if tag not in _SEARCH_TAGS]
        file.seek(offset)
        file.write(b"".join(kept).ljust(len(table), b"\0"))
