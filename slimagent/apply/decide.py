"""What a plan means for the image as it is now: what stays, what goes, what is left alone. Pure.

A plan is made at one time and applied at another. Only what the plan drops, and what has not changed since, goes.
Everything else in the fresh inventory stays, whether the plan knows it or not.
"""

from __future__ import annotations

import stat
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.model.trace import Change, ChangeKind
from slimagent.paths.algebra import parent, sort_key

MODIFIED_MEANWHILE = "it was modified while the image was being slimmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What an edit does to one path: `data` becomes its contents or, for a link, its target. None: the path goes.

    `at` is its entry in the inventory, None for a new path. `mode` (with the kind), owner and time (nanoseconds) are
    those that the path has afterwards.
    """

    path: bytes
    at: int | None
    data: bytes | None
    mode: int
    uid: int
    gid: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What stays and what goes, as indices into the inventory, ascending: a directory before what it holds.

    `left_alone` are paths that the plan drops or edits and that stay as they are, with the reason. `mtimes` has a
    modification time (nanoseconds) for every entry of the inventory. `first` maps each additional name of a hard-linked
    file to the first name that stays. `made` are paths that the traced run made: they go and are in `dropped`, but were
    never part of the image, so `lost` and the two sums (over regular files, each inode once) leave them out.
    `actions` are the plan's edits, in an order in which an interrupted run can continue. `edited` has the new contents,
    or the new target, of each entry that is edited and stays (`apply/edits/edit.py`).
    """

    kept: list[int]
    dropped: list[int]
    left_alone: tuple[tuple[bytes, str], ...]
    mtimes: list[int]
    first: dict[int, int]
    made: frozenset[bytes]
    lost: int
    bytes_kept: int
    bytes_dropped: int
    actions: tuple[Action, ...] = ()
    edited: dict[int, bytes] = field(default_factory=dict)

    @property
    def standing(self) -> int:
        """How many paths there are afterwards."""
        return len(self.kept) + sum(action.at is None for action in self.actions)


def decide(plan: Plan, inventory: Inventory) -> Decision:
    """Compare a plan with a fresh inventory of the same root, in linear time."""
    goes, left_alone, mtimes = _judge(plan, inventory)
    _keep_directories_in_use(inventory, goes)
    _date_mount_points(inventory, mtimes)
    kept = [at for at in range(len(inventory)) if not goes[at]]
    dropped = [at for at in range(len(inventory)) if goes[at]]
    created = {number for number, reason in enumerate(plan.reasons) if reason.kind == ReasonKind.CREATED}
    made = frozenset(entry.path for entry in plan.entries if entry.reason in created)
    lost = [at for at in dropped if inventory.paths[at] not in made]
    bytes_kept, bytes_dropped = sums(inventory, kept, lost)
    return Decision(
        kept=kept,
        dropped=dropped,
        left_alone=tuple(left_alone),
        mtimes=mtimes,
        first=first_names(inventory, kept),
        made=made,
        lost=len(lost),
        bytes_kept=bytes_kept,
        bytes_dropped=bytes_dropped,
    )


def in_order(inventory: Inventory, decision: Decision) -> list[int | Action]:
    """Everything that stays or is new, in the order of an inventory: a directory right before what it holds."""
    kept, paths, begin = decision.kept, inventory.paths, 0
    made = [action for action in decision.actions if action.at is None]
    members: list[int | Action] = []
    for action in sorted(made, key=lambda action: sort_key(action.path)):
        end = bisect_left(kept, sort_key(action.path), key=lambda at: sort_key(paths[at]))
        members += kept[begin:end]
        members.append(action)
        begin = end
    return members + kept[begin:]


def _judge(plan: Plan, inventory: Inventory) -> tuple[bytearray, list[tuple[bytes, str]], list[int]]:
    """Which entries go, which the plan drops but have changed since, and every entry's time."""
    goes, left_alone = bytearray(len(inventory)), []
    mtimes = inventory.mtimes[:]
    going = [drops(reason) for reason in plan.reasons]
    index, modes = inventory.index, inventory.modes
    for number, (path, reason, size, mtime_ns, _) in enumerate(plan.entries):
        at = index.get(path)
        if at is None:
            continue
        if stat.S_ISDIR(modes[at]):
            mtimes[at] = mtime_ns  # the traced run's own temporary files touched it
        if not going[reason]:
            continue
        why = _why_not(inventory, at, size, mtime_ns, _holds_its_successor(plan, number))
        if why:
            left_alone.append((path, why))
        else:
            goes[at] = 1
    return goes, left_alone, mtimes


