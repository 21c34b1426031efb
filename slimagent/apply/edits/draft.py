"""The image as the plan's edits leave it, while they are worked out. Pure."""

from __future__ import annotations

import stat
from dataclasses import replace

from slimagent.apply.decide import Action, Decision, drops
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.paths.algebra import Resolver, name, parent, within_any

_LONGEST_PATH, _LONGEST_NAME = 4095, 255  # bytes (PATH_MAX and NAME_MAX of <linux/limits.h>)
_FILE, _LINK = stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777
_ROOT = 0


class Draft:
    """A decision and the actions so far. It has only what stays. Paths may go through links to directories."""

    def __init__(self, plan: Plan, inventory: Inventory, decision: Decision) -> None:
        self._plan = plan
        self._decision = decision
        self._kept = frozenset(decision.kept)
        self._entries = {entry.path: entry for entry in plan.entries}
        self._drops = [drops(reason) for reason in plan.reasons]
        self._resolver = Resolver(self._link)
        self._changed: dict[int, bytes | None] = {}
        self._made: set[bytes] = set()
        self._actions: list[Action] = []
        self._left_alone: list[tuple[bytes, str]] = []
        self.inventory = inventory

    def entry(self, path: bytes) -> int | None:
        """The entry at `path`, without following a link at its end; None if nothing stays there."""
        return self._standing(self._resolver.resolve(path, follow=False).end)

    def leads_somewhere(self, path: bytes) -> bool:
        """Whether `path`, with all links followed, leads to something that stays."""
        return self._standing(self._resolver.resolve(path).end) is not None

    def target(self, path: bytes) -> bytes | None:
        """The target of the symbolic link at `path` after the actions so far; None if it is not a link."""
        at = self.entry(path)
        return None if at is None else self._target(at)

    def leave(self, path: bytes, why: str) -> None:
        """Note what is not edited."""
        self._left_alone.append((path, why))

    def why_not(self, at: int) -> str:
        """Why the contents of this entry may not be changed; empty if they may."""
        inventory = self.inventory
        if not stat.S_ISREG(inventory.modes[at]):
            return "it is not a regular file"
        seen = self._entries.get(inventory.paths[at])
        if seen is None or (seen.size, seen.mtime_ns) != (inventory.sizes[at], inventory.mtimes[at]):
            return "it was modified after the plan was made"
        return self._why_never(at)

    def _why_never(self, at: int) -> str:
        if at in self._changed:
            return "two edits would change it"
        return "the file has other names" if self.inventory.links[at] > 1 else ""

    def rewrite(self, at: int, old: bytes, new: bytes) -> str:
        """Give a regular file the contents `new`, if they differ. Returns why it may not be changed, or nothing."""
        why = self.why_not(at) if new != old else ""
        if new != old and not why:
            self.change(at, new)
        return why

    def change(self, at: int, data: bytes | None) -> None:
        """Give an entry new contents or a new target; None: it goes."""
        inventory = self.inventory
        self._changed[at] = data
        self._actions.append(
            Action(
                path=inventory.paths[at],
                at=at,
                data=data,
                mode=inventory.modes[at],
                uid=inventory.uids[at],
                gid=inventory.gids[at],
                mtime_ns=self._decision.mtimes[at],
            )
        )

    def point(self, path: bytes, target: bytes, like: int | None) -> None:
        """Point the link at `path` to `target`. If nothing is there, make a link like `like`, if that is not None."""
        at = self.entry(path)
        if at is None:
            if like is not None:
                self._make_link(path, target, like)
        elif not stat.S_ISLNK(self.inventory.modes[at]):
            self.leave(path, "it is not a symbolic link")
        elif self._target(at) != target:
            self._change_link(at, target)

    def remove_link(self, path: bytes) -> None:
        """Remove the symbolic link at `path`, if there is one."""
        at = self.entry(path)
        if at is not None and self._target(at) is not None:
            self._change_link(at, None)

    def _change_link(self, at: int, target: bytes | None) -> None:
        why = self._why_never(at)
        if why:
            self.leave(self.inventory.paths[at], why)
        else:
            self.change(at, target)

    def is_made(self, path: bytes) -> bool:
        """Whether something new is made at `path`."""
        return self._resolver.resolve(path, follow=False).end in self._made

    def make_file(self, path: bytes, data: bytes, like: bytes) -> str:
        """Make a plain file of root's, as old as the file at `like` or else its directory. Returns why not, or nothing.

        A file that the plan drops is not made, which is not reported.
        """
        end = self._resolver.resolve(path, follow=False).end
        if end is not None and self._is_dropped(end):
            return ""
        holder = self._holder(end)
        if end is None or holder is None:
            return "its directory does not exist"
        at = self.entry(like)
        mtime_ns = self._decision.mtimes[holder if at is None else at]
        self._make(Action(path=end, at=None, data=data, mode=_FILE, uid=_ROOT, gid=_ROOT, mtime_ns=mtime_ns))
        return ""

    def _make_link(self, path: bytes, target: bytes, like: int) -> None:
        """Make a link. One that the plan drops, or has no directory for, is not made, which is not reported."""
        end, inventory = self._resolver.resolve(path, follow=False).end, self.inventory
        if end is None or self._holder(end) is None:
            return
        uid, gid, mtime_ns = inventory.uids[like], inventory.gids[like], self._decision.mtimes[like]
        self._make(Action(path=end, at=None, data=target, mode=_LINK, uid=uid, gid=gid, mtime_ns=mtime_ns))

    def _make(self, action: Action) -> None:
        self._made.add(action.path)
        self._actions.append(action)

    def _holder(self, path: bytes | None) -> int | None:
        """The directory of `path` if something new may be made at `path`, else None."""
        if path is None or len(path) > _LONGEST_PATH or len(name(path)) > _LONGEST_NAME or path in self._made:
            return None
        inventory = self.inventory
        if path in inventory.index or path in inventory.mount_points or within_any(path, self._plan.excluded):
            return None
        if self._is_dropped(path):
            return None
        holder = self._standing(parent(path))
        if holder is None or not stat.S_ISDIR(inventory.modes[holder]):
            return None
        return None if parent(path) in inventory.mount_points else holder

    def _is_dropped(self, path: bytes) -> bool:
        planned = self._entries.get(path)
        return planned is not None and self._drops[planned.reason]

    def _standing(self, path: bytes | None) -> int | None:
        at = None if path is None else self.inventory.index.get(path)
        return at if at is not None and at in self._kept and self._changed.get(at, b"") is not None else None

    def _target(self, at: int) -> bytes | None:
        return self._changed.get(at) or self.inventory.targets[at] if at in self.inventory.targets else None

    def _link(self, path: bytes) -> bytes | None:
        at = self._standing(path)
        return None if at is None else self._target(at)

    def result(self) -> Decision:
        """The decision with these actions in it."""
        decision, removed = self._decision, {at for at, data in self._changed.items() if data is None}
        return replace(
            decision,
            kept=[at for at in decision.kept if at not in removed],
            left_alone=(*decision.left_alone, *self._left_alone),
            bytes_kept=decision.bytes_kept + sum(growth(self.inventory, action) for action in self._actions),
            actions=tuple(self._actions),
            edited={at: data for at, data in self._changed.items() if data is not None},
        )


def growth(inventory: Inventory, action: Action) -> int:
    """By how many bytes an action makes the image larger. Only regular files count."""
    if not stat.S_ISREG(action.mode):
        return 0
    return len(action.data or b"") - (0 if action.at is None else inventory.sizes[action.at])
