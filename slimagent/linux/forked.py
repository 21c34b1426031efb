"""Compute on all cores: child processes that are forked, and so need no copy of what they work on.

Needs neither semaphores nor /dev/shm, which a container may lack. Where no process can be started, or one is killed,
the caller's own process does the work that is left.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

_CHUNK = 1 << 16  # bytes
_LENGTH = 8  # bytes of the number before each result
_T = TypeVar("_T")


def computed(work: Callable[[int], _T], count: int, processes: int) -> Iterator[tuple[int, _T]]:
    """The results of `work(0)` to `work(count - 1)`, each with its number, in the order in which they come.

    `work` runs in as many as `processes` children, with one in this process; results are pickled. Raises what `work`
    raises here: a child that fails leaves its part to this process. No other thread may run meanwhile.
    """
    waiting = set(range(count))
    children = _Children[_T]()
    try:
        if min(processes, count) > 1:
            with contextlib.suppress(OSError):  # no process more may be started
                for each in range(min(processes, count)):
                    children.start(work, range(each, count, min(processes, count)))
            for number, result in children.results():
                waiting.discard(number)
                yield number, result
    finally:
        children.end()
    for number in sorted(waiting):
        yield number, work(number)


class _Children(Generic[_T]):
    """Processes that compute, and the pipes that their results come from."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._running: list[int] = []
        self._pipes: list[int] = []

    def start(self, work: Callable[[int], _T], numbers: Sequence[int]) -> None:
        """Start one. Raises OSError."""
        reading, writing = os.pipe()
        try:
            process = os.fork()
        except OSError:
            os.close(reading)
            os.close(writing)
            raise
        if process == 0:
            _child(work, numbers, writing)
        os.close(writing)
        self._running.append(process)
        self._pipes.append(reading)
        self._selector.register(reading, selectors.EVENT_READ, bytearray())

    def results(self) -> Iterator[tuple[int, _T]]:
        """What comes from all of them, until each has ended."""
        while self._selector.get_map():
            for key, _ in self._selector.select():
                data = os.read(key.fd, _CHUNK)
                if not data:
                    self._selector.unregister(key.fd)
                    continue
                key.data.extend(data)
                yield from _taken(key.data)

    def end(self) -> None:
        """End and reap them."""
        self._selector.close()
        for pipe in self._pipes:
            os.close(pipe)
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):  # reaped elsewhere
                os.waitpid(process, 0)


def _taken(data: bytearray) -> Iterator[Any]:
    """Take the whole results from the beginning of what was read."""
    while len(data) >= _LENGTH:
        end = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
        if len(data) < end:
            return
        yield pickle.loads(bytes(data[_LENGTH:end]))  # noqa: S301  # our own child wrote it
        del data[:end]


def _child(work: Callable[[int], _T], numbers: Sequence[int], writing: int) -> None:
    """Compute and write. Never returns: nothing of the parent's cleaning up may run here."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with os.fdopen(writing, "wb") as pipe:
            for number in numbers:
                data = pickle.dumps((number, work(number)))
                pipe.write(len(data).to_bytes(_LENGTH, "little") + data)
                pipe.flush()
        status = 0
    finally:
        os._exit(status)
