"""Where the image's dynamic loader looks for libraries: its cache, its configuration, its default directories."""

from __future__ import annotations

import fnmatch
import os
import re
import struct
from collections.abc import Iterator

from slimagent.model.inventory import Inventory, Loader
from slimagent.paths.algebra import Resolver, join, name, parent

_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER, _ENTRY = struct.Struct("=20sII4x4x12x"), struct.Struct("=iIIIQ")
# ld.so(8): /lib and /usr/lib, on 64-bit builds /lib64 and /usr/lib64; Debian's builds add their multiarch directories.
_DEFAULTS = (b"/lib", b"/usr/lib", b"/lib64", b"/usr/lib64", b"/usr/local/lib")
_MULTIARCH = (b"x86_64-linux-gnu", b"aarch64-linux-gnu")
_LIMIT, _LONGEST = 1 << 24, 4096  # bytes of a file that we read, and of a path (PATH_MAX of <linux/limits.h>)
_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def loader(inventory: Inventory) -> Loader:
    """Read /etc/ld.so.cache, /etc/ld.so.conf with its includes, and musl's /etc/ld-musl-*.path from the image."""
    image = _Image(inventory.root)
    directories = _configured(image, b"/etc/ld.so.conf")
    for machine in (b"x86_64", b"aarch64"):
        listed = re.split(rb"[:\n]", image.read(b"/etc/ld-musl-%b.path" % machine))
        directories += [each for each in listed if each[:1] == b"/" and b"\0" not in each]
    directories += [base + b"/" + triplet for base in (b"/lib", b"/usr/lib") for triplet in _MULTIARCH]
    directories += _DEFAULTS
    return Loader(cache=parse_cache(image.read(b"/etc/ld.so.cache")), directories=tuple(dict.fromkeys(directories)))


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


def _configured(image: _Image, path: bytes) -> list[bytes]:
    """The directories that a file in the form of ld.so.conf (ldconfig(8)) names, those it includes as well: one a line.

    Without recursion: files may include each other in chains of any length. Each is read once.
    """
    seen = {path}
    directories: list[bytes] = []
    being_read = [_said(image, path)]
    while being_read:
        is_file, each = next(being_read[-1], (False, b""))
        if not each:
            being_read.pop()
        elif not is_file:
            directories.append(each)
        elif each not in seen:
            seen.add(each)
            being_read.append(_said(image, each))
    return directories


def _said(image: _Image, path: bytes) -> Iterator[tuple[bool, bytes]]:
    """What a file says, in order: (True, a file that it includes) or (False, a directory)."""
    for text in image.read(path).split(b"\n"):
        line = text.split(b"\0", 1)[0].split(b"#", 1)[0].strip()  # a line of C ends at a NUL
        keyword, *patterns = line.split() or [b""]
        if keyword == b"include":
            for pattern in patterns:
                yield from ((True, each) for each in image.expand(join(parent(path), pattern)))
        elif line[:1] == b"/":
            yield False, line


class _Image:
    """Files of the image at `root`, by its own paths: a link, absolute or not, leads to where it does in the image."""

    def __init__(self, root: bytes) -> None:
        self._prefix = b"" if root == b"/" else root
        self._resolver = Resolver(self._link)
        self._expanded: dict[tuple[bytes, bytes], Iterator[bytes]] = {}

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

    def expand(self, pattern: bytes) -> Iterator[bytes]:
        """The paths that match a pattern whose wildcards are in its last component, sorted, each once.

        Whoever asks again, also meanwhile, gets what has not been given yet: each file is read once, and files that
        include each other by a pattern cost no more than their number.
        """
        directory, last = self._resolver.resolve(parent(pattern)).end, name(pattern)
        if directory is None:
            return iter(())
        if (directory, last) not in self._expanded:  # by the directory that it is: a way over links and `..` has no end
            self._expanded[directory, last] = iter(self._matching(directory, last))
        return self._expanded[directory, last]

    def _matching(self, directory: bytes, last: bytes) -> list[bytes]:
        """The matches; hidden ones only where they are named. What has no wildcard need not be there (glob(7))."""
        if not set(last) & set(b"*?["):
            return [join(directory, last)]
        try:
            names = sorted(os.listdir(self._prefix + directory))
        except OSError:
            return []
        return [join(directory, each) for each in names if each[:1] != b"." and fnmatch.fnmatchcase(each, last)]
