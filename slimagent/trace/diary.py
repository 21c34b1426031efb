"""A record that is always on disk: its watcher may be killed at any time, and must not lose what it saw.

When the first process of a container ends, the kernel kills all others (pid_namespaces(7)), the watcher too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from slimagent.model.trace import LossKind
from slimagent.trace.record import ENDED, Record

Write = Callable[[list[object]], None]


class Diary(Record):
    """Passes each new path, use and loss to `write` before its call continues.

    Rows are ["access", step, how, path] with the path as bytes, and ["loss", kind, count, example]. A loss is written
    again when its count has doubled, so that the file stays small. The last row of a kind is a lower bound.
    """

    at_once = True

    def __init__(self, write: Write) -> None:
        self.written = 0  # accesses so far: constant while nothing new is seen
        self._write = write
        super().__init__()

    def add(self, step: int, path: bytes, how: int) -> None:
        """Record that `path` was used in `step`."""
        seen = self.steps.get(step)
        if seen is None:
            seen = self.steps[step] = {}
        known = seen.get(path, 0)
        if known | how != known:
            seen[path] = known | how
            self.written += 1
            self._write(["access", step, how, path])

    def lose(self, kind: LossKind, example: str, count: int = 1) -> None:
        """Count something that could not be seen. The first example of its kind is kept."""
        super().lose(kind, example, count)
        total, first = self.losses[kind]
        if total & (total - 1) == 0:  # a power of two
            self._write(["loss", kind, total, first])

    def end(self, error: Exception) -> None:
        """Remember that `error` ended the supervisor."""
        super().end(error)
        with contextlib.suppress(OSError, MemoryError):  # the calls have to go on, whatever `error` is
            self._write(["loss", LossKind.SUPERVISOR_ERROR, 1, ENDED.format(error)])
