"""Drop what the user does not want, whatever needs it. Pure.

The proof shows whether the tests can do without it. What a rule keeps by its path stays: the more careful word counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from slimagent.model.inventory import package_test
from slimagent.model.profile import DropRule, KeepRule, Rules
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.paths.patterns import PathRules
from slimagent.plan.keeper import Keeper


def drop_unwanted(keeper: Keeper, rules: Rules) -> None:
    """Settle the files of unwanted packages, and those at unwanted paths, before anything keeps them.

    A file that a wanted package owns as well stays. A directory goes if all in it goes (`decide.py`).
    """
    if not rules.drop:
        return
    kept = _kept(keeper, [rule for rule in rules.keep if not rule.of_kept])
    for at, reason in (*_of_packages(keeper, rules.drop), *_at_paths(keeper, rules.drop)):
        if at in kept:
            continue
        if keeper.is_directory(at):
            keeper.unwanted.add(at)
        else:
            keeper.dropped.add(at)
            keeper.settle(at, reason)


def _kept(keeper: Keeper, rules: Sequence[KeepRule]) -> set[int]:
    """What these rules keep, with what their links lead to."""
    inventory = keeper.inventory
    kept = {at for at, _ in PathRules([rule.pattern for rule in rules]).scan(inventory.paths)}
    for at, _ in PathRules([rule.pattern for rule in rules if rule.follow]).scan(inventory.paths):
        hops, end = keeper.resolver.resolve(inventory.paths[at])
        kept |= {inventory.index[each] for each in (*hops, end) if each in inventory.index}
    return kept


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
    """A pattern that matches a directory stands for all in it."""
    rules_of: dict[str, DropRule] = {}
    for rule in rules:
        if rule.is_path:
            rules_of.setdefault(rule.what, rule)
            if not rule.what.endswith("*"):
                rules_of.setdefault(f"{rule.what.rstrip('/')}/**", rule)
    patterns = list(rules_of)
    return [
        (at, _reason(rules_of[patterns[which[0]]])) for at, which in PathRules(patterns).scan(keeper.inventory.paths)
    ]


def _reason(rule: DropRule) -> Reason:
    return Reason(verdict=Verdict.DROP, kind=ReasonKind.UNWANTED, detail=rule.why)
