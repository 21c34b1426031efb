"""Keep what each level keeps of kept packages, and of files that no package owns. Pure."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Sequence

from slimagent.model.inventory import Inventory, Owners, PackageKind
from slimagent.model.profile import LEVELS, LevelRule, Rules
from slimagent.model.reason import Reason, ReasonKind
from slimagent.paths.algebra import to_text
from slimagent.paths.patterns import PathRules
from slimagent.plan.closure import ContentReader
from slimagent.plan.cruft import applicable, cruft
from slimagent.plan.keeper import Grade, Keeper
from slimagent.plan.missed import keep_small_of, keep_small_unowned
from slimagent.plan.naming import Naming
from slimagent.plan.pages import MOST, beside_pages
from slimagent.plan.parts import Part, does_its_job, extension_modules, is_own, part
from slimagent.plan.siblings import UNKNOWN, Group, Key, Siblings, joined, key
from slimagent.plan.trees import declares
from slimagent.plan.without_gpu import for_gpus, is_without

_FILE, _PACKAGE, _CRUFT = range(3)
BUDGET = 20_000  # bytes: unread data files of used packages stay up to this size; measured, see docs/levels.md
# An unread file of a needed package stays up to this many budgets, by what it is to its package.
_BUDGETS = {Part.BINARY: 340, Part.CODE: 340, Part.DATA: 1, Part.SINGLE: 25, Part.EXTRA: 0}
_REQUIRED_CODE = 3  # budgets: what a program of Node may load by name of a package that it requires
_GROUPED = (Part.DATA, Part.EXTRA)
_UNREAD = {Part.BINARY: ReasonKind.BINARY, Part.CODE: ReasonKind.CODE}
_MANY = {
    Part.BINARY: "programs and libraries",
    Part.CODE: "code files",
    Part.DATA: "data files",
    Part.SINGLE: "parts of pages",
    Part.EXTRA: "extras",
}
_REQUIRED = " of packages that are only required"
# Packages of these kinds count as used even so: what requires them imports them by name, sooner or later.
_OF_INTERPRETERS = (PackageKind.CONDA, PackageKind.PYTHON, PackageKind.R)


class Levels:
    """Which other files of the image stay, by the level that holds at each path.

    `cruft` has for each entry the index of the rule by which it is cruft, or -1; `rules` are those that apply.
    """

    def __init__(
        self,
        inventory: Inventory,
        owners: Owners,
        contents: ContentReader,
        rules: Rules,
        level: str,
        *,
        compiling: bool,
    ) -> None:
        self._inventory, self._owners, self._contents = inventory, owners, contents
        self._budget = BUDGET if rules.budget is None else rules.budget
        self.optional: dict[int, int] = {}  # entries that stay if they add little, with their reasons
        self.nearly: dict[int, str] = {}  # entries of kept packages that do not stay, with what would
        self._limits = {part: self._budget * share for part, share in _BUDGETS.items()}
        self.rules = applicable(rules, owners, compiling=compiling)
        gpu = for_gpus(inventory, owners, rules) if is_without(rules) else frozenset()
        self.cruft = cruft(inventory, owners, self.rules, gpu)
        self._default = LEVELS.index(level)
        self._at = _levels(inventory, rules.levels, self._default)

    @property
    def program_limit(self) -> int:
        """The largest size, in bytes, of an unread program that stays."""
        return self._limits[Part.BINARY]

    def keep_package(self, keeper: Keeper, package: int, bound: dict[int, str]) -> None:
        """Keep what the level keeps of a kept package. `bound` entries stay with it by rule, with their why."""
        owner, files = self._owners.packages[package], self._owners.files[package]
        known = keeper.grades[package] >= Grade.USED or owner.essential or owner.kind in _OF_INTERPRETERS
        whole = keeper.whole[package] or (keeper.grades[package] >= Grade.USED and is_own(owner))
        loaded = frozenset[int]()
        if not known and owner.kind == PackageKind.DPKG:  # its code stays, and loads them
            loaded = extension_modules(self._inventory, files, owner.kind)
        groups: dict[Key, Group] = {}
        for at in files:
            is_decided = keeper.reason(at) >= 0
            if (self.cruft[at] >= 0 and at not in bound) or (is_decided and keeper.goes(at)):
                continue
            in_part = self._at[at] == _FILE and not whole and not self._owners.weak[at]
            what = self._part(at, owner.kind) if in_part else None
            is_grouped = what is not None and self._is_grouped(at, what)
            if what is not None and is_grouped:
                self._group(at, what, groups, is_free=not is_decided and at not in bound)
            if not is_decided and (at in bound or not is_grouped):
                self._keep_entry(keeper, package, at, what, bound, known=known or at in loaded)
        self._keep_groups(keeper, package, joined(groups, self._inventory.paths), known=known)
        if known:
            self._keep_pages(keeper, package)
        keep_small_of(keeper, package, self._is_small)
        if keeper.grades[package] >= Grade.USED and is_own(owner):
            whole_of = Reason(kind=ReasonKind.PACKAGE, package=package)
            self._use_manifests(keeper, keeper.trees.of_components.get(package, ()), whole_of)

    def _is_small(self, at: int) -> bool:
        """Whether an entry stays if a slim image missed a file beside it."""
        is_file = stat.S_ISREG(self._inventory.modes[at]) and self._at[at] == _FILE and self.cruft[at] < 0
        return is_file and 0 < self._inventory.sizes[at] <= self._budget

    def _group(self, at: int, what: Part, groups: dict[Key, Group], *, is_free: bool) -> None:
        """Put a file into its group; `is_free` says whether nothing keeps it yet."""
        group = groups.setdefault(key(self._inventory.paths[at], what), Group())
        group.entries.append(at)
        if is_free:
            group.undecided.append(at)
            if what is Part.SINGLE:
                self.nearly[at] = f"{_MANY[what]} {_stay(self._limits[what], self._budget)}"

    def _is_grouped(self, at: int, what: Part) -> bool:
        """Whether a file stays or goes with those beside it, or by its name in code."""
        if self._owners.adopted[at]:
            return False
        return what in _GROUPED or (what is Part.SINGLE and self._inventory.sizes[at] > self._limits[Part.SINGLE])

    def _keep_pages(self, keeper: Keeper, package: int) -> None:
        """Keep what a browser loads for a package's pages that were opened."""
        owner = self._owners.packages[package].kind
        for at, page in beside_pages(keeper, self._owners.files[package], MOST * self._budget):
            if (
                keeper.reason(at) < 0
                and self.cruft[at] < 0
                and self._at[at] == _FILE
                and self._part(at, owner) is not None
            ):
                keeper.settle(at, Reason(kind=ReasonKind.PAGE, source=page, package=package))
                self.nearly.pop(at, None)

    def _part(self, at: int, owner: PackageKind) -> Part | None:
        """What an entry is to its package; None if it is not a regular file."""
        mode = self._inventory.modes[at]
        return part(self._inventory.paths[at], mode, owner) if stat.S_ISREG(mode) else None

    def _keep_entry(
        self, keeper: Keeper, package: int, at: int, what: Part | None, bound: dict[int, str], *, known: bool
    ) -> None:
        """Keep one entry of a kept package, if the level keeps it. `what` is None where all of the package stays."""
        if at in bound:
            keeper.settle(at, Reason(kind=ReasonKind.RULE, detail=bound[at], package=package))
        elif self._is_python_directory(at):
            return
        elif what is not None and self._owners.adopted[at] and not self._inventory.paths[at].endswith(b".pyc"):
            keeper.settle(at, Reason(kind=ReasonKind.ADOPTED, package=package))
        elif what is None:
            weak = self._at[at] == _FILE and self._owners.weak[at]
            keeper.settle(at, Reason(kind=ReasonKind.IDENTITY if weak else ReasonKind.PACKAGE, package=package))
            if at in self._inventory.targets and (self._at[at] != _FILE or self._leads_to_code(keeper, package, at)):
                self._keep_target(keeper, package, at)
        elif self._inventory.sizes[at] <= self._limit(at, what, self._owners.packages[package].kind, known=known):
            small = ReasonKind.SMALL
            self.nearly.pop(at, None)
            kind = _UNREAD.get(what, small) if self._inventory.sizes[at] > self._budget // UNKNOWN or known else small
            number = keeper.number(Reason(kind=kind, package=package))
            if what is Part.BINARY and known:
                self.optional[at] = number
                self.nearly[at] = f"{_MANY[what]}, with what only they need, {_stay(self._limits[what], self._budget)}"
            else:
                keeper.settle_number(at, number)
        else:
            limit = self._limit(at, what, self._owners.packages[package].kind, known=known)
            self.nearly[at] = f"{_MANY[what]}{'' if known else _REQUIRED} {_stay(limit, self._budget)}"

    def _keep_groups(self, keeper: Keeper, package: int, groups: dict[Key, Group], *, known: bool) -> None:
        files, kind = self._owners.files[package], self._owners.packages[package].kind
        naming = Naming(self._inventory, self._contents, files, kind)
        siblings = Siblings(self._inventory, naming, kind, self._budget)
        for where, group in groups.items():
            why = siblings.why(where, group, known=known) if group.undecided else None
            if why is not None:
                number = keeper.number(Reason(kind=why, package=package))
                for at in group.undecided:
                    keeper.settle_number(at, number)
                    self.nearly.pop(at, None)
            elif not where.is_extra:
                stay = _stay(siblings.limit(group, known=known), self._budget)
                what = "directories of data" if len(group.entries) > 1 else _MANY[Part.DATA]
                self.nearly.update((at, f"{what}{'' if known else _REQUIRED} {stay}") for at in group.undecided)

    def _keep_target(self, keeper: Keeper, package: int, at: int) -> None:
        """Keep the target of a package's link if it does not stay with the package (another's, or in a cache)."""
        path = self._inventory.paths[at]
        end = keeper.resolver.resolve(path).end
        target = None if end is None else self._inventory.index.get(end)
        if target is not None and (self.cruft[target] >= 0 or package not in self._owners.owners(target)):
            reason = Reason(kind=ReasonKind.LINK_TARGET, source=path)
            keeper.keep(path, reason, reason)

    def _leads_to_code(self, keeper: Keeper, package: int, at: int) -> bool:
        """Whether a link is code or a part of a page: Debian's R packages have links to scripts of other packages."""
        end = keeper.resolver.resolve(self._inventory.paths[at]).end
        target = None if end is None else self._inventory.index.get(end)
        if target is None or not stat.S_ISREG(self._inventory.modes[target]):
            return False
        what = part(self._inventory.paths[at], self._inventory.modes[target], self._owners.packages[package].kind)
        return what in (Part.CODE, Part.SINGLE) and self._inventory.sizes[target] <= self._limits[what]

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

    def _limit(self, at: int, what: Part, owner: PackageKind, *, known: bool) -> int:
        """The largest size of an unread program, library or code file that level `file` keeps of a kept package."""
        if known or (owner == PackageKind.DPKG and does_its_job(self._inventory.paths[at], what)):
            return self._limits[what]
        if owner in (PackageKind.NPM, PackageKind.VSCODE) and what is Part.CODE:
            return _REQUIRED_CODE * self._budget
        return self._budget // UNKNOWN

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
            elif of[at] < 0 or declares(inventory.paths[at], at, self._owners):
                if level == _PACKAGE:
                    keeper.settle_number(at, unowned)
                elif self._is_alone(keeper, at) and inventory.sizes[at] <= self._limit_alone(at):
                    keeper.settle_number(at, small)
        keep_small_unowned(keeper, self._is_small)
        for tree, members in enumerate(keeper.trees.members):
            own = sum(inventory.sizes[at] for at in members if cruft[at] < 0 and not keeper.goes(at))
            if own <= self.program_limit and tree not in keeper.trees.loose:
                self._keep_members(keeper, tree, small)

    @staticmethod
    def _is_alone(keeper: Keeper, at: int) -> bool:
        """Whether a file without an owner lies in a shared directory."""
        tree = keeper.trees.of[at]
        return tree < 0 or tree in keeper.trees.loose

    def _limit_alone(self, at: int) -> int:
        """The largest size of a file that no package owns and that belongs to no tree: like a used package's."""
        what = part(self._inventory.paths[at], self._inventory.modes[at], None)
        return max(self._budget, self._limits[what])

    def keep_tree(self, keeper: Keeper, tree: int, needed: int) -> None:
        """Keep a tree, less the cruft, and the programs whose manifests lie in it.

        `needed` is the entry for which it stays, or -1 if the run changed something in it.
        """
        detail = to_text(keeper.trees.roots[tree])
        reason = Reason(kind=ReasonKind.STATE, detail=detail)
        if needed >= 0:
            reason = Reason(kind=ReasonKind.TOGETHER, detail=detail, source=self._inventory.paths[needed])
        self._keep_members(keeper, tree, keeper.number(reason))
        self._use_manifests(keeper, keeper.trees.manifests[tree], reason)
        for at in keeper.trees.links[tree]:
            self._follow(keeper, at)

    def _follow(self, keeper: Keeper, at: int) -> None:
        """Keep what a link in a used tree leads to: a file, or the whole tree that it leads into."""
        end = keeper.resolver.resolve(self._inventory.paths[at]).end
        target = None if end is None else self._inventory.index.get(end)
        if target is None or end is None or self._owners.of[target] >= 0:
            return
        tree = keeper.trees.find(end)
        if tree >= 0:
            keeper.use_tree(tree, at)
        elif self._at[target] == _FILE and self.cruft[target] < 0:
            keeper.settle(target, Reason(kind=ReasonKind.LINK_TARGET, source=self._inventory.paths[at]))

    def _use_manifests(self, keeper: Keeper, manifests: Iterable[int], reason: Reason) -> None:
        """Use the programs that these files declare, and what they require."""
        for at in manifests:
            keeper.settle(at, reason)
            for package in self._owners.owners(at):
                keeper.need(package, Grade.USED, Reason(kind=ReasonKind.REACHED, source=self._inventory.paths[at]))
                self._use_declared(keeper, package)

    def _use_declared(self, keeper: Keeper, program: int) -> None:
        """Use all that a program in a tree declares, and what that requires: a request no test made may need it."""
        seen, pending = {program}, [program]
        while pending:
            package = pending.pop()
            for each, text in self._owners.requires[package]:
                if each not in seen:
                    seen.add(each)
                    pending.append(each)
                    keeper.need(each, Grade.USED, Reason(kind=ReasonKind.REQUIRED, detail=text, package=package))

    def _keep_members(self, keeper: Keeper, tree: int, number: int) -> None:
        for at in keeper.trees.members[tree]:
            if self.cruft[at] < 0 and self._at[at] == _FILE and self._inventory.sizes[at]:
                keeper.settle_number(at, number)
        for at in keeper.trees.manifests[tree]:
            keeper.settle_number(at, number)


def _stay(limit: int, budget: int) -> str:
    """Up to which size unread things stay, in words that `explain` reads (report/explain.py)."""
    if not limit:
        return "do not stay"
    return f"stay up to {limit:,} bytes ({limit // budget if limit >= budget else f'1/{budget // limit}'} budgets)"


def _levels(inventory: Inventory, rules: Sequence[LevelRule], default: int) -> bytearray:
    levels = bytearray([default]) * len(inventory)
    # The last matching rule counts: a profile's rules come after those of the profile that it extends.
    for at, which in PathRules([rule.pattern for rule in reversed(rules)]).scan(inventory.paths):
        rule = rules[len(rules) - 1 - which[0]]
        level = LEVELS.index(rule.level)
        levels[at] = max(level, default) if rule.at_least else level
    return levels
