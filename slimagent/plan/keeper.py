"""Record which entries and packages stay so far, and why: the first reason found counts."""

from __future__ import annotations

import enum
import stat
from array import array
from collections import deque
from collections.abc import Callable

from slimagent.model.inventory import Inventory, Owners
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.paths.algebra import Resolver
from slimagent.plan.trees import Trees

# A file that stays for one of these reasons says nothing about what lies beside it.
_USES_NOTHING = frozenset(
    {
        ReasonKind.RULE,
        ReasonKind.UNOWNED,
        ReasonKind.SMALL_UNOWNED,
        ReasonKind.BESIDE_MISSED,
        ReasonKind.EMPTY_FILE,
    }
)

_OPENED = frozenset({ReasonKind.EXECUTED, ReasonKind.OPENED, ReasonKind.MISSED})


class Grade(enum.IntEnum):
    """How much a package is needed."""

    GONE = 0
    REQUIRED = 1  # something that stays cannot do without it
    USED = 2  # the evidence touched it, or the user asked for it


class Keeper:
    """Reasons by entry of an inventory, and by package of its owners.

    `queue` holds kept regular files that are waiting for their closure, `expand` packages and `grow` trees that are
    waiting for their files to be kept. `whole` marks packages that stay whole at every level. A package's grade only
    rises, so that more evidence never keeps less.
    """

    def __init__(self, inventory: Inventory, owners: Owners | None = None) -> None:
        self.inventory = inventory
        self.owners = owners if owners is not None else _nobody(len(inventory))
        self.resolver = Resolver(inventory.link)
        self.reasons: list[Reason] = []
        self.queue: deque[int] = deque()
        self.expand: deque[int] = deque()
        self.trees = Trees(inventory, self.owners)
        self.grow: deque[tuple[int, int]] = deque()  # a tree, and the entry in it that is needed, or -1
        self._grown = bytearray(len(self.trees.roots))
        self.grades = bytearray(len(self.owners.packages))
        self.refused: set[int] = set()  # packages that go whatever needs them
        self.unwanted: set[int] = set()  # directories that go if all in them goes
        self.dropped: set[int] = set()  # files that go whatever needs them
        self.whole = bytearray(len(self.owners.packages))
        self.essentials_kept: set[str] = set()
        self.missed: dict[int, int] = {}  # by package: a file of it that a slim image missed
        self.missed_alone: list[int] = []  # missed entries without an owner and a tree
        self.attached: dict[int, list[tuple[int, str]]] = {}  # by package: what a rule lets it require, and why
        self.package_reasons = array("i", [-1]) * len(self.owners.packages)
        self._numbers: dict[Reason, int] = {}
        self._brings = bytearray()  # by number of a reason: whether a file with it can bring others
        self._opened = bytearray()  # by number of a reason: whether a program opened the file
        self._uses = bytearray()  # by number of a reason: whether a file with it brings its tree
        self._of = array("i", [-1]) * len(inventory)
        # The number of an entry's reason, -1 if it has none yet. No method: it is asked a million times.
        self.reason: Callable[[int], int] = self._of.__getitem__

    def number(self, reason: Reason) -> int:
        """The index of a reason in `reasons`; equal reasons share one."""
        known = self._numbers.get(reason)
        if known is None:
            known = self._numbers[reason] = len(self.reasons)
            self.reasons.append(reason)
            self._brings.append(reason.verdict is Verdict.KEEP and reason.kind != ReasonKind.EMPTY_FILE)
            self._opened.append(reason.kind in _OPENED)
            self._uses.append(reason.verdict is Verdict.KEEP and reason.kind not in _USES_NOTHING)
        return known

    def settle(self, at: int, reason: Reason) -> bool:
        """Give an entry a reason unless it has one. Returns whether it had none."""
        if self._of[at] >= 0 and self.trees.of[at] < 0:
            return False
        return self.settle_number(at, self.number(reason))

    def settle_number(self, at: int, number: int) -> bool:
        """Do the same as `settle`, with a reason's number."""
        known = self._of[at]
        if self._uses[number] and self.trees.of[at] >= 0 and (known < 0 or self.reasons[known].verdict is Verdict.KEEP):
            self.use_tree(self.trees.of[at], at)  # also where a rule or its size keeps the file already
        if known >= 0:
            return False
        self._of[at] = number
        if self._brings[number] and stat.S_ISREG(self.inventory.modes[at]):
            self.queue.append(at)
        return True

    def use_tree(self, tree: int, at: int) -> None:
        """Note that an entry in a tree is needed, or with -1 that the run changed something in it."""
        if self._grown[tree]:
            return
        for each in (tree, *self.trees.beside(tree)):
            if not self._grown[each]:
                self._grown[each] = 1
                self.grow.append((each, at))

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
        if at_end is not None and at_end in self.dropped:  # for what needs it, it is not there
            return None
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

    def miss(self, at: int) -> None:
        """Note that a slim image missed an entry: what lies beside it stays more readily (plan/levels.py)."""
        owners = self.owners.owners(at)
        for package in owners:
            self.missed.setdefault(package, at)
        if not owners and self.trees.of[at] < 0 and not self.is_directory(at):
            self.missed_alone.append(at)

    def is_gone(self, at: int) -> bool:
        """Whether an entry has owners, and all of them go."""
        first = self.owners.of[at]
        if first < 0 or self.grades[first]:
            return False
        return not any(self.grades[each] for each in self.owners.more.get(at, ()))

    def was_opened(self, at: int) -> bool:
        """Whether a program opened or executed a file, or missed it in a slim image."""
        return self._of[at] >= 0 and self._opened[self._of[at]] == 1

    def goes(self, at: int) -> bool:
        """Whether it is decided that an entry goes: the traced run created it."""
        return self._of[at] >= 0 and self.reasons[self._of[at]].verdict is Verdict.DROP

    def is_directory(self, at: int) -> bool:
        """Whether an entry is a directory."""
        return stat.S_ISDIR(self.inventory.modes[at])

    def need_whole(self, package: int, reason: Reason) -> None:
        """Keep a package whole at every level."""
        self.need(package, Grade.USED, reason)
        if not self.whole[package] and package not in self.refused:
            self.whole[package] = 1
            self.expand.append(package)

    def refuse(self, package: int, reason: Reason) -> None:
        """Let a package go, whatever will need it. Before anything does."""
        self.refused.add(package)
        self.package_reasons[package] = self.number(reason)

    def let_go(self, at: int, number: int) -> None:
        """Drop an unwanted directory after all, although something looked into it."""
        self._of[at] = number

    def need(self, package: int, grade: Grade, reason: Reason) -> None:
        """Raise a package's grade, unless it is already as high, or the package is refused."""
        if self.grades[package] >= grade or package in self.refused:
            return
        self.grades[package] = grade
        self.package_reasons[package] = self.number(reason)
        self.expand.append(package)


def _nobody(entries: int) -> Owners:
    return Owners(of=array("i", [-1]) * entries, weak=bytearray(entries), adopted=bytearray(entries))
