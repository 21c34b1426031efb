"""Whether a plan has been carried out in an image before: nothing that it says is left to do. Pure."""

from __future__ import annotations

from collections.abc import Callable

from slimagent.apply.decide import decide, drops
from slimagent.apply.edits import Reader, edit
from slimagent.model import Inventory, Plan


def is_carried_out(plan: Plan, inventory: Inventory, read: Reader, changes: Callable[[bytes], bool]) -> bool:
    """Whether nothing of what the plan drops or edits is left to do, and all files are there that it keeps.

    `read` gives an entry's contents, None if it cannot be read. `changes` says of a path that a running container may
    make it or remove it. What the plan edits may have gone with the edit, and so may links.
    """
    decision = edit(plan, inventory, decide(plan, inventory), read)
    if decision.dropped or decision.deeds:
        return False
    edited = {each.path for each in plan.edits}
    return all(
        each.path in inventory.index
        for each in plan.entries
        if each.size and not drops(plan.reasons[each.reason]) and each.path not in edited and not changes(each.path)
    )
