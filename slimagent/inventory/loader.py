"""Where the image's dynamic loader looks for libraries: its cache, its configuration, its default folders."""

from __future__ import annotations

import fnmatch
import os
import struct

from slimagent.model import Inventory, Loader
from slimagent.paths import join, parent

_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER, _ENTRY = struct.Struct("=20sII4x4x12x"), struct.Struct("=iIIIQ")
# ld.so(8): /lib and /usr/lib, on 64-bit builds /lib64 and /usr/lib64; Debian's builds add their multiarch folders.
_DEFAULTS = (b"/lib", b"/usr/lib", b"/lib64", b"/usr/lib64", b"/usr/local/lib")
_MULTIARCH = (b"x86_64-linux-gnu", b"aarch64-linux-gnu")
_INCLUDE_DEPTH = 8


def loader(inventory: Inventory) -> Loader:
    """Read /etc/ld.so.cache, /etc/ld.so.conf with its includes, and musl's /etc/ld-musl-*.path from the image."""
    prefix = b"" if inventory.root == b"/" else inventory.root
    folders = list(_configured(prefix, b"/etc/ld.so.conf", 0))
    for machine in (b"x86_64", b"aarch64"):
        folders += [each for each in _read(prefix + b"/etc/ld-musl-%b.path" % machine).split() if each[:1] == b"/"]
    folders += [base + b"/" + triplet for base in (b"/lib", b"/usr/lib") for triplet in _MULTIARCH]
    folders += _DEFAULTS
    return Loader(cache=parse_cache(_read(prefix + b"/etc/ld.so.cache")), folders=tuple(dict.fromkeys(folders)))


def parse_cache(data: bytes) -> dict[bytes, tuple[bytes, ...]]:
    """The paths of each library name in ld.so.cache (glibc's dl-cache.h, `struct cache_file_new`); damaged: empty."""
    start = data.find(_CACHE_MAGIC)
    if start < 0:
        return {}
    found: dict[bytes, tuple[bytes, ...]] = {}
    try:
        _, count, _ = _HEADER.unpack_from(data, start)
        for place in range(min(count, (len(data) - start) // _ENTRY.size)):
            _, name_at, path_at, _, _ = _ENTRY.unpack_from(data, start + _HEADER.size + place * _ENTRY.size)
            name, path = _string(data, start + name_at), _string(data, start + path_at)
            found[name] = (*found.get(name, ()), path)
    except (struct.error, ValueError):
        return {}
    return found


def _string(data: bytes, offset: int) -> bytes:
    return data[offset : data.index(0, offset)]


def _configured(prefix: bytes, path: bytes, depth: int) -> list[bytes]:
    """The folders that a file in the form of ld.so.conf (ldconfig(8)) names, those it includes as well."""
    folders: list[bytes] = []
    for line in _read(prefix + path).splitlines():
        words = line.split(b"#", 1)[0].split()
        if words[:1] == [b"include"] and depth < _INCLUDE_DEPTH:
            for pattern in words[1:]:
                for each in _expand(prefix, join(parent(path), pattern)):
                    folders += _configured(prefix, each, depth + 1)
        else:
            folders += [word for word in words if word[:1] == b"/"]
    return folders


def _expand(prefix: bytes, pattern: bytes) -> list[bytes]:
    folder, last = pattern.rsplit(b"/", 1)
    try:
        names = sorted(os.listdir(prefix + (folder or b"/")))
    except OSError:
        return []
    return [folder + b"/" + name for name in names if fnmatch.fnmatchcase(name, last)]


def _read(path: bytes) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    with open(descriptor, "rb") as file:
        return file.read(1 << 24)
