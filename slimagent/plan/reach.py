"""Leave tests out one by one, and see what a plan from the others would have taken from them. Pure."""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import NamedTuple

from slimagent.elf.tables import Symbols
from slimagent.gpu.weigh import Weight
from slimagent.model.inventory import Needs
from slimagent.model.reach import LeftOut
from slimagent.model.reason import Verdict
from slimagent.paths.algebra import source_of
from slimagent.plan.closure import ContentReader
from slimagent.plan.decide import settled
from slimagent.plan.evidence import Evidence
from slimagent.plan.keeper import Keeper
from slimagent.plan.units import Units

_EXAMPLES = 5


class Remembered:
    """Contents that are read once, however many plans are made of them."""

    def __init__(self, contents: ContentReader) -> None:
        self._contents = contents
        self._needs: dict[tuple[bytes, bool], Needs | None] = {}
        self._texts: dict[tuple[bytes, int], bytes] = {}

    def needs(self, path: bytes, executable: bool) -> Needs | None:
        """As `ContentReader.needs`."""
        key = path, executable
        if key not in self._needs:
            self._needs[key] = self._contents.needs(path, executable)
        return self._needs[key]

    def text(self, path: bytes, limit: int) -> bytes:
        """As `ContentReader.text`."""
        key = path, limit
        if key not in self._texts:
            self._texts[key] = self._contents.text(path, limit)
        return self._texts[key]

    def symbols(self, path: bytes) -> Symbols | None:
        """As `ContentReader.symbols`."""
        return self._contents.symbols(path)

    def gpu(self, path: bytes) -> Weight | None:
        """As `ContentReader.gpu`."""
        return self._contents.gpu(path)


class _Kept(NamedTuple):
    """Which entries a plan keeps, and the grade of each package."""

    entries: bytes
    grades: bytes


class Leaving:
    """Plans without some units, at one level."""

    def __init__(self, evidence: Evidence, level: str, units: Units) -> None:
        """Plans from all units; `kept` is how many entries that keeps. Give contents that are `Remembered`."""
        self._evidence = evidence
        self._level = level
        self._units = units
        self._inventory = evidence.inventory
        keeper = settled(evidence, level).keeper
        self._owners = keeper.owners
        self._whole = _kept(keeper)
        self.kept = sum(self._whole.entries)
        self._opened = [_ends(keeper, paths) for paths in units.opened()]
        self._idle = self._without_effect(keeper)

    def _without_effect(self, keeper: Keeper) -> frozenset[int]:
        """The units with paths of their own without which nothing goes.

        More evidence never drops more. So if nothing goes without several units, nothing goes without one of them, and
        one plan is enough for all. Those are tried together whose paths lead to what stays anyway, by what several
        units used.
        """
        alone = self._units.alone()
        shared = _kept(settled(replace(self._evidence, trace=self._units.shared()), self._level).keeper)

        def stays(path: bytes) -> bool:
            hops, end = keeper.resolver.resolve(path)
            entries = (keeper.inventory.index.get(each) for each in (*hops, *(() if end is None else (end,))))
            return all(at is None or shared.entries[at] >= self._whole.entries[at] for at in entries)

        idle = set[int]()
        pending = [sorted(unit for unit, paths in alone.items() if all(map(stays, paths)))]
        while pending:
            several = pending.pop()
            if not several or not self._lost_without(several):
                idle.update(several)
            elif len(several) > 1:
                half = len(several) // 2
                pending += [several[:half], several[half:]]
        return frozenset(idle)

    def _lost_without(self, units: Collection[int]) -> bool:
        """Whether something goes without these units."""
        without = replace(self._evidence, trace=self._units.without(units))
        kept = _kept(settled(without, self._level).keeper)
        return bool(_lost(self._whole.entries, kept.entries) or _lost(self._whole.grades, kept.grades))

    def left_out(self, unit: int) -> LeftOut | None:
        """What would go without a unit, and what the unit would miss of it. None if nothing would go."""
        if unit in self._idle:
            return None
        without = replace(self._evidence, trace=self._units.without((unit,)))
        kept = _kept(settled(without, self._level).keeper)
        gone = _lost(self._whole.entries, kept.entries)
        if not gone:
            return None
        missed = [at for at in gone if at in self._opened[unit] and not self._is_made_again(at, kept)]
        with_packages = [at for at in missed if self._goes_with_package(at, kept)]
        lost = [self._owners.packages[at] for at in _lost(self._whole.grades, kept.grades)]
        others = sorted(frozenset(missed).difference(with_packages))
        paths = self._inventory.paths
        return LeftOut(
            unit=unit,
            files=sum(stat.S_ISREG(self._inventory.modes[at]) for at in gone),
            size=self._size(gone),
            packages=tuple(sorted({each.label for each in lost if not each.is_list})),
            missed=len(missed),
            missed_with=len(with_packages),
            missed_size=self._size(missed),
            examples=tuple(paths[at] for at in (*others, *with_packages)[:_EXAMPLES]),
        )

    def _is_made_again(self, at: int, kept: _Kept) -> bool:
        path = self._inventory.paths[at]
        source = self._inventory.index.get(source_of(path)) if path.endswith(b".pyc") else None
        return source is not None and bool(kept.entries[source])

    def _goes_with_package(self, at: int, kept: _Kept) -> bool:
        owners = self._owners.owners(at)
        return bool(owners) and not any(kept.grades[each] for each in owners)

    def _size(self, entries: list[int]) -> int:
        """The bytes of regular files; hard links count once."""
        inventory = self._inventory
        files = {inventory.file(at): inventory.sizes[at] for at in entries if stat.S_ISREG(inventory.modes[at])}
        return sum(files.values())


def _kept(keeper: Keeper) -> _Kept:
    keeps = bytes(reason.verdict is Verdict.KEEP for reason in keeper.reasons)
    return _Kept(bytes(keeps[keeper.reason(at)] for at in range(len(keeper.inventory))), bytes(keeper.grades))


def _lost(before: bytes, after: bytes) -> list[int]:
    """Where something is kept, and then not."""
    return [at for at, (kept, still) in enumerate(zip(before, after, strict=True)) if kept and not still]


def _ends(keeper: Keeper, paths: Iterable[bytes]) -> frozenset[int]:
    """The entries that paths lead to, without directories."""
    ends = (keeper.resolver.resolve(path).end for path in paths)
    found = (keeper.inventory.index.get(end) for end in ends if end is not None)
    return frozenset(at for at in found if at is not None and not keeper.is_directory(at))
