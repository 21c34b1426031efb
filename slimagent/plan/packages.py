"""Decide on packages: their requirements, their verdicts, and the edits that keep their databases correct. Pure."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator

from slimagent.model.edit import Edit, EditKind
from slimagent.model.inventory import Owners, PackageKind, package_test
from slimagent.model.plan import PlannedPackage
from slimagent.model.profile import PackageRule
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.paths.algebra import from_text
from slimagent.plan.keeper import Grade, Keeper
from slimagent.plan.levels import Levels

EXCLUDES = b"/etc/dpkg/dpkg.cfg.d/slimagent"


def attach(keeper: Keeper, rules: Iterable[PackageRule]) -> None:
    """Let packages require those that rules attach to them."""
    packages = keeper.owners.packages
    for rule in rules:
        if rule.of:
            fits, holds = package_test(rule.pattern), package_test(rule.of)
            attached = [number for number, each in enumerate(packages) if fits(each)]
            for number, each in enumerate(packages):
                if attached and holds(each):
                    keeper.attached.setdefault(number, []).extend((other, rule.why) for other in attached)


def keep_requirements(keeper: Keeper, package: int) -> None:
    """Keep what a kept package requires, and the essential packages of its kind (R's base)."""
    owners = keeper.owners
    for required, text in owners.requires[package]:
        keeper.need(
            required,
            Grade.REQUIRED,
            Reason(kind=ReasonKind.REQUIRED, detail=text, package=package),
        )
    for attached, why in keeper.attached.get(package, ()):
        keeper.need(attached, Grade.REQUIRED, Reason(kind=ReasonKind.PACKAGE_RULE, detail=why))
    kind = owners.packages[package].kind
    if kind != PackageKind.DPKG and kind not in keeper.essentials_kept:
        keeper.essentials_kept.add(kind)
        for number, each in enumerate(owners.packages):
            if each.kind == kind and each.essential:
                keeper.need(number, Grade.REQUIRED, Reason(kind=ReasonKind.ESSENTIAL, package=package))


def planned_packages(keeper: Keeper) -> tuple[PlannedPackage, ...]:
    """Every package with its verdict, its size and what of it stays."""
    return tuple(_planned(keeper))


def _planned(keeper: Keeper) -> Iterator[PlannedPackage]:
    owners, inventory = keeper.owners, keeper.inventory
    gone = keeper.number(Reason(verdict=Verdict.DROP, kind=ReasonKind.NOT_NEEDED))
    stays = [reason.verdict is Verdict.KEEP for reason in keeper.reasons]
    for number, package in enumerate(owners.packages):
        files = [at for at in owners.files[number] if stat.S_ISREG(inventory.modes[at])]
        # By file, so that one with several names counts once; it stays if one of the names does.
        sizes = {inventory.file(at): inventory.sizes[at] for at in files}
        kept = {inventory.file(at) for at in files if stays[keeper.reason(at)]}
        yield PlannedPackage(
            package=package,
            reason=keeper.package_reasons[number] if keeper.grades[number] or number in keeper.refused else gone,
            files=len(files),
            size=sum(sizes.values()),
            kept=sum(sizes[file] for file in kept),
            requires=tuple(sorted({each for each, _ in owners.requires[number]})),
            description=owners.descriptions[number],
        )


def further(owners: Owners) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The additional owners of entries with several."""
    return tuple(sorted(owners.more.items()))


def edits(keeper: Keeper, levels: Levels) -> tuple[Edit, ...]:
    """What to remove from files that packages share, and what dpkg must leave out from now on."""
    owners = keeper.owners
    found: dict[tuple[bytes, EditKind], set[str]] = {}
    for number in range(len(owners.packages)):
        for path, kind, key in owners.records[number]:
            if _no_longer_true(keeper, number, kind, key):
                found.setdefault((path, kind), set()).add(key)
    excludes = _excludes(keeper, levels)
    made = [Edit(path=path, kind=kind, keys=tuple(sorted(keys))) for (path, kind), keys in sorted(found.items())]
    return (*made, Edit(path=EXCLUDES, kind=EditKind.DPKG_EXCLUDE, keys=excludes)) if excludes else tuple(made)


def _no_longer_true(keeper: Keeper, package: int, kind: EditKind, key: str) -> bool:
    if kind != EditKind.DPKG_ALTERNATIVES:
        return not keeper.grades[package]
    # A choice goes with its own file, even if its package stays. Its name may lead over links (merged /usr).
    end = keeper.resolver.resolve(from_text(key), follow=False).end
    at = None if end is None else keeper.inventory.index.get(end)
    return not keeper.grades[package] if at is None else keeper.reasons[keeper.reason(at)].verdict is Verdict.DROP


def _excludes(keeper: Keeper, levels: Levels) -> tuple[str, ...]:
    """Lines for dpkg's configuration (dpkg(1), --path-exclude): rules by which files of kept packages went."""
    owners, inventory = keeper.owners, keeper.inventory
    cut: set[int] = set()
    for at in range(len(inventory)):
        rule = levels.cruft[at]
        if rule < 0 or rule in cut or not levels.rules[rule].keep_out or not stat.S_ISREG(inventory.modes[at]):
            continue
        if keeper.reasons[keeper.reason(at)].kind == ReasonKind.CRUFT and any(
            owners.packages[each].kind == PackageKind.DPKG for each in owners.owners(at)
        ):
            cut.add(rule)
    lines = []
    for rule in sorted(cut):
        lines += [f"path-exclude={_glob(pattern)}" for pattern in levels.rules[rule].patterns]
        lines += [f"path-include={_glob(pattern)}" for pattern in levels.rules[rule].excepted]
    return tuple(lines)


def _glob(pattern: str) -> str:
    """dpkg's patterns have one star, which also matches slashes, and sets in brackets, which ours lack."""
    return pattern.replace("[", "[[]").replace("/**/", "/*/").replace("**", "*")
