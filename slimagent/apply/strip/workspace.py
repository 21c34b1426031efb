"""Strip copies of files, take GPU code out of them, and prove each, in a private directory outside the image.

The strip program never gets the image's own files, but copies with numbers for names. If we are root, it runs as a user
who owns nothing else. Its results are copied again before they are proved, so that nobody can change them any more.
A result that a loader would see as another file is thrown away, and the original stays. GPU code goes out of what was
stripped, or of the original, and that is proved and loaded in turn.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from slimagent.apply.source import Source
from slimagent.apply.strip import load as strip_load
from slimagent.apply.strip import program as strip_program
from slimagent.apply.strip.load import Children, is_library, needed
from slimagent.apply.strip.program import LACKS, Passing, StripFailedError
from slimagent.apply.strip.proof import difference
from slimagent.apply.strip.rights import gain_nothing, stranger
from slimagent.elf.tables import Read, tables
from slimagent.errors import SlimagentError, UnavailableError
from slimagent.gpu.architectures import Target
from slimagent.gpu.proof import difference as difference_of_gpu
from slimagent.gpu.rewrite import Rewrite, rewrite
from slimagent.linux.descriptors import closing
from slimagent.model.inventory import Inventory
from slimagent.paths.algebra import join

WAITING = 256_000_000  # bytes of copies that may wait for their turn; one larger copy may wait alone
_HANGS = 3  # runs that hung: then the program is given up
_CHUNK = 1 << 22  # bytes
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_NEW_TO_READ = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

NO_PROGRAM = "no program to strip it with"
_SOMETHING_ELSE = "strip left something else in its place"
_NOT_SMALLER = "strip does not make it smaller"
_UNLOADABLE = "it could be loaded before, and the smaller copy cannot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What to strip and to prove with: a strip program, None for none, and Pythons of the image, the best first.

    `seconds` is the time limit of loading a library, and of a run of the program, which gets more for many bytes.
    """

    program: str | None = None
    pythons: tuple[str, ...] = ()
    seconds: float = 60.0
    waiting: int = WAITING


NO_TOOLS = Tools()


def strip_tools(said: str, root: bytes, excluded: tuple[bytes, ...]) -> Tools:
    """What to strip an image at `root` with, for the value of `--strip`; `excluded` are the agent's own directories.

    Libraries are loaded only if we run in the image, because only its own loader proves anything. Raises
    UnavailableError if the named program does not exist.
    """
    pythons = strip_load.interpreters(excluded) if root == b"/" else ()
    return Tools(program=strip_program.find(said), pythons=pythons)


@dataclass(slots=True)
class Work:
    """One file to make smaller: its entry, its copy and the result: why it stays as it is, or its size.

    `gpu_saved` and `partly` are as in `Outcome`.
    """

    at: int
    copy: bytes
    strip: bool = True
    gpu: bool = False
    why: str = ""
    size: int = 0
    loaded: bool = False
    gpu_saved: int = 0
    partly: str = ""


@dataclass(slots=True)
class Batch:
    works: list[Work] = field(default_factory=list)
    size: int = 0


