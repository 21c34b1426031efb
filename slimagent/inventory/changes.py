"""What a run did to the image: two inventories, compared."""

from __future__ import annotations

import stat

from slimagent.model.inventory import Inventory
from slimagent.model.trace import Change, ChangeKind
from slimagent.paths.algebra import sort_key


def changes(before: Inventory, after: Inventory) -> tuple[Change, ...]:
    """Paths that the run created, modified or removed, sorted as the inventories are.

    A regular file counts as modified by its change time too: its content may differ while its size and times say
    otherwise. Of other kinds a new modification time, mode or owner counts.
    """
    found = [Change(path=path, kind=ChangeKind.CREATED, mtime_ns=0) for path in after.paths if path not in before.index]
    for at, path in enumerate(before.paths):
        now = after.index.get(path)
        if now is None:
            found.append(Change(path=path, kind=ChangeKind.REMOVED, mtime_ns=before.mtimes[at]))
        elif path not in after.mount_points and _differs(before, at, after, now):
            found.append(Change(path=path, kind=ChangeKind.MODIFIED, mtime_ns=before.mtimes[at]))
    return tuple(sorted(found, key=lambda change: sort_key(change.path)))


def _differs(before: Inventory, at: int, after: Inventory, now: int) -> bool:
    if before.ctimes[at] == after.ctimes[now]:
        return False
    if stat.S_ISREG(before.modes[at]):
        return True
    return (
        before.mtimes[at] != after.mtimes[now]
        or before.modes[at] != after.modes[now]
        or before.uids[at] != after.uids[now]
        or before.gids[at] != after.gids[now]
        or before.targets.get(at) != after.targets.get(now)
    )
