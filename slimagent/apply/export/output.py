"""Write a large file from full buffers, while a second thread computes its SHA-256."""

from __future__ import annotations

import hashlib
import os
import threading
from abc import ABC, abstractmethod
from queue import SimpleQueue
from types import TracebackType

from slimagent.apply.progress import Pace, Progress

_BUFFER = 1 << 20  # bytes
_BUFFERS = 4


class Buffers(ABC):
    """What is written into a buffer; each full one is passed on, so that all but the last are equally long."""

    def __init__(self, buffer: memoryview) -> None:
        self._buffer, self._used = buffer, 0

    def room(self) -> memoryview:
        """The free part of the buffer, never empty: write into it, then call `fill`."""
        if self._used == len(self._buffer):
            self._next()
        return self._buffer[self._used :]

    def fill(self, count: int) -> None:
        """Take over `count` bytes that were written into `room`."""
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

    def _next(self) -> None:
        self._buffer, self._used = self._exchange(self._buffer, self._used), 0

    @abstractmethod
    def _exchange(self, buffer: memoryview, used: int) -> memoryview:
        """Take a buffer with `used` bytes in it, and give a free one."""


class Output(Buffers):
    """The file of an open descriptor.

    Buffers go round: filled here, written, hashed in the thread, free again; so memory stays constant however large
    the file. `written` counts bytes. Use as a context manager: leaving it ends the thread.
    """

    def __init__(self, descriptor: int, progress: Progress | None) -> None:
        self._descriptor = descriptor
        self._pace = Pace(progress)
        self._hash = hashlib.sha256()
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._full: SimpleQueue[tuple[memoryview, int] | None] = SimpleQueue()
        for _ in range(_BUFFERS):
            self._free.put(memoryview(bytearray(_BUFFER)))
        super().__init__(self._free.get())
        self._thread = threading.Thread(target=self._digest, name="sha256", daemon=True)

    def __enter__(self) -> Output:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._full.put(None)
        self._thread.join()

    @property
    def written(self) -> int:
        return self._pace.done

    def finish(self) -> str:
        """Write what is left, and return the SHA-256 of the whole in hexadecimal."""
        self._next()
        self._full.put(None)
        self._thread.join()
        self._pace.finish()
        return self._hash.hexdigest()

    def _exchange(self, buffer: memoryview, used: int) -> memoryview:
        left = buffer[:used]
        while left:
            left = left[os.write(self._descriptor, left) :]
        self._pace.add(used)
        self._full.put((buffer, used))
        return self._free.get()

    def _digest(self) -> None:
        while (item := self._full.get()) is not None:
            buffer, used = item
            self._hash.update(buffer[:used])
            self._free.put(buffer)
