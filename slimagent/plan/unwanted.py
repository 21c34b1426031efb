"""Drop what the user does not want, whatever needs it. Pure.

The proof shows whether the tests can do without it. What a rule keeps by its path stays: the more careful word counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from slimagent.model.inventory import package_test
from slimagent.model.profile import DropRule, Rules
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.paths.patterns import PathRules
from slimagent.plan.keeper import Keeper


def drop_unwanted(keeper: Keeper, rules: Rules) -> None:
    """Settle the files of unwanted packages, and those at unwanted paths, before anything keeps them.

    A file that a wanted package owns as well stays. A directory goes if all in it goes (`decide.py`).
    """
    if not rules.drop:
        return
    always = PathRules([rule.pattern for rule in rules.keep if not rule.of_kept])
    kept = {at for at, _ in always.scan(keeper.inventory.paths)}
    for at, reason in (*_of_packages(keeper, rules.drop), *_at_paths(keeper, rules.drop)):
        if at in kept:
            continue
        if keeper.is_directory(at):
            keeper.unwanted.add(at)
        else:
            keeper.settle(at, reason)


def _of_packages(keeper: Keeper, rules: Iterable[DropRule]) -> list[tuple[int, Reason]]:
    owners = keeper.owners
    found: list[tuple[int, Reason]] = []
    for rule in rules:
        if rule.is_path:
            continue
        fits = package_test(rule.what)
        for number, package in enumerate(owners.packages):
            if fits(package):
                keeper.refuse(number, _reason(rule))
    for number in keeper.refused:
        reason = keeper.reasons[keeper.package_reasons[number]]
        found += [(at, reason) for at in owners.files[number] if keeper.refused.issuperset(owners.owners(at))]
    return found


def _at_paths(keeper: Keeper, rules: Iterable[DropRule]) -> list[tuple[int, Reason]]:
    paths = [rule for rule in rules if rule.is_path]
    scanned = PathRules([rule.what for rule in paths]).scan(keeper.inventory.paths)
    return [(at, _reason(paths[which[0]])) for at, which in scanned]


def _reason(rule: DropRule) -> Reason:
    return Reason(verdict=Verdict.DROP, kind=ReasonKind.UNWANTED, detail=rule.why)
