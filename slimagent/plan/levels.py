"""Keep what each level keeps of kept packages, and of files that no package owns. Pure."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Sequence

from slimagent.model.inventory import Inventory, Owners, PackageKind
from slimagent.model.profile import LEVELS, LevelRule, Rules
from slimagent.model.reason import Reason, ReasonKind
from slimagent.paths.patterns import PathRules
from slimagent.plan.cruft import applicable, cruft
from slimagent.plan.keeper import Grade, Keeper
from slimagent.plan.parts import Part, part

_FILE, _PACKAGE, _CRUFT = range(3)
BUDGET = 20_000  # bytes: unread data files of used packages stay up to this size; measured, see docs/levels.md
# An unread file of a needed package stays up to this many budgets, by what it is to its package.
_BUDGETS = {Part.BINARY: 340, Part.CODE: 60, Part.DATA: 1, Part.EXTRA: 0}
_UNREAD = {Part.BINARY: ReasonKind.BINARY, Part.CODE: ReasonKind.CODE}
# Nothing of a package that is only required was seen in use: its files stay up to a budget divided by this.
_UNKNOWN = 8
# Packages of these kinds count as used even so: what requires them imports them by name, sooner or later.
_OF_INTERPRETERS = (PackageKind.CONDA, PackageKind.PYTHON, PackageKind.R)


class Levels:
    """Which other files of the image stay, by the level that holds at each path.

    `cruft` has for each entry the index of the rule by which it is cruft, or -1; `rules` are those that apply.
    """

    def __init__(self, inventory: Inventory, owners: Owners, rules: Rules, level: str, *, compiling: bool) -> None:
        self._inventory, self._owners = inventory, owners
        self._budget = BUDGET if rules.budget is None else rules.budget
        self.optional: dict[int, int] = {}  # entries that stay if they add little, with their reasons
        self._limits = {part: self._budget * share for part, share in _BUDGETS.items()}
        self.rules = applicable(rules, owners, compiling=compiling)
        self.cruft = cruft(inventory, owners, self.rules)
        self._default = LEVELS.index(level)
        self._at = _levels(inventory, rules.levels, self._default)

    @property
    def program_limit(self) -> int:
        """The largest size, in bytes, of an unread program that stays."""
        return self._limits[Part.BINARY]

    def keep_package(self, keeper: Keeper, package: int, bound: dict[int, str]) -> None:
        """Keep what the level keeps of a kept package. `bound` entries stay with it by rule, with their why."""
        numbers: dict[ReasonKind, int] = {}
        weak, owner = self._owners.weak, self._owners.packages[package]
        known = keeper.grades[package] >= Grade.USED or owner.essential or owner.kind in _OF_INTERPRETERS
        for at in self._owners.files[package]:
            if keeper.reason(at) >= 0:
                continue
            if at in bound:
                keeper.settle(at, Reason(kind=ReasonKind.RULE, detail=bound[at], package=package))
                continue
            if self.cruft[at] >= 0 or self._is_python_directory(at):
                continue
            kind: ReasonKind | None = ReasonKind.PACKAGE
            if self._at[at] == _FILE and not keeper.whole[package]:
                kind = ReasonKind.IDENTITY if weak[at] else self._kind(at, owner.kind, known=known)
            if kind is None:
                continue
            if kind not in numbers:
                numbers[kind] = keeper.number(Reason(kind=kind, package=package))
            if kind is ReasonKind.BINARY:
                self.optional[at] = numbers[kind]
            else:
                keeper.settle_number(at, numbers[kind])
                if self._at[at] != _FILE and at in self._inventory.targets:
                    self._keep_target(keeper, package, at)

    def _keep_target(self, keeper: Keeper, package: int, at: int) -> None:
        """Keep the target of a package's link if it does not stay with the package (another's, or in a cache)."""
        path = self._inventory.paths[at]
        end = keeper.resolver.resolve(path).end
        target = None if end is None else self._inventory.index.get(end)
        if target is not None and (self.cruft[target] >= 0 or package not in self._owners.owners(target)):
            reason = Reason(kind=ReasonKind.LINK_TARGET, source=path)
            keeper.keep(path, reason, reason)

    def keep_optional(self, keeper: Keeper, weight: Callable[[int, int], int]) -> Iterator[None]:
        """Keep unread programs and libraries of used packages, unless they add more bytes than their limit.

        An optional plugin is small and may need a library that nothing else needs. `weight` gives the bytes that an
        entry would add. Yields after each kept entry, so that its closure can run: the next one may then weigh less.
        """
        limit = self._limits[Part.BINARY]
        for at in sorted(self.optional):
            if keeper.reason(at) < 0 and weight(at, limit) <= limit:
                keeper.settle_number(at, self.optional[at])
                yield

    def _is_python_directory(self, at: int) -> bool:
        """Whether an entry is a directory of a Python distribution: it stays only with something in it (`decide`)."""
        return stat.S_ISDIR(self._inventory.modes[at]) and any(
            self._owners.packages[each].kind == PackageKind.PYTHON for each in self._owners.owners(at)
        )

    def _kind(self, at: int, owner: PackageKind, *, known: bool) -> ReasonKind | None:
        """Why level `file` keeps an unread file of a kept package; None if it does not."""
        inventory = self._inventory
        mode = inventory.modes[at]
        if not stat.S_ISREG(mode):
            return ReasonKind.PACKAGE
        what = part(inventory.paths[at], mode, owner)
        limit = self._limits[what]
        if not known:
            limit = min(limit, self._budget // _UNKNOWN)
        if inventory.sizes[at] > limit:
            return None
        return _UNREAD.get(what, ReasonKind.SMALL) if known else ReasonKind.SMALL

    def need_packages(self, keeper: Keeper) -> None:
        """Level `cruft` removes no package: every package with a file where that level holds stays."""
        if self._default != _CRUFT and _CRUFT not in self._at:
            return
        reason = Reason(kind=ReasonKind.NO_CRUFT)
        for number, files in enumerate(self._owners.files):
            if self._default == _CRUFT or any(self._at[at] == _CRUFT for at in files):
                keeper.need(number, Grade.REQUIRED, reason)

    def stays_free(self, at: int) -> bool:
        """Whether level `cruft` applies here: it keeps entries without bytes, whichever package owns them."""
        return self._at[at] == _CRUFT and self.cruft[at] < 0

    def keep_rest(self, keeper: Keeper) -> None:
        """Keep what no package owns, and at level `cruft` everything, less the cruft.

        Entries without bytes get their own reasons later (`decide`).
        """
        inventory, cruft, of = self._inventory, self.cruft, self._owners.of
        no_cruft, unowned, small = (
            keeper.number(Reason(kind=kind))
            for kind in (ReasonKind.NO_CRUFT, ReasonKind.UNOWNED, ReasonKind.SMALL_UNOWNED)
        )
        for at in range(len(inventory)):
            if keeper.reason(at) >= 0 or cruft[at] >= 0 or not stat.S_ISREG(inventory.modes[at]):
                continue
            if inventory.sizes[at] == 0:
                continue
            level = self._at[at]
            if level == _CRUFT:
                keeper.settle_number(at, no_cruft)
            elif of[at] < 0 or self._is_program(at):
                if level == _PACKAGE:
                    keeper.settle_number(at, unowned)
                elif inventory.sizes[at] <= self._budget:
                    keeper.settle_number(at, small)

    def _is_program(self, at: int) -> bool:
        """Whether a file is the manifest of a Node program that lies in no `node_modules`.

        Its author wrote it, like the unowned code beside it: no package manager could restore it.
        """
        path = self._inventory.paths[at]
        if not path.endswith(b"/package.json") or b"/node_modules/" in path:
            return False
        return self._owners.packages[self._owners.of[at]].kind == PackageKind.NPM


def _levels(inventory: Inventory, rules: Sequence[LevelRule], default: int) -> bytearray:
    levels = bytearray([default]) * len(inventory)
    # The last matching rule counts: a profile's rules come after those of the profile that it extends.
    for at, which in PathRules([rule.pattern for rule in reversed(rules)]).scan(inventory.paths):
        rule = rules[len(rules) - 1 - which[0]]
        level = LEVELS.index(rule.level)
        levels[at] = max(level, default) if rule.at_least else level
    return levels
