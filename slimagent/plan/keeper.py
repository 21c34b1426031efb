"""Which entries stay so far, and why: the first reason found for an entry is the one that it keeps."""

from __future__ import annotations

import stat
from array import array
from collections import deque

from slimagent.model import Inventory, Reason
from slimagent.paths import Resolver


class Keeper:
    """Reasons by entry of an inventory. `queue` holds regular files whose closure is still to be looked at."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.resolver = Resolver(inventory.link)
        self.reasons: list[Reason] = []
        self.queue: deque[int] = deque()
        self._numbers: dict[Reason, int] = {}
        self._of = array("i", [-1]) * len(inventory)

    def number(self, reason: Reason) -> int:
        """The place of a reason in `reasons`; equal reasons are one."""
        known = self._numbers.get(reason)
        if known is None:
            known = self._numbers[reason] = len(self.reasons)
            self.reasons.append(reason)
        return known

    def reason(self, at: int) -> int:
        """The number of an entry's reason, -1 if it has none yet."""
        return self._of[at]

    def settle(self, at: int, reason: Reason) -> bool:
        """Give an entry its reason unless it has one. Returns whether it had none."""
        if self._of[at] >= 0:
            return False
        self._of[at] = self.number(reason)
        if stat.S_ISREG(self.inventory.modes[at]):
            self.queue.append(at)
        return True

    def keep(self, path: bytes, reason: Reason, way: Reason, *, follow: bool = True) -> int | None:
        """Keep what `path` leads to for `reason`, each link on the way for `way`. Returns what is reached."""
        hops, end = self.resolver.resolve(path, follow=follow)
        for hop in hops:
            self.settle(self.inventory.index[hop], way)
        at = None if end is None else self.inventory.index.get(end)
        if at is not None:
            self.settle(at, reason)
        return at
