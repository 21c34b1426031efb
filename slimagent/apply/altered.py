"""What the traced run did to files that stay: an export from its container would not be the image. Pure."""

from __future__ import annotations

import stat
from collections.abc import Callable

from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.reason import Verdict
from slimagent.model.trace import Change, ChangeKind


def altered(
    plan: Plan, inventory: Inventory, accepted: Callable[[bytes], object], *, traced_here: bool
) -> tuple[Change, ...]:
    """Files that stay and that the run modified, and what it removed, as far as it is so in this inventory.

    A new container of the image has every file as it was, so nothing is found there: a file that has its former
    modification time counts as unchanged. With `traced_here` the run took place in this very container, and what it
    modified counts whatever its time says. Directories do not count: they get their former times, and what is in them
    counts by itself. What `accepted` gives anything but None for is left out.
    """
    entries = {entry.path: entry for entry in plan.entries}
    keeps = [reason.verdict is Verdict.KEEP for reason in plan.reasons]

    def is_altered(change: Change) -> bool:
        at, entry = inventory.index.get(change.path), entries.get(change.path)
        if change.kind is ChangeKind.CREATED or (entry is not None and not keeps[entry.reason]):
            return False
        if at is None:
            return change.kind is ChangeKind.REMOVED
        is_same = inventory.mtimes[at] == change.mtime_ns and not traced_here
        return not stat.S_ISDIR(inventory.modes[at]) and not is_same

    return tuple(change for change in plan.changes if is_altered(change) and accepted(change.path) is None)
