"""Make files smaller while an export or a removal goes on, and hand over each in its turn: see `workspace.py`."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

from slimagent.apply.decide import Decision
from slimagent.apply.strip.outcome import Outcome, Tally
from slimagent.apply.strip.workspace import NO_PROGRAM, Batch, Tools, Work, Workspace
from slimagent.errors import UnavailableError
from slimagent.gpu.architectures import parse
from slimagent.linux.files import explained
from slimagent.linux.temporary import new_directory
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.paths.algebra import to_text

_FILES, _BYTES = 16, 32_000_000  # at most, for one run of the program

MODIFIED = "it was modified after the plan was made"


class Ways(NamedTuple):
    """How a file is to be made smaller: by stripping it, by taking out GPU code, or both."""

    strip: bool
    gpu: bool


def to_shrink(plan: Plan, inventory: Inventory, decision: Decision) -> tuple[dict[int, Ways], list[tuple[bytes, str]]]:
    """The entries to make smaller, a file by its first name that stays; and what has changed, with the reason."""
    found: dict[int, Ways] = {}
    refused = []
    kept = frozenset(decision.kept)
    strips = {each.path for each in plan.strips}
    gpu = frozenset(each.path for each in plan.gpu.files) if plan.gpu is not None else frozenset()
    planned = strips | gpu
    seen = {each.path: each for each in plan.entries if each.path in planned}
    for path in sorted(planned):
        at, entry = inventory.index.get(path), seen.get(path)
        if at is None or at not in kept:
            continue
        is_file = stat.S_ISREG(inventory.modes[at])
        if entry is None or not is_file or (entry.size, entry.mtime_ns) != (inventory.sizes[at], inventory.mtimes[at]):
            refused.append((path, MODIFIED))
        elif at not in decision.edited:
            at = decision.first.get(at, at)
            earlier = found.get(at, Ways(strip=False, gpu=False))
            found[at] = Ways(strip=earlier.strip or path in strips, gpu=earlier.gpu or path in gpu)
    return found, refused


class Stripped:
    """The files of one export that become smaller, in the order in which they are written. Use as a context manager.

    `order` are entries of the inventory. A private directory is made in the directory `beside`. `tally` is the sum.
    """

    def __init__(
        self, plan: Plan, inventory: Inventory, decision: Decision, order: Sequence[int], beside: bytes, tools: Tools
    ) -> None:
        self._inventory = inventory
        self._tools = tools
        self._beside = beside
        self._resources = contextlib.ExitStack()
        self._target = None if plan.gpu is None else parse(plan.gpu.target, ptx=plan.gpu.ptx)
        entries, refused = to_shrink(plan, inventory, decision)
        self.tally = Tally(left=refused)
        if tools.program is None:
            alone = [at for at in order if at in entries and not entries[at].gpu]
            self.tally.left += [(inventory.paths[at], NO_PROGRAM) for at in alone]
            entries = {at: Ways(strip=False, gpu=True) for at, ways in entries.items() if ways.gpu}
        works = [at for at in order if at in entries]
        self._works = set(works)
        self._batches = deque(_batches(inventory, works, entries))
        self._running: dict[int, tuple[Batch, Future[None]]] = {}
        self._waiting = 0
        self._workspace: Workspace | None = None

    def __enter__(self) -> Stripped:
        if self._batches:
            try:
                directory = self._resources.enter_context(new_directory(self._beside))
                self._workspace = Workspace(self._inventory, directory, self._tools, self._target)
                self._resources.callback(self._workspace.close)
                self._start()
            except BaseException as error:
                self._resources.close()
                if isinstance(error, OSError):
                    raise explained(error, self._beside) from None
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._batches.clear()
        self._resources.close()

    def take(self, at: int) -> tuple[int, int] | None:
        """A descriptor of an entry's smaller contents, which the caller closes, and their size; None: none are made.

        Waits for them and counts them. Each entry can be taken once, best in the given order.
        """
        ended = self.end(at)
        if ended is None:
            return None
        outcome, descriptor = ended
        self.tally.add(outcome, self._inventory.sizes[at])
        return None if outcome.why else (descriptor, outcome.size)

    def end(self, at: int) -> tuple[Outcome, int] | None:
        """How making an entry smaller has ended, not counted yet, and the descriptor: -1 if it is left as it is.

        None for an entry that is not to become smaller. A reason that may be gone next time is a Passing.
        """
        if at not in self._works:
            return None
        self._works.remove(at)
        while at not in self._running:
            self._start_next()
        batch, future = self._running.pop(at)
        path, size = self._inventory.paths[at], self._inventory.sizes[at]
        try:
            future.result()
        except OSError as error:
            raise explained(error, self._beside) from None
        except MemoryError:
            raise UnavailableError(
                f"there is not enough memory to strip {to_text(path)}", "give it more memory, or use --strip none"
            ) from None
        work = next(each for each in batch.works if each.at == at)
        self._waiting -= size
        self._start()
        if work.why:
            return Outcome(path=path, size=0, why=work.why), -1
        descriptor = os.open(work.copy, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        os.unlink(work.copy)
        return Outcome(
            path=path, size=work.size, loaded=work.loaded, gpu=work.gpu_saved, partly=work.partly
        ), descriptor

    def _start(self) -> None:
        """Start as many batches as may wait for their turn."""
        while self._batches and (not self._waiting or self._waiting + self._batches[0].size <= self._tools.waiting):
            self._start_next()

    def _start_next(self) -> None:
        batch = self._batches.popleft()
        if self._workspace is not None:
            future = self._workspace.start(batch)
            self._running |= {work.at: (batch, future) for work in batch.works}
            self._waiting += batch.size


def _batches(inventory: Inventory, works: list[int], ways: dict[int, Ways]) -> list[Batch]:
    """The files for each run, in order. Their names are numbers."""
    found: list[Batch] = []
    for number, at in enumerate(works):
        size = inventory.sizes[at]
        if not found or len(found[-1].works) >= _FILES or found[-1].size + size > _BYTES:
            found.append(Batch())
        found[-1].works.append(Work(at, b"%d" % number, strip=ways[at].strip, gpu=ways[at].gpu))
        found[-1].size += size
    return found
