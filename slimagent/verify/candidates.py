"""What may be the cause of a worse test: all differences, in groups, the most likely ones first. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from slimagent.model.plan import Plan
from slimagent.model.reason import ReasonKind, Verdict
from slimagent.model.search import Cause, Difference, Form, What
from slimagent.paths.algebra import parent, to_text
from slimagent.verify.search import Group

NOBODY = ""  # the owner of what no package owns


class Candidates:
    """The differences between a slim image and the one that its plan was made for."""

    def __init__(self, plan: Plan, differences: Sequence[Difference]) -> None:
        self._plan = plan
        self.differences = differences
        wanted = {each.path for each in differences}
        self._entries = {entry.path: entry for entry in plan.entries if entry.path in wanted}
        self._stripped = {each.path for each in plan.strips}
        self._gpu = set() if plan.gpu is None else {each.path for each in plan.gpu.files}
        self._edited = {each.path for each in plan.edits}

    def what(self, each: Difference) -> What:
        """What happened to a path, as the plan says."""
        entry = self._entries.get(each.path)
        drops = entry is not None and self._plan.reasons[entry.reason].verdict is Verdict.DROP
        if each.form is Form.NOTHING and drops:
            return What.REMOVED
        if each.path in self._edited:
            return What.EDITED
        if each.form is Form.BYTES and each.path in self._gpu:
            return What.GPU_CODE
        if each.form is Form.BYTES and each.path in self._stripped:
            return What.STRIPPED
        return What.DIFFERS

    def owner(self, each: Difference) -> str:
        """The package that owns a path as KIND:NAME; empty for none."""
        entry = self._entries.get(each.path)
        if entry is None or entry.owner < 0:
            return NOBODY
        return self._plan.packages[entry.owner].package.label

    def cause(self, each: Difference, *, alone: bool = True) -> Cause:
        """A difference that was found to be a cause."""
        return Cause(path=each.path, what=self.what(each), owner=self.owner(each), alone=alone)

    def groups(self, named: Collection[bytes], steps: Iterable[str]) -> list[Group[Difference]]:
        """The differences by package, and those of no package by directory. As likely as each other are

        - removed paths that the error names (`named`),
        - kept files that differ although the plan does not say so,
        - files that lost symbols, GPU code or entries,
        - removed files of packages that `steps` used,
        - all other removed files.

        Each group is in reverse order: what a directory holds comes before it.
        """
        used = self._used(set(steps))
        tiers: list[dict[tuple[str, object], list[Difference]]] = [{} for _ in range(5)]
        for each in reversed(self.differences):
            what, entry = self.what(each), self._entries.get(each.path)
            owner = -1 if entry is None else entry.owner
            home: object = owner if owner >= 0 else self._place(each)
            if what is not What.REMOVED:
                tier = 1 if what is What.DIFFERS else 2
            elif each.path in named:
                tier = 0
            else:
                tier = 3 if owner in used else 4
            tiers[tier].setdefault((what.value, home), []).append(each)
        return [
            Group(tuple(items), len(items) / sum(map(len, groups.values())))
            for groups in tiers
            for items in groups.values()
        ]

    def _used(self, steps: set[str]) -> set[int]:
        """The packages that some steps used."""
        plan = self._plan
        numbers = {at for at, step in enumerate(plan.steps) if step.name in steps}
        return {at for at, each in enumerate(plan.packages) if numbers.intersection(plan.reasons[each.reason].steps)}

    def _place(self, each: Difference) -> str:
        """Where something that nobody owns belongs to: the whole tree that goes, or its directory."""
        entry = self._entries.get(each.path)
        reason = None if entry is None else self._plan.reasons[entry.reason]
        is_tree = reason is not None and reason.kind == ReasonKind.TREE_UNUSED
        return reason.detail if reason is not None and is_tree else to_text(parent(each.path))
