"""Record which entries and packages stay so far, and why: the first reason found counts."""

from __future__ import annotations

import enum
import stat
from array import array
from collections import deque

from slimagent.model.inventory import Inventory, Owners
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.paths.algebra import Resolver


class Grade(enum.IntEnum):
    """How much a package is needed."""

    GONE = 0
    REQUIRED = 1  # something that stays cannot do without it
    USED = 2  # the evidence touched it, or the user asked for it


class Keeper:
    """Reasons by entry of an inventory, and by package of its owners.

    `queue` holds kept regular files that are waiting for their closure, `expand` packages that are waiting for their
    files to be kept. `whole` marks packages that stay whole at every level. A package's grade only rises, so that more
    evidence never keeps less.
    """

    def __init__(self, inventory: Inventory, owners: Owners | None = None) -> None:
        self.inventory = inventory
        self.owners = owners if owners is not None else _nobody(len(inventory))
        self.resolver = Resolver(inventory.link)
        self.reasons: list[Reason] = []
        self.queue: deque[int] = deque()
        self.expand: deque[int] = deque()
        self.grades = bytearray(len(self.owners.packages))
        self.whole = bytearray(len(self.owners.packages))
        self.essentials_kept: set[str] = set()
        self.package_reasons = array("i", [-1]) * len(self.owners.packages)
        self._numbers: dict[Reason, int] = {}
        self._brings = bytearray()  # by number of a reason: whether a file with it can bring others
        self._of = array("i", [-1]) * len(inventory)

    def number(self, reason: Reason) -> int:
        """The index of a reason in `reasons`; equal reasons share one."""
        known = self._numbers.get(reason)
        if known is None:
            known = self._numbers[reason] = len(self.reasons)
            self.reasons.append(reason)
            self._brings.append(reason.verdict is Verdict.KEEP and reason.kind != ReasonKind.EMPTY_FILE)
        return known

    def reason(self, at: int) -> int:
        """The number of an entry's reason, -1 if it has none yet."""
        return self._of[at]

    def settle(self, at: int, reason: Reason) -> bool:
        """Give an entry a reason unless it has one. Returns whether it had none."""
        return self.settle_number(at, self.number(reason)) if self._of[at] < 0 else False

    def settle_number(self, at: int, number: int) -> bool:
        """Do the same as `settle`, with a reason's number."""
        if self._of[at] >= 0:
            return False
        self._of[at] = number
        if self._brings[number] and stat.S_ISREG(self.inventory.modes[at]):
            self.queue.append(at)
        return True

    def keep(
        self, path: bytes, reason: Reason, way: Reason, *, follow: bool = True, grade: Grade = Grade.GONE
    ) -> int | None:
        """Keep what `path` leads to for `reason`, each link on the way for `way`. Returns what is reached.

        The packages that own them get at least `grade`.
        """
        hops, end = self.resolver.resolve(path, follow=follow)
        for hop in hops:
            at = self.inventory.index[hop]
            self.settle(at, way)
            if grade:
                self.need_owners(at, grade, way)
        at_end = None if end is None else self.inventory.index.get(end)
        if at_end is not None:
            self.settle(at_end, reason)
            if grade:
                self.need_owners(at_end, grade, reason)
        return at_end

    def need_owners(self, at: int, grade: Grade, because: Reason) -> None:
        """Need the packages that own an entry, because the entry is needed. Skips files that the run created."""
        if self.reasons[self._of[at]].verdict is Verdict.DROP:
            return
        for package in self.owners.owners(at):
            if self.grades[package] < grade:
                kind = ReasonKind.USED if grade is Grade.USED else ReasonKind.REACHED
                path = self.inventory.paths[at]
                self.need(package, grade, Reason(kind=kind, source=path, steps=because.steps))

    def is_gone(self, at: int) -> bool:
        """Whether an entry has owners, and all of them go."""
        owners = self.owners.owners(at)
        return bool(owners) and not any(self.grades[each] for each in owners)

    def is_directory(self, at: int) -> bool:
        """Whether an entry is a directory."""
        return stat.S_ISDIR(self.inventory.modes[at])

    def need_whole(self, package: int, reason: Reason) -> None:
        """Keep a package whole at every level."""
        self.need(package, Grade.USED, reason)
        if not self.whole[package]:
            self.whole[package] = 1
            self.expand.append(package)

    def need(self, package: int, grade: Grade, reason: Reason) -> None:
        """Raise a package's grade, unless it is already as high."""
        if self.grades[package] >= grade:
            return
        self.grades[package] = grade
        self.package_reasons[package] = self.number(reason)
        self.expand.append(package)


def _nobody(entries: int) -> Owners:
    return Owners(of=array("i", [-1]) * entries, weak=bytearray(entries))
