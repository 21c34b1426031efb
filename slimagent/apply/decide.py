"""What a plan means for the image as it is now: what stays, what goes, what is left alone. Pure.

A plan is made at one time and applied at another. Only a path that the plan drops, and that still is what the
plan saw, goes; everything else in the fresh inventory stays, known to the plan or not.
"""

from __future__ import annotations

import stat
from bisect import bisect_left
from dataclasses import dataclass, field

from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.paths.algebra import parent, sort_key

MODIFIED_MEANWHILE = "it was modified while the image was being slimmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What an edit does to one path: it gets `data` as its contents or, if it is a link, as its target; None: it goes.

    `at` is its entry in the inventory, None for a path that is made. `mode` (with the kind), owner and time
    (nanoseconds) are those that the path has afterwards.
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
    """Indices into the inventory, ascending: a folder before what it holds.

    `left_alone` are paths that the plan drops or edits and that stay as they are, with the reason. `mtimes` has a
    modification time (nanoseconds) for every entry of the inventory. `first` leads from each further name of a
    hard-linked file to the first name that stays. What the traced run had made goes and is in `dropped`, but it was
    never part of the image: `made` are those paths, and `lost` and the two sums (over regular files, each inode once)
    leave them out. `deeds` are the plan's edits, in the order in which an interrupted go can be taken up again, and
    `edited` has the new contents, or the new target, of each entry that is edited and stays (`apply/edits/edit.py`).
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
    deeds: tuple[Deed, ...] = ()
    edited: dict[int, bytes] = field(default_factory=dict)

    @property
    def standing(self) -> int:
        """How many paths there are afterwards."""
        return len(self.kept) + sum(deed.at is None for deed in self.deeds)


def decide(plan: Plan, inventory: Inventory) -> Decision:
    """Compare a plan with a fresh inventory of the same root. Linear in both."""
    goes, left_alone, mtimes = _judge(plan, inventory)
    _keep_folders_in_use(inventory, goes)
    _date_mount_points(inventory, mtimes)
    kept = [at for at in range(len(inventory)) if not goes[at]]
    dropped = [at for at in range(len(inventory)) if goes[at]]
    made = _made_by_the_run(plan)
    lost = [at for at in dropped if inventory.paths[at] not in made]
    bytes_kept, bytes_dropped = sums(inventory, kept, lost)
    return Decision(
        kept=kept,
        dropped=dropped,
        left_alone=tuple(left_alone),
        mtimes=mtimes,
        first=_first_names(inventory, kept),
        made=made,
        lost=len(lost),
        bytes_kept=bytes_kept,
        bytes_dropped=bytes_dropped,
    )


def in_order(inventory: Inventory, decision: Decision) -> list[int | Deed]:
    """Everything that stays or is made, in the order of an inventory: a folder right before what it holds."""
    kept, paths, begin = decision.kept, inventory.paths, 0
    made = [deed for deed in decision.deeds if deed.at is None]
    members: list[int | Deed] = []
    for deed in sorted(made, key=lambda deed: sort_key(deed.path)):
        end = bisect_left(kept, sort_key(deed.path), key=lambda at: sort_key(paths[at]))
        members += kept[begin:end]
        members.append(deed)
        begin = end
    return members + kept[begin:]


def _judge(plan: Plan, inventory: Inventory) -> tuple[bytearray, list[tuple[bytes, str]], list[int]]:
    """Which entries go, which the plan would drop but are not what it saw, and every entry's time."""
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


def _made_by_the_run(plan: Plan) -> frozenset[bytes]:
    numbers = {number for number, reason in enumerate(plan.reasons) if reason.kind == ReasonKind.CREATED}
    return frozenset(entry.path for entry in plan.entries if entry.reason in numbers)


def drops(reason: Reason) -> bool:
    """Whether what has this reason goes."""
    return reason.verdict is Verdict.DROP or reason.kind == ReasonKind.CREATED


def _holds_its_successor(plan: Plan, number: int) -> bool:
    """Whether the plan knew this path as a folder with something in it: what it held comes next."""
    if number + 1 >= len(plan.entries):
        return False
    return plan.entries[number + 1].path.startswith(plan.entries[number].path.rstrip(b"/") + b"/")


def _why_not(inventory: Inventory, at: int, size: int, mtime_ns: int, was_filled_folder: bool) -> str:
    """Why this entry cannot go although the plan says so; empty if it can.

    A folder that held something has no time to compare: removing what it held changes it, and an interrupted
    removal must be able to go on. An entry of a plan has no kind, so an empty folder is told from a file that
    was there before by its time, as a file is.
    """
    is_folder = stat.S_ISDIR(inventory.modes[at])
    if inventory.paths[at] in inventory.mount_points:
        return "another file system is mounted on it"
    if is_folder and was_filled_folder:
        return ""
    if was_filled_folder:
        return "it was a folder when the plan was made"
    found = inventory.sizes[at] if stat.S_ISREG(inventory.modes[at]) else 0  # a plan has the sizes of regular files
    if not is_folder and found != size:
        return f"its size is {found} bytes, not {size} as in the plan"
    if inventory.mtimes[at] != mtime_ns:
        return "it was modified after the plan was made"
    return ""


def _keep_folders_in_use(inventory: Inventory, goes: bytearray) -> None:
    """A folder stays as long as something in it does. From the last path up, so that one pass is enough."""
    index, paths = inventory.index, inventory.paths
    for at in range(len(paths) - 1, -1, -1):
        if not goes[at] and paths[at] != b"/":
            holder = index.get(parent(paths[at]))
            if holder is not None:
                goes[holder] = 0


def _date_mount_points(inventory: Inventory, mtimes: list[int]) -> None:
    """What is seen of a mount point is the other file system's: its time there would differ at each start."""
    for path in inventory.mount_points:
        at, holder = inventory.index.get(path), inventory.index.get(parent(path))
        if at is not None and holder is not None and path != b"/":
            mtimes[at] = mtimes[holder]


def _first_names(inventory: Inventory, kept: list[int]) -> dict[int, int]:
    """From each further kept name of an inode to its first kept name.

    Size, time and mode are part of the key: some stacked file systems give two files one number.
    """
    first: dict[int, int] = {}
    seen: dict[tuple[int, ...], int] = {}
    for at in kept:
        if inventory.links[at] > 1 and not stat.S_ISDIR(inventory.modes[at]):
            key = (*_inode(inventory, at), inventory.sizes[at], inventory.mtimes[at], inventory.modes[at])
            known = seen.setdefault(key, at)
            if known != at:
                first[at] = known
    return first


def sums(inventory: Inventory, kept: list[int], dropped: list[int]) -> tuple[int, int]:
    """Bytes of the regular files that stay and of those that go; an inode goes with its last name."""
    counted: set[tuple[int, int]] = set()
    return _bytes(inventory, kept, counted), _bytes(inventory, dropped, counted)


def _inode(inventory: Inventory, at: int) -> tuple[int, int]:
    return inventory.devices[at], inventory.inodes[at]


def _bytes(inventory: Inventory, entries: list[int], counted: set[tuple[int, int]]) -> int:
    """The sizes of regular files whose inode is not in `counted`, which grows by those that may come again."""
    total = 0
    for at in entries:
        if not stat.S_ISREG(inventory.modes[at]):
            continue
        if inventory.links[at] > 1:
            inode = _inode(inventory, at)
            if inode in counted:
                continue
            counted.add(inode)
        total += inventory.sizes[at]
    return total
