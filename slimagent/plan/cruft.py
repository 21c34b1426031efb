"""Find cruft by a profile's rules: files that no program needs for its job. Pure."""

from __future__ import annotations

import re
import stat
from array import array
from collections.abc import Callable, Collection, Sequence

from slimagent.model.inventory import Inventory, Owners, package_test
from slimagent.model.profile import CruftRule, Rules
from slimagent.paths.algebra import name, source_of
from slimagent.paths.patterns import PathRules
from slimagent.plan.parts import EXECUTABLE
from slimagent.plan.without_gpu import is_without

WITHOUT_GPU = "without-gpu"  # a rule's `when`: only of what is for GPUs, in an image that runs without one
_SHARED = b"/share/jupyter/"  # jupyter-core: the data path of the environment at a prefix
_INSTALLED = re.compile(rb"(.*)/lib(?:64)?/python3[^/]*/(?:site|dist)-packages/.*", re.DOTALL)


def applicable(rules: Rules, owners: Owners, *, compiling: bool) -> list[CruftRule]:
    """The cruft rules that apply to an image: not those that the user opted out of, or that a package in it refutes."""
    return [
        each
        for each in rules.cruft
        if each.name not in rules.kept_cruft
        and not (compiling and each.unless == "compiling")
        and (each.when != WITHOUT_GPU or is_without(rules))
        and not any(any(map(package_test(pattern), owners.packages)) for pattern in each.unless_packages)
    ]


def cruft(
    inventory: Inventory, owners: Owners, rules: Sequence[CruftRule], gpu: Collection[int] = frozenset()
) -> array[int]:
    """The index of the first rule by which an entry is cruft, or -1. `gpu` are the entries that are for GPUs.

    A pattern that matches a whole scope is left out: the user named that directory, wherever it lies.
    """
    found = array("h", [-1]) * len(inventory)
    patterns = [(number, pattern) for number, rule in enumerate(rules) for pattern in rule.patterns]
    asked = {each for _, which in PathRules([text for _, text in patterns]).scan(inventory.scopes) for each in which}
    patterns = [pattern for number, pattern in enumerate(patterns) if number not in asked]
    excepted = [(number, pattern) for number, rule in enumerate(rules) for pattern in rule.excepted]
    holds = _conditions(inventory, owners, rules, gpu)
    spared: dict[int, set[int]] = {}
    for at, which in PathRules([pattern for _, pattern in excepted]).scan(inventory.paths):
        spared.setdefault(at, set()).update(excepted[each][0] for each in which)
    for at, which in PathRules([pattern for _, pattern in patterns]).scan(inventory.paths):
        if stat.S_ISDIR(inventory.modes[at]) or (owners.weak and owners.weak[at]):
            continue  # what identifies a package goes only with the package
        for each in which:
            number = patterns[each][0]
            if number not in spared.get(at, ()) and holds(rules[number].when, at):
                found[at] = number
                break
    return found


def _conditions(
    inventory: Inventory, owners: Owners, rules: Sequence[CruftRule], gpu: Collection[int]
) -> Callable[[str, int], bool]:
    """Whether an entry meets a rule's `when`."""
    shared = _shared(inventory) if any(rule.when == "has-copy" for rule in rules) else frozenset()

    def holds(when: str, at: int) -> bool:
        path = inventory.paths[at]
        if when == "has-source":
            return source_of(path) in inventory.index
        if when == "program":
            return bool(inventory.modes[at] & EXECUTABLE) and b"." not in name(path)
        if when == "of-package":
            return bool(owners.of) and owners.of[at] >= 0
        if when == WITHOUT_GPU:
            return at in gpu
        if when == "has-copy":
            inside = _INSTALLED.fullmatch(path)
            return inside is not None and (inside[1], name(path), inventory.sizes[at]) in shared
        return True

    return holds


def _shared(inventory: Inventory) -> frozenset[tuple[bytes, bytes, int]]:
    """The prefix, name and size of each regular file in the data directory of an environment's Jupyter."""
    return frozenset(
        (path[: path.index(_SHARED)], name(path), inventory.sizes[at])
        for at, path in enumerate(inventory.paths)
        if _SHARED in path and stat.S_ISREG(inventory.modes[at])
    )
