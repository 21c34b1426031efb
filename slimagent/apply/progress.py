"""Report progress, seldom enough to cost nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[int], None]

INTERVAL = 0.1  # seconds


class Pace:
    """Counts what is done, and calls `progress` with the sum: at most ten times a second, and once at the end."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._next = time.monotonic() + INTERVAL
        self.done = 0

    def add(self, amount: int) -> None:
        self.done += amount
        if self._progress is not None and time.monotonic() >= self._next:
            self._progress(self.done)
            self._next = time.monotonic() + INTERVAL

    def finish(self) -> None:
        if self._progress is not None:
            self._progress(self.done)
