"""Strip copies of files while an export or a removal goes on, prove each, and hand it over when its turn comes.

The image's own files are never given to strip: it gets copies with numbers for names, in a private folder that is no
part of the image. If we are root it runs as a user who owns nothing but them. What it makes is copied again before it
is proved, so that nothing of it can change any more. What is not what it was to a loader is thrown away, and the
original stays.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType

from slimagent.apply.decide import Decision
from slimagent.apply.source import Source
from slimagent.apply.strip import load as strip_load
from slimagent.apply.strip import program as strip_program
from slimagent.apply.strip.load import Children, is_library, needed
from slimagent.apply.strip.program import LACKS, Passing, StripFailedError
from slimagent.apply.strip.proof import difference
from slimagent.apply.strip.rights import gain_nothing, stranger
from slimagent.elf.tables import Read, tables
from slimagent.errors import SlimagentError, UnavailableError
from slimagent.linux.files import explained
from slimagent.linux.temporary import new_directory
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.paths.algebra import join, to_text

WAITING = 256_000_000  # bytes of copies that may wait for their turn, beside one that is larger by itself
_FILES, _BYTES = 16, 32_000_000  # that one run of the program gets, at most
_HANGS = 3  # runs that did not end: then the program is given up
_CHUNK = 1 << 22  # bytes

MODIFIED = "it was modified after the plan was made"
NO_PROGRAM = "there is no program to strip it with"
_SOMETHING_ELSE = "strip left something else in its place"
_NOT_SMALLER = "strip does not make it smaller"
_UNLOADABLE = "it could be loaded before, and stripped it cannot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What to strip and to prove with: a strip program, None for none, and Pythons of the image, the best first.

    `seconds` is the time that a run of the program may take, beside that for the bytes it gets, and a library to load.
    """

    program: str | None = None
    pythons: tuple[str, ...] = ()
    seconds: float = 60.0
    waiting: int = WAITING


NO_TOOLS = Tools()


def strip_tools(said: str, root: bytes, excluded: tuple[bytes, ...]) -> Tools:
    """What to strip an image at `root` with, as `--strip` said; `excluded` are the agent's own folders.

    Libraries are loaded only if we run in the image: then it is the image's own loader that loads them. Raises
    UnavailableError for a program that was named and is not there.
    """
    pythons = strip_load.interpreters(excluded) if root == b"/" else ()
    return Tools(program=strip_program.find(said), pythons=pythons)


@dataclass(slots=True)
class _Work:
    """One file to strip: its entry, its copy, and what came of it. `why` empty: it is stripped, and `size` its size."""

    at: int
    copy: bytes
    why: str = ""
    size: int = 0
    loaded: bool = False


@dataclass(slots=True)
class _Batch:
    works: list[_Work] = field(default_factory=list)
    size: int = 0


def wanted(plan: Plan, inventory: Inventory, decision: Decision) -> tuple[set[int], list[tuple[bytes, str]]]:
    """The entries to strip, of several names of a file the first that stays; and what is not as it was, with why."""
    found: set[int] = set()
    refused = []
    kept = frozenset(decision.kept)
    planned = {each.path for each in plan.strips}
    seen = {each.path: each for each in plan.entries if each.path in planned}
    for path, _ in plan.strips:
        at, entry = inventory.index.get(path), seen.get(path)
        if at is None or at not in kept:
            continue
        is_file = stat.S_ISREG(inventory.modes[at])
        if entry is None or not is_file or (entry.size, entry.mtime_ns) != (inventory.sizes[at], inventory.mtimes[at]):
            refused.append((path, MODIFIED))
        elif at not in decision.edited:
            found.add(decision.first.get(at, at))
    return found, refused


