"""Keep what a kept file needs but no tracer sees: interpreters, libraries, the other half of a pair."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from slimagent.elf.tables import Symbols
from slimagent.gpu.weigh import Weight
from slimagent.model.inventory import Inventory, Loader, Needs
from slimagent.model.reason import Reason, ReasonKind
from slimagent.paths.algebra import USUAL_PATH, join, name, parent, source_of
from slimagent.plan.keeper import Grade, Keeper
from slimagent.plan.parts import EXECUTABLE

# What the loader substitutes for its tokens (ld.so(8)) on the machines where the image may run.
_LIB = (b"lib", b"lib64", b"lib/x86_64-linux-gnu", b"lib/aarch64-linux-gnu")
_PLATFORM = (b"x86_64", b"haswell", b"xeon_phi", b"aarch64")
_TOKEN = re.compile(rb"\$(?:(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_])|\{(ORIGIN|LIB|PLATFORM)\})")
_PATH_MAX = 4096  # <linux/limits.h>
_HWCAPS = b"/glibc-hwcaps/"
# R's lazy-load databases (R Internals, "Lazy loading"): an index and the data, useless without each other.
_R_HALVES = {b".rdb": b".rdx", b".rdx": b".rdb"}


class ContentReader(Protocol):
    """Reads from a regular file's bytes what it needs."""

    def needs(self, path: bytes, executable: bool) -> Needs | None:
        """The needs of the file at `path`, or None."""

    def text(self, path: bytes, limit: int) -> bytes:
        """The first `limit` bytes of the file at `path`; empty if it cannot be read."""

    def symbols(self, path: bytes) -> Symbols | None:
        """What strip would remove from the file at `path`, once `needs` has read it, or None."""

    def gpu(self, path: bytes) -> Weight | None:
        """What GPU code the file at `path` holds and would lose, once `needs` has read it, or None."""


class Closure:
    """Works through a keeper's queue. `unresolved` are needs that nothing in the image meets."""

    def __init__(
        self, keeper: Keeper, contents: ContentReader, loader: Loader, cruft: Sequence[int] | None = None
    ) -> None:
        self._keeper = keeper
        self._cruft = cruft
        self._inventory = keeper.inventory
        self._contents = contents
        self._loader = loader
        self._twins = _twins(self._inventory)
        self._variants = _variants(self._inventory)
        self._by_name: dict[bytes, list[bytes]] | None = None
        # If only a part of the file system was scanned, a need may be met outside of it.
        self._whole = self._inventory.scopes == (b"/",)
        self.unresolved: list[tuple[bytes, str]] = []

    def run(self, progress: Callable[[int], None] | None = None) -> None:
        """Process every queued file, and every file that this adds, until nothing is left."""
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
        if needs.interpreter:
            self._settle(path, needs.interpreter, [self._drag(path, needs.interpreter, ReasonKind.INTERPRETER)])
        if needs.via_env:
            directories = dict.fromkeys((*USUAL_PATH, parent(path)))
            self._settle(
                path,
                needs.via_env,
                [self._drag(path, join(directory, needs.via_env), ReasonKind.INTERPRETER) for directory in directories],
            )
        for library in needs.libraries:
            self._library(path, library, needs.search)
        for variant in self._variants.get(path, ()):
            self._drag(path, variant, ReasonKind.PROCESSOR_VARIANT)

    def _drag(self, source: bytes, path: bytes, kind: ReasonKind, detail: str = "") -> bool:
        reason = Reason(kind=kind, detail=detail, source=source)
        way = Reason(kind=ReasonKind.LINK_ON_THE_WAY, detail=kind, source=source)
        return self._keeper.keep(path, reason, way, grade=Grade.REQUIRED) is not None

    def _settle(self, path: bytes, needed: bytes, found: list[bool]) -> None:
        if self._whole and not any(found):
            self.unresolved.append((path, needed.decode("utf-8", "backslashreplace")))

    def _pairs(self, at: int, path: bytes) -> None:
        if self._inventory.links[at] > 1:
            for twin in self._twins.get(self._inventory.file(at), ()):
                self._twin(path, twin)
        if path.endswith(b".pyc"):
            self._drag(path, source_of(path), ReasonKind.SOURCE_OF_BYTECODE)
        other = _R_HALVES.get(path[-4:])
        if other is not None:
            self._drag(path, path[:-4] + other, ReasonKind.LAZY_LOAD_HALF)

    def _twin(self, path: bytes, twin: int) -> None:
        """Keep another hard link to a file, unless it is cruft (in a cache). Its package need not stay."""
        if self._cruft is None or self._cruft[twin] < 0:
            self._keeper.settle(twin, Reason(kind=ReasonKind.HARD_LINK, source=path))

    def _library(self, path: bytes, library: bytes, search: tuple[bytes, ...]) -> None:
        text = library.decode("utf-8", "backslashreplace")
        found: list[bool] = []
        for candidates in self._places(path, library, search):
            found = [self._drag(path, each, ReasonKind.LIBRARY, text) for each in candidates]
            if any(found):
                break
        self._settle(path, library, found)

    def weight(self, at: int, limit: int) -> int:
        """The bytes that keeping an entry and its libraries would add; a rough number above `limit`."""
        seen, pending, total = {at}, [at], self._inventory.sizes[at]
        while pending and total <= limit:
            path, mode = self._inventory.paths[pending[-1]], self._inventory.modes[pending.pop()]
            needs = self._contents.needs(path, bool(mode & EXECUTABLE))
            if needs is None:
                continue
            for library in needs.libraries:
                for each in self._ends(path, library, needs.search) - seen:
                    seen.add(each)
                    if self._keeper.reason(each) < 0:
                        total += self._inventory.sizes[each]
                        pending.append(each)
        return total

    def _ends(self, path: bytes, library: bytes, search: tuple[bytes, ...]) -> set[int]:
        """The entries that `_library` would keep."""
        for group in self._places(path, library, search):
            ends = (self._keeper.resolver.resolve(each).end for each in group)
            found = {self._inventory.index[end] for end in ends if end in self._inventory.index}
            if found:
                return found
        return set()

    def _places(self, path: bytes, library: bytes, search: tuple[bytes, ...]) -> Iterator[list[bytes]]:
        """Where the loader looks, in its order (ld.so(8)), and finally anywhere: the search path may be inherited.

        A program's DT_RPATH also serves its libraries, LD_LIBRARY_PATH can name any directory, and a loaded library is
        found by name alone. So, if nothing else fits, every file of that name stays.
        """
        if b"/" in library:  # a path, not a name to search for
            yield expand(library, path)
            return
        yield [join(directory, library) for entry in search for directory in expand(entry, path)]
        yield list(self._loader.cache.get(library, ()))
        yield [join(directory, library) for directory in self._loader.directories]
        if self._by_name is None:
            self._by_name = {}
            for each in self._inventory.paths:
                if b".so" in name(each):
                    self._by_name.setdefault(name(each), []).append(each)
        yield self._by_name.get(library, [])


