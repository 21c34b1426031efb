"""Whether an image is on its way: a state between what it was and what a decision makes of it. Pure."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping

from slimagent.apply.decide import Decision, Deed
from slimagent.apply.in_place.journal_format import temporary_name
from slimagent.apply.strip.outcome import Outcome
from slimagent.errors import RefusedError
from slimagent.model.inventory import Inventory
from slimagent.paths.algebra import join, parent, to_text


def require_between(
    before: Inventory,
    now: Inventory,
    decision: Decision,
    outcomes: Mapping[bytes, Outcome],
    token: str,
    lasting: tuple[Iterable[int], Iterable[int]],
) -> None:
    """Refuse an image that has changed otherwise than the decision and the outcomes of stripping say.

    Each path is as it was or as it will be; missing is only what goes, and new only what is made, also on the way with
    the journal's `token` in its name. `lasting` are the entries of both inventories to look at: not what a running
    container fills and empties as it goes. Raises RefusedError that names the first that is otherwise.
    """
    deeds = {deed.path: deed for deed in decision.deeds}
    gone = {before.paths[at] for at in decision.dropped} | {path for path, deed in deeds.items() if deed.data is None}
    sizes = _stripped(before, outcomes)
    for at in lasting[0]:
        path = before.paths[at]
        here = now.index.get(path)
        if here is None:
            if path not in gone:
                raise _other(path, "is gone, which the plan keeps")
        elif not (_is_same(before, at, now, here, sizes.get(at)) or _is_done(deeds.get(path), now, here)):
            raise _other(path, "is neither what it was nor what the plan makes of it")
    replaced = (*deeds, *outcomes, *(before.paths[at] for at in sizes))
    ours = {join(parent(path), temporary_name(token, path)) for path in replaced}
    ours.update(path for path, deed in deeds.items() if deed.at is None)
    for at in lasting[1]:
        path = now.paths[at]
        if path not in before.index and path not in ours:
            raise _other(path, "was not there")


def _other(path: bytes, what: str) -> RefusedError:
    return RefusedError(
        f"cannot take up the interrupted removal: {to_text(path)} {what}", "slim a new container of the image"
    )


def _stripped(before: Inventory, outcomes: Mapping[bytes, Outcome]) -> dict[int, int]:
    """The size after stripping of each entry that has one: of every name of a file that is known by one of them."""
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
    """Whether an entry is what it was, or that stripped. A folder's time and a link count change by themselves."""
    mode = before.modes[at]
    if (mode, before.uids[at], before.gids[at]) != (now.modes[here], now.uids[here], now.gids[here]):
        return False
    if stat.S_ISLNK(mode):
        return before.targets[at] == now.targets[here]
    if not stat.S_ISREG(mode):
        return True
    return before.mtimes[at] == now.mtimes[here] and now.sizes[here] in (before.sizes[at], stripped)


def _is_done(deed: Deed | None, now: Inventory, here: int) -> bool:
    if deed is None or deed.data is None:
        return False
    if (deed.mode, deed.uid, deed.gid) != (now.modes[here], now.uids[here], now.gids[here]):
        return False
    if stat.S_ISLNK(deed.mode):
        return deed.data == now.targets[here]
    return (len(deed.data), deed.mtime_ns) == (now.sizes[here], now.mtimes[here])
