"""Compress a stream in chunks that do not need each other, so that threads can share the work. Pure.

The bytes depend on the input and on the library that compresses, and never on how many threads there are. Formats:
RFC 1951 and RFC 1952 (gzip: one member), RFC 8878 (zstd: a frame for each chunk, which section 3.1 allows).
"""

from __future__ import annotations

import importlib
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable

from slimagent.errors import UnavailableError

NONE, GZIP, ZSTD = "none", "gzip", "zstd"
COMPRESSIONS = (GZIP, ZSTD, NONE)

_WINDOW = 1 << 15  # bytes: how far back deflate looks
_GZIP_HEADER = b"\x1f\x8b\x08\0" + bytes(4) + b"\0\xff"  # no name, no time, an operating system that is not said
# On what stays of a large scientific image, level 4 comes out 3.5 % larger than level 6, in 42 % of its time.
_GZIP_LEVEL, _GZIP_MEMORY, _ZSTD_LEVEL = 4, 9, 6


class Compression(ABC):
    """A way to compress. `suffix` is what it adds to a layer's media type, `chunk` the length of a chunk in bytes."""

    suffix: str
    chunk: int
    header = b""

    @abstractmethod
    def pack(self, data: memoryview, before: bytes, *, last: bool) -> bytes:
        """One chunk compressed. `before` are the bytes before it: up to `reach` of them, fewer at the beginning."""

    reach = 0

    def trailer(self, crc: int, length: int) -> bytes:
        """What ends the stream, given the CRC-32 and the length of all that was compressed."""
        return b""


class Gzip(Compression):
    """One gzip member. Each chunk but the last ends at a byte (Z_SYNC_FLUSH), so that they can be put together."""

    suffix, chunk, reach = "+gzip", 1 << 20, _WINDOW
    header = _GZIP_HEADER

    def pack(self, data: memoryview, before: bytes, *, last: bool) -> bytes:
        settings = (_GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, _GZIP_MEMORY, zlib.Z_DEFAULT_STRATEGY)
        compressor = zlib.compressobj(*settings, before) if before else zlib.compressobj(*settings)
        return compressor.compress(data) + compressor.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)

    def trailer(self, crc: int, length: int) -> bytes:
        return struct.pack("<LL", crc, length & 0xFFFFFFFF)


class Zstd(Compression):
    """Frames of four megabytes: long enough to lose little at their borders."""

    suffix, chunk = "+zstd", 1 << 22

    def __init__(self) -> None:
        self._compress = _zstd()

    def pack(self, data: memoryview, before: bytes, *, last: bool) -> bytes:
        return self._compress(data)


def compression(name: str) -> Compression | None:
    """The way of that name, None for `none`. Raises UnavailableError where this Python has no library for it."""
    return None if name == NONE else Zstd() if name == ZSTD else Gzip()


def _zstd() -> Callable[[memoryview], bytes]:
    """Compress one frame: with Python's own library (3.14), else with the package `zstandard`."""
    try:
        own = importlib.import_module("compression.zstd")
    except ImportError:
        pass
    else:
        return lambda data: bytes(own.compress(data, level=_ZSTD_LEVEL))
    try:
        package = importlib.import_module("zstandard")
    except ImportError:
        raise UnavailableError(
            "cannot compress with zstd: this Python has no library for it",
            "use Python 3.14, or install slimagent with `pip install 'slimagent[zstd]'`, or choose gzip",
        ) from None
    return lambda data: bytes(package.ZstdCompressor(level=_ZSTD_LEVEL).compress(data))
