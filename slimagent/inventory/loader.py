"""Where the image's dynamic loader looks for libraries: its cache, its configuration, its default folders."""

from __future__ import annotations

import fnmatch
import os
import re
import struct

from slimagent.model import Inventory, Loader
from slimagent.paths import Resolver, join, name, parent

_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER, _ENTRY = struct.Struct("=20sII4x4x12x"), struct.Struct("=iIIIQ")
# ld.so(8): /lib and /usr/lib, on 64-bit builds /lib64 and /usr/lib64; Debian's builds add their multiarch folders.
_DEFAULTS = (b"/lib", b"/usr/lib", b"/lib64", b"/usr/lib64", b"/usr/local/lib")
_MULTIARCH = (b"x86_64-linux-gnu", b"aarch64-linux-gnu")
_LIMIT, _LONGEST = 1 << 24, 4096  # bytes of a file that we read, and of a path (PATH_MAX of <linux/limits.h>)
_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def loader(inventory: Inventory) -> Loader:
    """Read /etc/ld.so.cache, /etc/ld.so.conf with its includes, and musl's /etc/ld-musl-*.path from the image."""
    image = _Image(inventory.root)
    folders = _configured(image, b"/etc/ld.so.conf", set())
    for machine in (b"x86_64", b"aarch64"):
        folders += [
            each for each in re.split(rb"[:\n]", image.read(b"/etc/ld-musl-%b.path" % machine)) if each[:1] == b"/"
        ]
    folders += [base + b"/" + triplet for base in (b"/lib", b"/usr/lib") for triplet in _MULTIARCH]
    folders += _DEFAULTS
    return Loader(cache=parse_cache(image.read(b"/etc/ld.so.cache")), folders=tuple(dict.fromkeys(folders)))


def parse_cache(data: bytes) -> dict[bytes, tuple[bytes, ...]]:
    """The paths of each library name in ld.so.cache (glibc's dl-cache.h, `struct cache_file_new`); damaged: empty."""
    start = data.find(_CACHE_MAGIC)
    if start < 0:
        return {}
    found: dict[bytes, list[bytes]] = {}
    try:
        _, count, _ = _HEADER.unpack_from(data, start)
        for place in range(min(count, (len(data) - start) // _ENTRY.size)):
            _, library_at, path_at, _, _ = _ENTRY.unpack_from(data, start + _HEADER.size + place * _ENTRY.size)
            found.setdefault(_string(data, start + library_at), []).append(_string(data, start + path_at))
    except (struct.error, ValueError):
        return {}
    return {library: tuple(paths) for library, paths in found.items()}


def _string(data: bytes, offset: int) -> bytes:
    return data[offset : data.index(0, offset, offset + _LONGEST)]


def _configured(image: _Image, path: bytes, seen: set[bytes]) -> list[bytes]:
    """The folders that a file in the form of ld.so.conf (ldconfig(8)) names, those it includes as well: one a line."""
    seen.add(path)
    folders: list[bytes] = []
    for text in image.read(path).split(b"\n"):
        line = text.split(b"#", 1)[0].strip()
        keyword, *patterns = line.split() or [b""]
        if keyword == b"include":
            for pattern in patterns:
                for each in image.expand(join(parent(path), pattern)):
                    if each not in seen:
                        folders += _configured(image, each, seen)
        elif line[:1] == b"/":
            folders.append(line)
    return folders


class _Image:
    """Files of the image at `root`, by its own paths: a link, absolute or not, leads to where it does in the image."""

    def __init__(self, root: bytes) -> None:
        self._prefix = b"" if root == b"/" else root
        self._resolver = Resolver(self._link)

    def _link(self, path: bytes) -> bytes | None:
        try:
            return os.readlink(self._prefix + path)
        except OSError:
            return None

    def read(self, path: bytes) -> bytes:
        """The bytes of a file, none if it is not there or cannot be read."""
        end = self._resolver.resolve(path).end
        if end is None:
            return b""
        try:
            with open(self._prefix + end, "rb", opener=lambda file, flags: os.open(file, flags | _SAFELY)) as file:
                return file.read(_LIMIT)
        except OSError:
            return b""

    def expand(self, pattern: bytes) -> list[bytes]:
        """The paths that match a pattern whose wildcards are in its last component, sorted; hidden ones are not."""
        folder, last = parent(pattern), name(pattern)
        end = self._resolver.resolve(folder).end
        if end is None:
            return []
        try:
            names = sorted(os.listdir(self._prefix + end))
        except OSError:
            return []
        return [join(folder, each) for each in names if each[:1] != b"." and fnmatch.fnmatchcase(each, last)]
