"""Rules for traces that cannot see lookups: they keep what such a trace cannot prove unneeded. Pure.

Such a trace has the real paths of opened files only. The rules were measured: lookups were removed from a trace that
has them, and the plans of both were compared (see docs/levels.md). A package's metadata needs no rule here: it stays
with the package, at every level.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator

from slimagent.model.inventory import Inventory, Owners
from slimagent.model.plan import Caution
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.model.trace import Access, BlindSpot, How, Trace
from slimagent.paths.algebra import parent
from slimagent.plan.keeper import Keeper
from slimagent.plan.levels import Levels
from slimagent.plan.parts import EXECUTABLE, Part, part

_LINK = "its target stays, and a program may have reached it through this link"
_LISTED = "its directory was listed, so a program may have checked that it exists"
_PROGRAM = "a program of a package that stays; another may have checked that it exists"


class Cautious:
    """The rules for one trace; they keep nothing if the trace sees lookups."""

    def __init__(self, keeper: Keeper, levels: Levels, trace: Trace) -> None:
        self._keeper = keeper
        self._levels = levels
        self._is_blind = BlindSpot.LOOKUPS in trace.blind_spots
        self._before = bytearray()
        self._listed = frozenset(_listed(keeper, trace.accesses)) if self._is_blind else frozenset[bytes]()
        self._coded = frozenset(_coded(keeper.inventory, keeper.owners)) if self._is_blind else frozenset[bytes]()

    def keep_more(self) -> bool:
        """Keep what may have been looked up, given what stays so far. Returns whether anything was added.

        `cost` counts from the first call: what stayed by then does not need these rules.
        """
        if not self._is_blind:
            return False
        inventory = self._keeper.inventory
        self._before = self._before or bytearray(self._stays(at) for at in range(len(inventory)))
        holds = self._holding()
        found = [(at, why) for at in range(len(inventory)) if (why := self._why(at, holds))]
        for at, why in found:
            self._keeper.settle(at, Reason(kind=ReasonKind.UNSEEN_LOOKUP, detail=why))
        return bool(found)

    def cost(self) -> Caution | None:
        """What stays because of these rules, dependencies included; None for a trace that sees lookups."""
        if not self._is_blind:
            return None
        inventory = self._keeper.inventory
        more = [
            at
            for at, stayed in enumerate(self._before)
            if not stayed and self._stays(at) and not self._keeper.is_directory(at)
        ]
        size = sum(inventory.sizes[at] for at in more if stat.S_ISREG(inventory.modes[at]))
        return Caution(paths=len(more), size=size)

    def _stays(self, at: int) -> bool:
        number = self._keeper.reason(at)
        return number >= 0 and self._keeper.reasons[number].verdict is Verdict.KEEP

    def _holding(self) -> bytearray:
        """For each entry, whether it or something in it stays."""
        inventory = self._keeper.inventory
        holds = bytearray(self._stays(at) for at in range(len(inventory)))
        for at in range(len(inventory) - 1, 0, -1):  # backwards: a directory's contents come before it
            if holds[at]:
                directory = inventory.index.get(parent(inventory.paths[at]))
                if directory is not None:
                    holds[directory] = 1
        return holds

    def _why(self, at: int, holds: bytearray) -> str:
        keeper = self._keeper
        if keeper.reason(at) >= 0:
            return ""
        path, mode = keeper.inventory.paths[at], keeper.inventory.modes[at]
        if stat.S_ISLNK(mode):
            end = keeper.resolver.resolve(path).end
            target = None if end is None else keeper.inventory.index.get(end)
            return _LINK if target is not None and holds[target] else ""
        owners = keeper.owners.owners(at)
        if not stat.S_ISREG(mode) or self._levels.cruft[at] >= 0 or not any(keeper.grades[each] for each in owners):
            return ""
        if (
            mode & EXECUTABLE
            and keeper.inventory.sizes[at] <= self._levels.program_limit
            and part(path, mode & ~EXECUTABLE, keeper.owners.packages[owners[0]].kind) is Part.DATA
        ):
            return _PROGRAM
        return _LISTED if self._was_listed(parent(path)) else ""

    def _was_listed(self, directory: bytes) -> bool:
        """Whether a program listed this directory, or the one above, to look for these files.

        A program that lists a data directory checks each name in it, or one name in each of its subdirectories. Code is
        loaded by name.
        """
        if directory in self._coded:
            return False
        above = parent(directory)
        return directory in self._listed or (above in self._listed and above not in self._coded)


def _listed(keeper: Keeper, accesses: Iterable[Access]) -> Iterator[bytes]:
    for path, how, _, _ in accesses:
        if how & How.LISTED and (end := keeper.resolver.resolve(path).end) is not None:
            yield end


def _coded(inventory: Inventory, owners: Owners) -> Iterator[bytes]:
    """The directories that hold code or libraries."""
    for at, path in enumerate(inventory.paths):
        mode = inventory.modes[at]
        if stat.S_ISREG(mode):
            kind = owners.packages[owners.of[at]].kind if owners.of[at] >= 0 else None
            if part(path, mode, kind) in (Part.CODE, Part.BINARY):
                yield parent(path)
