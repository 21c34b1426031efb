"""The GPUs that the rules name, and what lies idle in an image that runs without one. Pure."""

from __future__ import annotations

from slimagent.gpu.architectures import Target, parse
from slimagent.model.inventory import Inventory, Owners, package_test
from slimagent.model.profile import Rules
from slimagent.paths.patterns import PathRules

GPU = "gpu"  # the check that protects what is for GPUs


def target_of(rules: Rules) -> Target | None:
    """The GPUs that the image is for; None where nobody said."""
    rule = rules.gpu
    return None if rule is None or not rule.architectures else parse(rule.architectures, ptx=rule.ptx is True)


def is_without(rules: Rules) -> bool:
    """Whether the image is said to run without a GPU."""
    target = target_of(rules)
    return target is not None and not target.architectures


def for_gpus(inventory: Inventory, owners: Owners, rules: Rules) -> frozenset[int]:
    """The entries of what the rules protect for GPUs: of its packages, and by its paths."""
    protect = [rule for rule in rules.protect if rule.check == GPU]
    tests = [package_test(pattern) for rule in protect for pattern in rule.packages]
    found = {
        at
        for number, package in enumerate(owners.packages)
        if any(test(package) for test in tests)
        for at in owners.files[number]
    }
    patterns = [pattern for rule in protect for pattern in rule.paths]
    return frozenset(found.union(at for at, _ in PathRules(patterns).scan(inventory.paths)))