def drops(reason: Reason) -> bool:
    """Whether a path with this reason goes."""
    return reason.verdict is Verdict.DROP or reason.kind == ReasonKind.CREATED


def _holds_its_successor(plan: Plan, number: int) -> bool:
    """Whether the plan saw this path as a directory with something in it, which is then the next entry."""
    if number + 1 >= len(plan.entries):
        return False
    return plan.entries[number + 1].path.startswith(plan.entries[number].path.rstrip(b"/") + b"/")


def _why_not(inventory: Inventory, at: int, size: int, mtime_ns: int, was_filled_directory: bool) -> str:
    """Why this entry cannot go although the plan says so; empty if it can.

    The time of a directory that held something is not compared: removing what it held changes the time, and an
    interrupted removal must be able to go on. An entry of a plan has no kind, so the time also tells an empty
    directory from a file that was there before.
    """
    is_directory = stat.S_ISDIR(inventory.modes[at])
    if inventory.paths[at] in inventory.mount_points:
        return "another file system is mounted on it"
    if is_directory and was_filled_directory:
        return ""
    if was_filled_directory:
        return "it was a directory when the plan was made"
    found = inventory.sizes[at] if stat.S_ISREG(inventory.modes[at]) else 0  # a plan has the sizes of regular files
    if not is_directory and found != size:
        return f"its size is {found} bytes, not {size} as in the plan"
    if inventory.mtimes[at] != mtime_ns:
        return "it was modified after the plan was made"
    return ""


def _keep_directories_in_use(inventory: Inventory, goes: bytearray) -> None:
    """Keep every directory in which something stays. From the last path up, so that one pass is enough."""
    index, paths = inventory.index, inventory.paths
    for at in range(len(paths) - 1, -1, -1):
        if not goes[at] and paths[at] != b"/":
            holder = index.get(parent(paths[at]))
            if holder is not None:
                goes[holder] = 0


def _date_mount_points(inventory: Inventory, mtimes: list[int]) -> None:
    """Give mount points the time of the directory above: their own is the other file system's, and changes."""
    for path in inventory.mount_points:
        at, holder = inventory.index.get(path), inventory.index.get(parent(path))
        if at is not None and holder is not None and path != b"/":
            mtimes[at] = mtimes[holder]


def first_names(inventory: Inventory, kept: list[int]) -> dict[int, int]:
    """Map each additional kept name of an inode to its first kept name."""
    first: dict[int, int] = {}
    seen: dict[int | tuple[int, ...], int] = {}
    for at in kept:
        if inventory.links[at] > 1 and not stat.S_ISDIR(inventory.modes[at]):
            known = seen.setdefault(inventory.file(at), at)
            if known != at:
                first[at] = known
    return first


def sums(inventory: Inventory, kept: list[int], dropped: list[int]) -> tuple[int, int]:
    """Bytes of the regular files that stay and of those that go. An inode goes with its last name."""
    counted: set[int | tuple[int, ...]] = set()
    return _bytes(inventory, kept, counted), _bytes(inventory, dropped, counted)


def _bytes(inventory: Inventory, entries: list[int], counted: set[int | tuple[int, ...]]) -> int:
    """The size of all regular files that are not in `counted`. Adds those that may come again to `counted`."""
    total = 0
    for at in entries:
        if not stat.S_ISREG(inventory.modes[at]):
            continue
        if inventory.links[at] > 1:
            file = inventory.file(at)
            if file in counted:
                continue
            counted.add(file)
        total += inventory.sizes[at]
    return total


def altered(
    plan: Plan, inventory: Inventory, accepted: Callable[[bytes], object], *, traced_here: bool
) -> tuple[Change, ...]:
    """What the traced run did to files that stay: those that it modified or removed, as seen in this inventory.

    An export from the run's own container would then not be the image. A new container has every file as it was, so
    nothing is found there: a file that has its former modification time is unchanged. With `traced_here` this is the
    container of the run, and what it modified counts whatever its time. Directories do not count: they get their former
    times, and what they hold counts by itself. Paths for which `accepted` returns anything but None are left out.
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
