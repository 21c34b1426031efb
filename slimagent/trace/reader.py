"""Read a kernel queue: continuously in a thread, so that it does not overflow, and on demand until it is empty."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable


class Reader:
    """A thread that reads while the block runs. Hold `lock` to pause it.

    `read` takes some of what waits at `descriptor` and returns how much, 0 for nothing. `waiting` returns how much
    there is. Neither raises.
    """

    def __init__(
        self, name: str, descriptor: int, lock: threading.RLock, waiting: Callable[[], int], read: Callable[[], int]
    ) -> None:
        self._descriptor = descriptor
        self._lock = lock
        self._waiting = waiting
        self._read = read
        self.thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def __enter__(self) -> Reader:
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # for the main thread only
        try:
            self.thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        os.close(self._wake)

    def stop(self) -> None:
        """End the thread after its current read."""
        os.eventfd_write(self._wake, 1)
        self.thread.join()

    def catch_up(self) -> None:
        """Read what is there now, and no more: running processes would keep us reading for ever."""
        with self._lock:
            left = self._waiting()
            while left > 0 and (read := self._read()):
                left -= read

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while not any(descriptor == self._wake for descriptor, _ in poll.poll()):
            with self._lock:
                self._read()