class Workspace:
    """Strips and proves copies in a private directory, with a thread for each core and a child to load in for each."""

    def __init__(self, inventory: Inventory, directory: bytes, tools: Tools, target: Target | None = None) -> None:
        self._inventory = inventory
        self._tools = tools
        self._target = target
        self._user = stranger(inventory)
        self._hangs = 0
        self._lock = threading.Lock()
        self._ended = False
        self._directory = directory
        cores = max(1, len(os.sched_getaffinity(0)))
        # no library can be loaded from a file system that is mounted noexec
        pythons = () if os.statvfs(directory).f_flag & os.ST_NOEXEC else tools.pythons
        self._children = Children(pythons, self._user, tools.seconds, cores)
        self._pool = ThreadPoolExecutor(cores, thread_name_prefix="strip", initializer=gain_nothing)

    def start(self, batch: Batch) -> Future[None]:
        """Strip and prove the files of a batch."""
        return self._pool.submit(self._run, batch)

    def close(self) -> None:
        """Wait for what runs, and cancel the rest."""
        self._ended = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._children.close()

    def _run(self, batch: Batch) -> None:
        holder = os.path.join(self._directory, batch.works[0].copy)
        os.mkdir(holder, 0o700)
        if self._user is not None:
            os.chown(holder, self._user, self._user)
        for work in batch.works:
            work.copy = os.path.join(holder, work.copy)
        strips = [work for work in batch.works if work.strip]
        with Source(self._inventory) as source:
            for work in strips:
                work.why = self._copy(source, work)
            self._strip(source, holder, [work for work in strips if not work.why])
            for work in strips:
                if not work.why:
                    self._prove(source, work)
            for work in batch.works:
                if work.gpu:
                    self._take_gpu_code(source, work)
        for work in batch.works:
            if work.why:
                with contextlib.suppress(OSError):  # what stays goes with the directory
                    os.unlink(work.copy)

    def _copy(self, source: Source, work: Work) -> str:
        """Copy a file for strip. Returns why it cannot be copied, or nothing."""
        try:
            original = source.open(work.at)
        except SlimagentError as error:
            return _why(error)
        with closing(original), closing(os.open(work.copy, _NEW, 0o644)) as copy:
            while os.sendfile(copy, original, None, _CHUNK):
                pass
            if self._user is not None:
                os.fchown(copy, self._user, self._user)
        return ""

    def _strip(self, source: Source, holder: bytes, works: list[Work]) -> None:
        """Strip copies in one run. If that fails, strip them again one by one, to find out which copy failed."""
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

    def _attempt(self, holder: bytes, works: list[Work]) -> str:
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

    def _take_over(self, work: Work) -> str:
        """Copy what strip made to a file that nobody else can change. Returns why it cannot be used, or nothing."""
        try:
            made = os.open(work.copy, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in LACKS:
                raise
            return _SOMETHING_ELSE
        own = os.path.join(self._directory, b"%s.own" % os.path.basename(work.copy))
        limit = self._inventory.sizes[work.at]
        with closing(made):
            status = os.fstat(made)
            if not stat.S_ISREG(status.st_mode) or status.st_size >= limit:
                return _NOT_SMALLER
            with closing(os.open(own, _NEW, 0o644)) as copy:
                while count := os.sendfile(copy, made, None, min(_CHUNK, limit - work.size)):
                    work.size += count
        with contextlib.suppress(OSError):
            os.unlink(work.copy)
        work.copy = own
        return _NOT_SMALLER if work.size >= limit else ""

    def _prove(self, source: Source, work: Work) -> None:
        """Compare a stripped copy with the original, and set `why` if it is not the same to a loader."""
        work.why = self._take_over(work)
        if work.why:
            return
        try:
            original = source.open(work.at)
        except SlimagentError as error:
            work.why = _why(error)
            return
        with closing(original), closing(os.open(work.copy, os.O_RDONLY | os.O_CLOEXEC)) as copy:
            work.why = difference(_reader(original), _reader(copy)) or self._load(work, original, copy)

    def _take_gpu_code(self, source: Source, work: Work) -> None:
        """Take GPU code out of a file, stripped or not. If that cannot be done, or proved, what there was stays."""
        is_stripped = work.strip and not work.why
        was_loaded = work.loaded
        made = work.copy + b".gpu"
        try:
            base = os.open(work.copy, os.O_RDONLY | os.O_CLOEXEC) if is_stripped else source.open(work.at)
        except SlimagentError as error:
            work.why = work.why or _why(error)
            return
        with closing(base), closing(os.open(made, _NEW_TO_READ, 0o644)) as copy:
            before = os.fstat(base).st_size
            why = self._without_gpu_code(base, before, copy) or self._load(work, base, copy)
            if not why:
                work.size = os.fstat(copy).st_size
        if why:
            os.unlink(made)
            work.loaded = was_loaded
            work.partly = f"GPU code: {why}" if is_stripped else ""
            work.why = "" if is_stripped else work.why or why
            return
        if is_stripped:
            os.unlink(work.copy)
        work.partly = work.why
        work.copy, work.why, work.gpu_saved = made, "", before - work.size

    @property
    def _wanted(self) -> Target:
        if self._target is None:
            raise ValueError("GPU code goes only if a target is given")
        return self._target

    def _without_gpu_code(self, base: int, size: int, copy: int) -> str:
        """Write a file of `size` bytes without GPU code that goes, and prove it. Returns why this fails, or nothing."""
        read = _reader(base)
        found = tables(read)
        before = _times(base)
        made = "its headers are damaged" if found is None else rewrite(read, found, size, self._wanted)
        if isinstance(made, str):
            return made
        why = _write(made, base, copy) or difference_of_gpu(read, _reader(copy), self._wanted, made.references)
        # What was found in it must be true of what it was compared with.
        return why or ("" if _times(base) == before else "it changed meanwhile")

    def _load(self, work: Work, original: int, copy: int) -> str:
        """Load a library's copy, if there is a Python to load it. Returns why it must not be used, or nothing.

        If it cannot be loaded, the original is tried: if that fails too, loading proves nothing.
        """
        found = tables(_reader(original))
        if found is None or not is_library(found):
            return ""
        first = needed(_reader(original), join(self._inventory.root, self._inventory.paths[work.at][1:]))
        work.loaded = self._children.loads(copy, first)
        if not work.loaded and self._children.loads(original, first):
            work.loaded = self._children.loads(copy, first)  # the first time it may have been killed for lack of memory
            return "" if work.loaded else _UNLOADABLE
        return ""


def _write(made: Rewrite, base: int, copy: int) -> str:
    """Write what is made of a file. Returns why it cannot be used, or nothing."""
    os.ftruncate(copy, made.size)
    for begin, to, count in made.copies:
        os.lseek(copy, to, os.SEEK_SET)
        while count:
            sent = os.sendfile(copy, base, begin, min(_CHUNK, count))
            if not sent:
                return "it was cut short"
            begin, count = begin + sent, count - sent
    for to, data in made.patches:
        os.pwrite(copy, data, to)
    return ""


def _why(error: SlimagentError) -> str:
    """Why an original could not be opened. Only a changed file stays changed; any other reason may pass."""
    return Passing(error.message) if isinstance(error, UnavailableError) else error.message


def _times(descriptor: int) -> tuple[int, int, int]:
    """What differs after a file was written to: nobody can set back when its inode changed last (inode(7), "ctime")."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _reader(descriptor: int) -> Read:
    return lambda offset, size: os.pread(descriptor, size, offset)
