"""Keep what an earlier slim image missed, and the small files beside it. Pure.

A program that misses a file ends there, and what else it lacks shows itself only once that file is back. So a missed
file brings more with it than a file that a trace saw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from slimagent.model.inventory import Inventory
from slimagent.model.proof import Repair
from slimagent.model.reason import Reason, ReasonKind
from slimagent.paths.algebra import parent, within
from slimagent.paths.hierarchy import is_shared
from slimagent.plan.keeper import Grade, Keeper


def keep_missed(keeper: Keeper, repairs: Iterable[Repair]) -> None:
    """Keep what rounds of repair bring back, and use the packages that own it."""
    for each in repairs:
        for missed in each.missed:
            _keep(keeper, missed.path, f"{', '.join(missed.steps)} looked for it in vain, round {each.number}")
        for found in each.found:
            _keep(keeper, found.path, f"without it {', '.join(found.steps)} is worse, round {each.number}")
        for used in each.used:
            _keep(keeper, used.path, f"{', '.join(used.steps)} used it in the full image, round {each.number}")


def _keep(keeper: Keeper, path: bytes, detail: str) -> None:
    reason = Reason(kind=ReasonKind.MISSED, detail=detail)
    at = keeper.keep(path, reason, reason, grade=Grade.USED)
    if at is not None:
        keeper.miss(at)


def keep_small_of(keeper: Keeper, package: int, is_small: Callable[[int], bool]) -> None:
    """Keep the small files of a package, of whatever kind, if a slim image missed a file of it."""
    if package in keeper.missed:
        _keep_small(keeper, keeper.owners.files[package], keeper.missed[package], "of the same package", is_small)


def keep_small_unowned(keeper: Keeper, is_small: Callable[[int], bool]) -> None:
    """Keep the small files without an owner in the directory of a missed one without an owner.

    Unless packages and people share that directory, also those below. If the file lies in a tree, all of the tree stays
    anyway (plan/trees.py).
    """
    inventory, of = keeper.inventory, keeper.owners.of
    for missed in keeper.missed_alone:
        directory = parent(inventory.paths[missed])
        first = inventory.index.get(directory)
        inside = () if first is None else below(inventory, first)
        deep = not is_shared(directory)
        beside = (at for at in inside if of[at] < 0 and (deep or parent(inventory.paths[at]) == directory))
        _keep_small(keeper, beside, missed, "in the same directory", is_small)


def _keep_small(keeper: Keeper, entries: Iterable[int], missed: int, how: str, is_small: Callable[[int], bool]) -> None:
    reason = Reason(kind=ReasonKind.BESIDE_MISSED, detail=how, source=keeper.inventory.paths[missed])
    number = keeper.number(reason)
    for at in entries:
        if keeper.reason(at) < 0 and is_small(at):
            keeper.settle_number(at, number)


def below(inventory: Inventory, first: int) -> Iterator[int]:
    """An entry and all entries below it, which follow it in the inventory."""
    for at in range(first, len(inventory)):
        if not within(inventory.paths[at], inventory.paths[first]):
            return
        yield at