class Stripped:
    """The stripped files of one export, in the order in which its entries are written. Use as a context manager.

    `order` are entries of the inventory; `beside` is a folder to make a private one in. `count` files were handed over
    so far, `saved` bytes smaller; `loaded` of them are libraries that were loaded to prove it. `left` are those that
    the plan strips and that stay as they are, with the reason, which is Passing if it may be gone next time.
    """

    def __init__(
        self,
        plan: Plan,
        inventory: Inventory,
        decision: Decision,
        order: Sequence[int],
        beside: bytes,
        tools: Tools,
    ) -> None:
        self._inventory = inventory
        self._tools = tools
        self._beside = beside
        self._resources = contextlib.ExitStack()
        entries, self.left = wanted(plan, inventory, decision)
        works = [at for at in order if at in entries]
        if tools.program is None:
            self.left += [(inventory.paths[at], NO_PROGRAM) for at in works]
            works = []
        self._batches = deque(_batches(inventory, works))
        self._running: dict[int, tuple[_Batch, Future[None]]] = {}
        self._waiting = 0
        self._bench: _Bench | None = None
        self.count = self.saved = self.loaded = 0

    def __enter__(self) -> Stripped:
        if self._batches:
            try:
                folder = self._resources.enter_context(new_directory(self._beside))
                self._bench = _Bench(self._inventory, folder, self._tools)
                self._resources.callback(self._bench.close)
                self._start()
            except BaseException as error:
                self._resources.close()
                if isinstance(error, OSError):
                    raise explained(error, self._beside) from None
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batches.clear()
        self._resources.close()

    def take(self, at: int) -> tuple[int, int] | None:
        """A descriptor of an entry's stripped contents, which the caller closes, and their size; None: not stripped.

        Waits until they are there. Each entry can be taken once, best in the order that was given.
        """
        while at not in self._running:
            if self._bench is None or not any(at == work.at for batch in self._batches for work in batch.works):
                return None
            self._start_next()
        batch, future = self._running.pop(at)
        try:
            future.result()
        except OSError as error:
            raise explained(error, self._beside) from None
        except MemoryError:
            raise UnavailableError(
                f"there is not enough memory to strip {to_text(self._inventory.paths[at])}",
                "give it more, or strip nothing with --strip none",
            ) from None
        work = next(each for each in batch.works if each.at == at)
        self._waiting -= self._inventory.sizes[at]
        self._start()
        if work.why:
            self.left.append((self._inventory.paths[at], work.why))
            return None
        descriptor = os.open(work.copy, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        os.unlink(work.copy)
        self.count += 1
        self.saved += self._inventory.sizes[at] - work.size
        self.loaded += work.loaded
        return descriptor, work.size

    def _start(self) -> None:
        """Start as much as may wait for its turn."""
        while self._batches and (not self._waiting or self._waiting + self._batches[0].size <= self._tools.waiting):
            self._start_next()

    def _start_next(self) -> None:
        batch = self._batches.popleft()
        if self._bench is not None:
            future = self._bench.start(batch)
            self._running |= {work.at: (batch, future) for work in batch.works}
            self._waiting += batch.size


def _batches(inventory: Inventory, works: list[int]) -> list[_Batch]:
    """Files by the run, in order, each with a number for a name."""
    found: list[_Batch] = []
    for number, at in enumerate(works):
        size = inventory.sizes[at]
        if not found or len(found[-1].works) >= _FILES or found[-1].size + size > _BYTES:
            found.append(_Batch())
        found[-1].works.append(_Work(at, b"%d" % number))
        found[-1].size += size
    return found


class _Bench:
    """Where copies are stripped and proved: a private folder, a thread per core, and a child to load with for each."""

    def __init__(self, inventory: Inventory, folder: bytes, tools: Tools) -> None:
        self._inventory = inventory
        self._tools = tools
        self._user = stranger(inventory)
        self._hangs = 0
        self._lock = threading.Lock()
        self._ended = False
        self._folder = folder
        cores = max(1, len(os.sched_getaffinity(0)))
        # from a file system that nothing may be executed on, no library can be loaded
        pythons = () if os.statvfs(folder).f_flag & os.ST_NOEXEC else tools.pythons
        self._children = Children(pythons, self._user, tools.seconds, cores)
        self._pool = ThreadPoolExecutor(cores, thread_name_prefix="strip", initializer=gain_nothing)

    def start(self, batch: _Batch) -> Future[None]:
        """Strip and prove the files of a batch."""
        return self._pool.submit(self._run, batch)

    def close(self) -> None:
        """Wait for what runs, and forget the rest."""
        self._ended = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._children.close()

    def _run(self, batch: _Batch) -> None:
        holder = os.path.join(self._folder, batch.works[0].copy)
        os.mkdir(holder, 0o700)
        if self._user is not None:
            os.chown(holder, self._user, self._user)
        for work in batch.works:
            work.copy = os.path.join(holder, work.copy)
        with Source(self._inventory) as source:
            for work in batch.works:
                work.why = self._copy(source, work)
            self._strip(source, holder, [work for work in batch.works if not work.why])
            for work in batch.works:
                if not work.why:
                    self._prove(source, work)
        for work in batch.works:
            if work.why:
                with contextlib.suppress(OSError):  # whatever is there: it goes with the folder
                    os.unlink(work.copy)

    def _copy(self, source: Source, work: _Work) -> str:
        """Copy a file for strip. Returns why it cannot be; the export will say so itself, or nobody cares."""
        try:
            original = source.open(work.at)
        except SlimagentError as error:
            return _why(error)
        try:
            copy = os.open(work.copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                while os.sendfile(copy, original, None, _CHUNK):
                    pass
                if self._user is not None:
                    os.fchown(copy, self._user, self._user)
            finally:
                os.close(copy)
        finally:
            os.close(original)
        return ""

    def _strip(self, source: Source, holder: bytes, works: list[_Work]) -> None:
        """Strip copies in one go; if that fails, afresh one by one, to find out which it was."""
        if not works:
            return
        why = self._attempt(holder, works)
        if not why:
            return
        if len(works) == 1:
            works[0].why = why
            return
        for work in works:
            try:
                os.unlink(work.copy)
            except FileNotFoundError:
                pass
            except OSError:
                work.why = _SOMETHING_ELSE
                continue
            work.why = self._copy(source, work) or self._attempt(holder, [work])

    def _attempt(self, holder: bytes, works: list[_Work]) -> str:
        program, size = self._tools.program, sum(self._inventory.sizes[work.at] for work in works)
        if program is None or self._ended:
            return NO_PROGRAM
        if self._hangs >= _HANGS:
            return f"strip was given up: {_HANGS} times it did not end in time"
        names = [os.fsdecode(os.path.basename(work.copy)) for work in works]
        try:
            strip_program.run(program, holder, names, size, self._tools.seconds, self._user)
        except StripFailedError as error:
            with self._lock:
                self._hangs += error.hung
            return error.why
        return ""

    def _take_over(self, work: _Work) -> str:
        """Copy what strip made to a file of our own, which nobody else can change. Returns why it cannot be."""
        try:
            made = os.open(work.copy, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in LACKS:
                raise
            return _SOMETHING_ELSE
        own = os.path.join(self._folder, b"%s.own" % os.path.basename(work.copy))
        limit = self._inventory.sizes[work.at]
        try:
            status = os.fstat(made)
            if not stat.S_ISREG(status.st_mode) or status.st_size >= limit:
                return _NOT_SMALLER
            copy = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                while count := os.sendfile(copy, made, None, min(_CHUNK, limit - work.size)):
                    work.size += count
            finally:
                os.close(copy)
        finally:
            os.close(made)
        with contextlib.suppress(OSError):
            os.unlink(work.copy)
        work.copy = own
        return _NOT_SMALLER if work.size >= limit else ""

    def _prove(self, source: Source, work: _Work) -> None:
        """Judge a stripped copy: `why` is set if it is not what the original is."""
        work.why = self._take_over(work)
        if work.why:
            return
        try:
            original = source.open(work.at)
        except SlimagentError as error:
            work.why = _why(error)
            return
        try:
            copy = os.open(work.copy, os.O_RDONLY | os.O_CLOEXEC)
            try:
                work.why = difference(_reader(original), _reader(copy)) or self._load(work, original, copy)
            finally:
                os.close(copy)
        finally:
            os.close(original)

    def _load(self, work: _Work, original: int, copy: int) -> str:
        """Load a library, as far as there is something to load it with. One that never could be loaded proves nothing.

        So it is only tried as it was if as it is it cannot be loaded.
        """
        found = tables(_reader(original))
        if found is None or not is_library(found):
            return ""
        first = needed(_reader(original), join(self._inventory.root, self._inventory.paths[work.at][1:]))
        work.loaded = self._children.loads(copy, first)
        if not work.loaded and self._children.loads(original, first):
            work.loaded = self._children.loads(copy, first)  # at first it may have been killed for want of memory
            return "" if work.loaded else _UNLOADABLE
        return ""


def _why(error: SlimagentError) -> str:
    """Why an original could not be opened: another one is there for good, anything else may pass."""
    return Passing(error.message) if isinstance(error, UnavailableError) else error.message


def _reader(descriptor: int) -> Read:
    return lambda offset, size: os.pread(descriptor, size, offset)
