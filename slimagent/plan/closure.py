"""What a kept file drags in, and no tracer sees: interpreters, libraries, the other half of a pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from slimagent.model import Inventory, Loader, Needs, Reason, Verdict
from slimagent.paths import join, name, parent
from slimagent.plan.keeper import Keeper

EXECUTABLE = 0o111
# What env(1) searches for a script's interpreter when nothing else is known: the usual PATH of an image.
_PATH = (b"/usr/local/sbin", b"/usr/local/bin", b"/usr/sbin", b"/usr/bin", b"/sbin", b"/bin")
_LIB = (b"lib", b"lib64", b"lib/x86_64-linux-gnu", b"lib/aarch64-linux-gnu")  # what $LIB becomes, ld.so(8)
_HWCAPS = b"/glibc-hwcaps/"
_CACHE = b"/__pycache__/"
# R's lazy-load data bases (R Internals, "Lazy loading"): an index and the data, neither of use without the other.
_R_HALVES = {b".rdb": b".rdx", b".rdx": b".rdb"}


class ContentReader(Protocol):
    """Tells what a regular file's own bytes say it needs."""

    def needs(self, path: bytes, executable: bool) -> Needs | None:
        """The needs of the file at `path`, or None."""


class Closure:
    """Works off a keeper's queue. `unresolved` are needs that nothing in the image fulfils."""

    def __init__(self, keeper: Keeper, contents: ContentReader, loader: Loader) -> None:
        self._keeper = keeper
        self._inventory = keeper.inventory
        self._contents = contents
        self._loader = loader
        self._twins = _twins(self._inventory)
        self._compiled = _compiled(self._inventory)
        self._variants = _variants(self._inventory)
        self._by_name: dict[bytes, list[bytes]] | None = None
        self.unresolved: list[tuple[bytes, str]] = []

    def run(self, progress: Callable[[int], None] | None = None) -> None:
        """Look at every queued file, and at every file that this brings in, until nothing is left."""
        done, queue = 0, self._keeper.queue
        while queue:
            self._examine(queue.popleft())
            done += 1
            if progress is not None and done % 1024 == 0:
                progress(done)

    def _examine(self, at: int) -> None:
        path = self._inventory.paths[at]
        self._pairs(at, path)
        needs = self._contents.needs(path, bool(self._inventory.modes[at] & EXECUTABLE))
        if needs is None:
            return
        if needs.interpreter and not self._drag(path, needs.interpreter, "interpreter"):
            self.unresolved.append((path, needs.interpreter.decode("utf-8", "backslashreplace")))
        if needs.via_env:
            for folder in dict.fromkeys((*_PATH, parent(path))):
                self._drag(path, join(folder, needs.via_env), "interpreter")
        for library in needs.libraries:
            self._library(path, library, needs.search)
        for variant in self._variants.get(path, ()):
            self._drag(path, variant, "processor-variant")

    def _drag(self, source: bytes, path: bytes, kind: str, detail: str = "") -> bool:
        reason = Reason(verdict=Verdict.KEEP, kind=kind, detail=detail, source=source)
        way = Reason(verdict=Verdict.KEEP, kind="link-on-the-way", detail=kind, source=source)
        return self._keeper.keep(path, reason, way) is not None

    def _pairs(self, at: int, path: bytes) -> None:
        if self._inventory.links[at] > 1:
            for twin in self._twins.get((self._inventory.devices[at], self._inventory.inodes[at]), ()):
                self._drag(path, twin, "hard-link")
        if path.endswith(b".pyc"):
            self._drag(path, source_of(path), "source-of-byte-code")
        elif path.endswith(b".py"):
            for compiled in self._compiled.get(path, ()):
                self._drag(path, compiled, "byte-code")
        other = _R_HALVES.get(path[-4:])
        if other is not None:
            self._drag(path, path[:-4] + other, "lazy-load-half")

    def _library(self, path: bytes, library: bytes, search: tuple[bytes, ...]) -> None:
        text = library.decode("utf-8", "backslashreplace")
        if b"/" in library:
            candidates = [library] if library[:1] == b"/" else []
            found = [self._drag(path, each, "library", text) for each in candidates]
        else:
            found = []
            for candidates in self._places(path, library, search):
                found = [self._drag(path, each, "library", text) for each in candidates]
                if any(found):
                    break
        if not any(found):
            self.unresolved.append((path, text))

    def _places(self, path: bytes, library: bytes, search: tuple[bytes, ...]):  # type: ignore[no-untyped-def]
        """Where the loader looks, in its order (ld.so(8)); at last anywhere: the search path may be inherited.

        A program's DT_RPATH also serves the libraries it loads, LD_LIBRARY_PATH can name any folder, and a library that
        is loaded already is found by name alone. Then every file of that name stays.
        """
        yield [join(folder, library) for entry in search for folder in expand(entry, path)]
        yield list(self._loader.cache.get(library, ()))
        yield [join(folder, library) for folder in self._loader.folders]
        if self._by_name is None:
            self._by_name = {}
            for each in self._inventory.paths:
                if b".so" in name(each):
                    self._by_name.setdefault(name(each), []).append(each)
        yield self._by_name.get(library, [])


def source_of(compiled: bytes) -> bytes:
    """The source of a byte code file: PEP 3147's `__pycache__/NAME.TAG.pyc`, or the old `NAME.pyc` beside it."""
    folder, last = parent(compiled), name(compiled)
    if folder.endswith(b"/__pycache__"):
        return parent(folder) + b"/" + last.split(b".", 1)[0] + b".py"
    return compiled[:-1]


def expand(entry: bytes, path: bytes) -> list[bytes]:
    """The absolute folders that an entry of DT_RPATH or DT_RUNPATH of the file at `path` can mean (ld.so(8))."""
    entry = entry.replace(b"${ORIGIN}", b"$ORIGIN").replace(b"${LIB}", b"$LIB")
    entry = entry.replace(b"$ORIGIN", parent(path))
    entries = [entry.replace(b"$LIB", each) for each in _LIB] if b"$LIB" in entry else [entry]
    return [each for each in entries if each[:1] == b"/" and b"$" not in each]


def _twins(inventory: Inventory) -> dict[tuple[int, int], list[bytes]]:
    found: dict[tuple[int, int], list[bytes]] = {}
    for at, links in enumerate(inventory.links):
        if links > 1 and inventory.modes[at] & 0o170000 == 0o100000:
            found.setdefault((inventory.devices[at], inventory.inodes[at]), []).append(inventory.paths[at])
    return found


def _compiled(inventory: Inventory) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for path in inventory.paths:
        if path.endswith(b".pyc"):
            found.setdefault(source_of(path), []).append(path)
    return found


def _variants(inventory: Inventory) -> dict[bytes, list[bytes]]:
    """Libraries built for newer processors, by the plain one: `DIR/glibc-hwcaps/LEVEL/NAME` (ld.so(8))."""
    found: dict[bytes, list[bytes]] = {}
    for path in inventory.paths:
        if _HWCAPS in path:
            folder = path[: path.index(_HWCAPS)]
            found.setdefault(folder + b"/" + name(path), []).append(path)
    return found
