"""Whether a plan has been carried out in an image before: it is what the plan makes of its image. Pure."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable

from slimagent.apply.decide import decide, drops
from slimagent.apply.edits.edit import Reader, edit
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan


def is_carried_out(
    plan: Plan, inventory: Inventory, read: Reader, lasting: Iterable[int], changes: Callable[[bytes], bool]
) -> bool:
    """Whether nothing of what the plan drops or edits is left to do, all files are there that it keeps, and no others.

    `read` gives an entry's contents, None if it cannot be read. `lasting` are the entries that do not change by
    themselves, and `changes` says of a path that it may. What the plan edits may have gone or come with the edit, and
    so may links.
    """
    decision = edit(plan, inventory, decide(plan, inventory), read)
    if decision.dropped or decision.deeds:
        return False
    edited = {each.path for each in plan.edits}
    if not all(
        _is_there(plan, inventory, each.path, each.size)
        for each in plan.entries
        if each.size and not drops(plan.reasons[each.reason]) and each.path not in edited and not changes(each.path)
    ):
        return False
    known = edited.union(each.path for each in plan.entries)
    return all(inventory.paths[at] in known or stat.S_ISLNK(inventory.modes[at]) for at in lasting)


def _is_there(plan: Plan, inventory: Inventory, path: bytes, size: int) -> bool:
    """Whether a file is as long as the plan saw it, or shorter where it strips some."""
    at = inventory.index.get(path)
    return at is not None and (inventory.sizes[at] == size or (bool(plan.strips) and inventory.sizes[at] < size))