def expand(entry: bytes, path: bytes) -> list[bytes]:
    """The absolute directories that an entry of DT_RPATH or DT_RUNPATH of the file at `path` can mean (ld.so(8))."""
    tokens = [token[1] or token[2] for token in _TOKEN.finditer(entry)]
    if tokens.count(b"ORIGIN") * len(parent(path)) > _PATH_MAX:
        return []  # no file has such a path
    # A token means the same wherever it stands, so there is one result for each machine, however many tokens there are.
    machines = [(lib, platform) for lib in _LIB for platform in _PLATFORM] if tokens else [(b"", b"")]
    found = [_substituted(entry, {b"ORIGIN": parent(path), b"LIB": lib, b"PLATFORM": each}) for lib, each in machines]
    return [whole for whole in dict.fromkeys(found) if whole[:1] == b"/"]


def _substituted(entry: bytes, values: Mapping[bytes, bytes]) -> bytes:
    return _TOKEN.sub(lambda token: values[token[1] or token[2]], entry)


def _twins(inventory: Inventory) -> dict[int | tuple[int, ...], list[int]]:
    found: dict[int | tuple[int, ...], list[int]] = {}
    for at, links in enumerate(inventory.links):
        if links > 1 and inventory.modes[at] & 0o170000 == 0o100000:
            found.setdefault(inventory.file(at), []).append(at)
    return found


def _variants(inventory: Inventory) -> dict[bytes, list[bytes]]:
    """For each plain library, its builds for newer processors: `DIR/glibc-hwcaps/LEVEL/NAME` (ld.so(8)).

    Also the reverse: the trace saw only this machine's build, and the image may run on another machine.
    """
    found: dict[bytes, list[bytes]] = {}
    for path in inventory.paths:
        if _HWCAPS in path:
            plain = path[: path.index(_HWCAPS)] + b"/" + name(path)
            found.setdefault(plain, []).append(path)
            found.setdefault(path, []).append(plain)
    return found
