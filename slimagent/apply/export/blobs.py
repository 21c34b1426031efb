"""Write one large file, compressed on all cores meanwhile, with the digests of the contents and of the file."""

from __future__ import annotations

import hashlib
import os
import threading
import zlib
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from queue import SimpleQueue

from slimagent.apply.export.compression import Compression
from slimagent.apply.progress import Pace
from slimagent.linux.descriptors import write_all

_PLAIN = 1 << 20  # bytes
_AHEAD = 3  # buffers beside those that are compressed: one is filled, one is written, one waits
_MOST_THREADS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written: SHA-256 (hexadecimal) and size in bytes of the blob, and SHA-256 of its contents."""

    digest: str
    size: int
    diff_id: str


def cores() -> int:
    """How many threads can run at once here."""
    return min(len(os.sched_getaffinity(0)), _MOST_THREADS)


class Blob:
    """Writes to the file of an open descriptor; `pace` counts bytes before compression.

    A pool of threads compresses full buffers, which are equally long but for the last; one more thread writes and
    hashes them in order. zlib and hashlib let other threads run meanwhile. Without compression the caller's thread
    writes and the other only hashes. The buffers are reused, which bounds the memory. Use as a context manager: leaving
    it ends the threads. Methods raise OSError if the file cannot be written.
    """

    def __init__(self, descriptor: int, compression: Compression | None, pace: Pace, threads: int = 1) -> None:
        self._descriptor = descriptor
        self._compression = compression
        self._pace = pace
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._full: SimpleQueue[tuple[memoryview, int, Future[bytes] | None] | None] = SimpleQueue()
        for _ in range(threads + _AHEAD):
            self._free.put(memoryview(bytearray(_PLAIN if compression is None else compression.chunk)))
        self._buffer, self._used = self._free.get(), 0
        self._before = b""
        self._inner, self._outer = hashlib.sha256(), hashlib.sha256()
        self._crc, self._length, self._size = 0, 0, 0
        self._error: BaseException | None = None
        self._pool = ThreadPoolExecutor(threads, "compress")
        self._thread = threading.Thread(target=self._take_all, name="blob", daemon=True)

    def __enter__(self) -> Blob:
        self._thread.start()
        if self._compression is not None:
            self._write(self._compression.header)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def room(self) -> memoryview:
        """The free part of the buffer, which is never empty. Write into it, then call `fill`."""
        if self._used == len(self._buffer):
            self._raise()
            self._pass(last=False)
            self._buffer, self._used = self._free.get(), 0
        return self._buffer[self._used :]

    def fill(self, count: int) -> None:
        """Append `count` bytes that were written into `room`."""
        self._used += count

    def put(self, data: bytes) -> None:
        """Append bytes."""
        left = memoryview(data)
        while left:
            room = self.room()
            count = min(len(left), len(room))
            room[:count] = left[:count]
            self.fill(count)
            left = left[count:]

    def finish(self) -> Written:
        """Write the rest, and end the file."""
        self._pass(last=True)
        self._end()
        self._raise()
        if self._compression is not None:
            self._write(self._compression.trailer(self._crc, self._length))
        inner = self._inner.hexdigest()
        outer = inner if self._compression is None else self._outer.hexdigest()
        return Written(digest=outer, size=self._size, diff_id=inner)

    def _end(self) -> None:
        self._full.put(None)
        self._thread.join()
        self._pool.shutdown()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _pass(self, *, last: bool) -> None:
        way, data, packed = self._compression, self._buffer[: self._used], None
        if way is None:
            self._write(data)
        else:
            packed = self._pool.submit(way.pack, data, self._before, last=last)
            self._before = bytes(data[-way.reach :]) if way.reach else b""
        self._pace.add(self._used)
        self._full.put((self._buffer, self._used, packed))

    def _take_all(self) -> None:
        """Write the compressed buffers in order. After an error, only give the buffers back."""
        while (item := self._full.get()) is not None:
            buffer, used, packed = item
            try:
                if self._error is None:
                    self._take(buffer[:used], packed)
            except BaseException as error:
                self._error = error
            if packed is not None:
                wait([packed])
            self._free.put(buffer)

    def _take(self, data: memoryview, packed: Future[bytes] | None) -> None:
        self._inner.update(data)
        if packed is not None:
            self._length += len(data)
            self._crc = zlib.crc32(data, self._crc)
            self._write(packed.result())

    def _write(self, data: bytes | memoryview) -> None:
        if self._compression is not None:
            self._outer.update(data)
        self._size += len(data)
        write_all(self._descriptor, data)
