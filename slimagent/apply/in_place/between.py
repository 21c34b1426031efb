"""Whether an image is on its way to what a plan makes of it, or already there. Pure."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Mapping

from slimagent.apply.decide import Action, Decision, decide, drops
from slimagent.apply.edits.edit import Reader, edit
from slimagent.apply.in_place.journal_format import temporary_name
from slimagent.apply.strip.outcome import Outcome
from slimagent.errors import RefusedError
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.paths.algebra import join, parent, to_text


def require_between(
    before: Inventory,
    now: Inventory,
    decision: Decision,
    outcomes: Mapping[bytes, Outcome],
    token: str,
    lasting: tuple[Iterable[int], Iterable[int]],
) -> None:
    """Refuse an image with changes that are not those of the decision and of the outcomes of stripping.

    Each path must be as it was or as it will be. Only what goes may be missing, and only what is made, also under a
    temporary name with the journal's `token`, may be new. `lasting` are the entries of both inventories to look at, not
    those that a running container changes by itself. Raises RefusedError, which names the first other path.
    """
    actions = {action.path: action for action in decision.actions}
    gone = {before.paths[at] for at in decision.dropped} | {
        path for path, action in actions.items() if action.data is None
    }
    sizes = _stripped(before, outcomes)
    for at in lasting[0]:
        path = before.paths[at]
        here = now.index.get(path)
        if here is None:
            if path not in gone:
                raise _other(path, "is gone, but the plan keeps it")
        elif not (_is_same(before, at, now, here, sizes.get(at)) or _is_done(actions.get(path), now, here)):
            raise _other(path, "is neither what it was nor what the plan makes of it")
    replaced = (*actions, *outcomes, *(before.paths[at] for at in sizes))
    ours = {join(parent(path), temporary_name(token, path)) for path in replaced}
    ours.update(path for path, action in actions.items() if action.at is None)
    for at in lasting[1]:
        path = now.paths[at]
        if path not in before.index and path not in ours:
            raise _other(path, "is new")


def _other(path: bytes, what: str) -> RefusedError:
    return RefusedError(
        f"cannot continue the interrupted removal: {to_text(path)} {what}", "slim a new container of the image"
    )


def _stripped(before: Inventory, outcomes: Mapping[bytes, Outcome]) -> dict[int, int]:
    """The size after stripping by entry, for every name of each stripped file."""
    by_inode = {}
    for path, outcome in outcomes.items():
        at = before.index.get(path)
        if at is not None and not outcome.why:
            by_inode[before.devices[at], before.inodes[at]] = outcome.size
    if not by_inode:
        return {}
    found = ((at, by_inode.get((before.devices[at], before.inodes[at]))) for at in range(len(before)))
    return {at: size for at, size in found if size is not None}


def _is_same(before: Inventory, at: int, now: Inventory, here: int, stripped: int | None) -> bool:
    """Whether an entry is as it was, or stripped. The times of directories and link counts change by themselves."""
    mode = before.modes[at]
    if (mode, before.uids[at], before.gids[at]) != (now.modes[here], now.uids[here], now.gids[here]):
        return False
    if stat.S_ISLNK(mode):
        return before.targets[at] == now.targets[here]
    if not stat.S_ISREG(mode):
        return True
    return before.mtimes[at] == now.mtimes[here] and now.sizes[here] in (before.sizes[at], stripped)


def _is_done(action: Action | None, now: Inventory, here: int) -> bool:
    if action is None or action.data is None:
        return False
    if (action.mode, action.uid, action.gid) != (now.modes[here], now.uids[here], now.gids[here]):
        return False
    if stat.S_ISLNK(action.mode):
        return action.data == now.targets[here]
    return (len(action.data), action.mtime_ns) == (now.sizes[here], now.mtimes[here])


def is_carried_out(
    plan: Plan, inventory: Inventory, read: Reader, lasting: Iterable[int], changes: Callable[[bytes], bool]
) -> bool:
    """Whether a plan is already carried out: nothing is left to drop or edit, and all kept files exist, and no others.

    `read` gives an entry's contents, None if it cannot be read. `lasting` are the entries that do not change by
    themselves, and `changes` tells of a path whether it may. Files that the plan edits, and links, may have gone or
    come with an edit.
    """
    decision = edit(plan, inventory, decide(plan, inventory), read)
    if decision.dropped or decision.actions:
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
    """Whether a file is as long as the plan saw it, or shorter if the plan strips files."""
    at = inventory.index.get(path)
    return at is not None and (inventory.sizes[at] == size or (bool(plan.strips) and inventory.sizes[at] < size))
