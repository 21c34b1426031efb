"""Find the modification times of directories in the slim image: the image's, not this container's."""

from __future__ import annotations

import stat
from collections.abc import Iterable

from slimagent.model.inventory import Inventory
from slimagent.model.trace import Change, ChangeKind
from slimagent.paths.algebra import parent


def directory_times(
    inventory: Inventory, changes: Iterable[Change], excluded: Iterable[bytes], volumes: Iterable[bytes] = ()
) -> dict[bytes, int]:
    """Times (ns) by path, for the directories that have this container's time, not the image's.

    A directory that the run changed gets its earlier time. Two kinds have an unknown earlier time: those into which the
    engine or we put something (a mount point, an engine's file, the agent), and mounted directories of `volumes`, which
    are the engine's copies. Each of them gets the time of the newest entry in it, which is the same in every container
    of the image.
    """
    changes = tuple(changes)
    times = {
        each.path: each.mtime_ns
        for each in changes
        if each.kind is ChangeKind.MODIFIED and _is_directory(inventory, each.path)
    }
    created = {each.path for each in changes if each.kind is ChangeKind.CREATED}
    touched = set(map(parent, (*inventory.mount_points, *excluded)))
    touched |= {path for path in volumes if _is_mounted(inventory, path)}
    touched = {path for path in touched if _is_directory(inventory, path)}
    newest: dict[bytes, int] = {}
    for at in range(len(inventory) - 1, -1, -1):  # backwards: a directory's contents come before it
        path = inventory.paths[at]
        if path in touched:
            times[path] = newest.get(path, 0)
        holder = parent(path)
        if holder in touched and path not in inventory.mount_points and path not in created and path != b"/":
            newest[holder] = max(newest.get(holder, 0), times.get(path, inventory.mtimes[at]))
    for path in inventory.mount_points:  # the time there belongs to the other file system
        if path in inventory.index:
            times[path] = times.get(parent(path), 0)
    return times


def _is_mounted(inventory: Inventory, path: bytes) -> bool:
    """Whether a directory lies on another file system than the one above it."""
    at, above = inventory.index.get(path), inventory.index.get(parent(path))
    return at is not None and above is not None and inventory.devices[at] != inventory.devices[above]


def _is_directory(inventory: Inventory, path: bytes) -> bool:
    at = inventory.index.get(path)
    return at is not None and stat.S_ISDIR(inventory.modes[at])
