"""What a decision takes from the image, file by file, with the digests of what goes: all cores read and hash."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from slimagent.apply.decide import Action, Decision
from slimagent.apply.source import Source
from slimagent.errors import SlimagentError
from slimagent.model.inventory import Inventory

# Gets what goes before anything is done about it. What it returns is added to the image, under its own path there.
Leave = Callable[[Inventory, Decision, Source], "bytes | None"]

_CHUNK = 1 << 18  # bytes
_MOST_THREADS = 16
_AHEAD = 4  # files for each thread: each is an open descriptor
_ROOM = threading.local()


def nothing_left(inventory: Inventory, decision: Decision, source: Source) -> None:
    """Leave no list behind: a `Leave`."""


def lost(inventory: Inventory, decision: Decision) -> list[int]:
    """The entries that go and were part of the image, a directory before what it holds. An edit can remove a link."""
    dropped = [at for at in decision.dropped if inventory.paths[at] not in decision.made]
    return sorted(dropped + [each.at for each in decision.actions if each.at is not None and each.data is None])


def with_list(decision: Decision, path: bytes, data: bytes) -> Decision:
    """The decision with one more file, root's and as old as the root directory."""
    action = Action(path=path, at=None, data=data, mode=stat.S_IFREG | 0o644, uid=0, gid=0, mtime_ns=decision.mtimes[0])
    return replace(decision, actions=(*decision.actions, action), bytes_kept=decision.bytes_kept + len(data))


def digested(inventory: Inventory, files: Iterator[int], source: Source) -> Iterator[str]:
    """The SHA-256, in hexadecimal, of regular files, in their order.

    It is empty for a file that cannot be read, or that has changed since the inventory was made.
    """
    threads = min(len(os.sched_getaffinity(0)), _MOST_THREADS)
    pending: deque[tuple[int, int, Future[str]]] = deque()

    def settled() -> str:
        at, descriptor, future = pending.popleft()
        try:
            found = future.result()
            if descriptor >= 0:
                source.check(at, descriptor)
        except (OSError, SlimagentError):
            return ""
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return found

    with ThreadPoolExecutor(threads, "digest") as pool:
        try:
            for at in files:
                try:
                    descriptor = source.open(at)
                except SlimagentError:
                    descriptor = -1
                pending.append((at, descriptor, pool.submit(_digest, descriptor)))
                if len(pending) > threads * _AHEAD:
                    yield settled()
            while pending:
                yield settled()
        finally:
            while pending:
                settled()


def _digest(descriptor: int) -> str:
    if descriptor < 0:
        return ""
    room = getattr(_ROOM, "buffer", None)
    if room is None:
        room = _ROOM.buffer = memoryview(bytearray(_CHUNK))
    digest = hashlib.sha256()
    while count := os.readv(descriptor, [room]):
        digest.update(room[:count])
    return digest.hexdigest()
