"""Find what makes a test worse: bisect groups, then the items of the guilty group, again for each cause. Pure.

A trial says whether the test is worse if only some of the differences are there. If more differences never make it
better, the search finds a smallest set without which all others together do no harm: `R`. For each item of `R` there is
a prefix of the order that is worse, and is not worse without this item. So no item of `R` is blamed in vain.

Groups come first for a reason: half a package can fail in ways in which neither a whole one nor none does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Generic, TypeVar

from slimagent.model.search import Outcome

SINGLE = 3  # causes in one group that are looked for one by one: after that, the rest of the group goes together
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Group(Generic[_T]):
    """Items that belong together, in the order in which they are tried, and how likely a cause is among them."""

    items: tuple[_T, ...]
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Generic[_T]):
    """What a search came to. `causes` were found one by one; each tuple of `together` has at least one cause.

    `left` are the items among which the next cause is, if the search stopped at its limit.
    """

    outcome: Outcome
    runs: int
    causes: tuple[_T, ...] = ()
    together: tuple[tuple[_T, ...], ...] = ()
    left: tuple[_T, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a search is before a run: the number of the run, and about how many it will be.

    The next cause, if there is another one, is among `items` items of `groups` groups.
    """

    run: int
    about: int
    items: int
    groups: int


def search(
    groups: Sequence[Group[_T]],
    worse: Callable[[Sequence[_T]], bool],
    limit: int,
    tell: Callable[[Standing], None] = lambda standing: None,
    has_time: Callable[[], bool] = lambda: True,
) -> Found[_T]:
    """Find the causes in as few trials as possible, and in at most `limit`. `tell` is called before each.

    It stops at the limit, and before a trial for which `has_time` is false.

    `worse` says whether the test is worse with these items alone. With no item it must not be (else the outcome is
    UNSTABLE), with all of them it must be (else ELSEWHERE).

    In the end both answers that count are asked for once more: worse with all items, and not without the causes. If one
    is another one then, the test fails now and then: UNSTABLE, without a cause.

    With `n` items, weights that are the groups' sizes, and `k` causes, of which no group has more than `SINGLE`, there
    are at most `4 + k * (log2(n) + 4)` trials (see `most`).
    """
    return _Search(groups, worse, limit, tell, has_time).result()


def most(groups: Sequence[Group[_T]]) -> int:
    """The largest number of trials for a single cause.

    Two trials show that there is a cause, and a third shows that there is only one. Two more rule out chance. To bisect
    the groups takes at most `log2(whole weight / weight) + 2` trials: each halves the weight, or cuts off a group that
    is heavier than half. To bisect the items of a group takes `log2`, rounded up.
    """
    whole = sum(each.weight for each in groups)
    depths = (int(math.log2(whole / each.weight)) + 2 + _halvings(len(each.items)) for each in groups if each.items)
    return 5 + max(depths, default=0)


def _halvings(count: int) -> int:
    return max(0, count - 1).bit_length()


@dataclass(frozen=True, slots=True)
class _Part(Generic[_T]):
    """A group, or what is left of it after a cause was found there. `group` is the group's number."""

    group: int
    items: tuple[_T, ...]
    weight: float


class _LimitReachedError(Exception):
    pass


class _Search(Generic[_T]):
    """The search as it stands: `_behind` is not worse; with all of `_ahead`, it is."""

    def __init__(
        self,
        groups: Sequence[Group[_T]],
        worse: Callable[[Sequence[_T]], bool],
        limit: int,
        tell: Callable[[Standing], None],
        has_time: Callable[[], bool],
    ) -> None:
        self._has_time = has_time
        self._worse = worse
        self._limit = limit
        self._tell = tell
        self._behind: list[_T] = []
        self._ahead = [_Part(number, each.items, each.weight) for number, each in enumerate(groups) if each.items]
        self._found: dict[int, int] = {}  # causes by group
        self._causes: list[_T] = []
        self._together: list[tuple[_T, ...]] = []
        self._among = self._ahead  # where the next cause is
        self._runs = 0

    def result(self) -> Found[_T]:
        outcome = Outcome.FOUND
        try:
            if self._is_worse([]):
                outcome = Outcome.UNSTABLE
            elif not self._ahead or not self._is_worse(_flat(self._ahead)):
                outcome = Outcome.ELSEWHERE
            else:
                whole = _flat(self._ahead)
                self._find_all()
                if not self._is_certain(whole):
                    outcome, self._causes, self._together = Outcome.UNSTABLE, [], []
        except _LimitReachedError:
            outcome = Outcome.STOPPED
        return Found(
            outcome=outcome,
            runs=self._runs,
            causes=tuple(self._causes),
            together=tuple(self._together),
            left=tuple(_flat(self._among)) if outcome is Outcome.STOPPED else (),
        )

    def _find_all(self) -> None:
        while True:
            self._find_one()
            self._among = self._ahead
            if not self._ahead or not self._is_worse([*self._behind, *_flat(self._ahead)], last=3):
                return

    def _is_certain(self, whole: Sequence[_T]) -> bool:
        """Whether it is still worse with all items, and still not without the causes.

        If the limit does not allow both runs, what follows a search has to show it.
        """
        if self._runs + 2 > self._limit or not self._has_time():
            return True
        self._among = []
        return self._is_worse(whole, last=2) and not self._is_worse([*self._behind, *_flat(self._ahead)], last=1)

    def _find_one(self) -> None:
        """Find the end of the smallest prefix that is worse, and take it out."""
        guilty, self._ahead = self._guilty_part()
        count = self._found.get(guilty.group, 0)
        self._found[guilty.group] = count + 1
        if count >= SINGLE:
            self._together.append(guilty.items)
            return
        at = self._guilty_item(guilty)
        self._causes.append(guilty.items[at])
        self._behind += guilty.items[:at]
        rest = guilty.items[at + 1 :]
        if rest:
            left = replace(guilty, items=rest, weight=guilty.weight * len(rest) / len(guilty.items))
            self._ahead = [left, *self._ahead]

    def _guilty_part(self) -> tuple[_Part[_T], list[_Part[_T]]]:
        """The part with which what comes before it becomes worse, which is then behind us; and the parts after it."""
        parts, low, high = self._ahead, 0, len(self._ahead)
        while high - low > 1:
            self._among = parts[low:high]
            middle = low + _halfway([each.weight for each in parts[low:high]])
            if self._is_worse([*self._behind, *_flat(parts[:middle])]):
                high = middle
            else:
                low = middle
        self._behind += _flat(parts[:low])
        return parts[low], parts[low + 1 :]

    def _guilty_item(self, part: _Part[_T]) -> int:
        """The place of the item with which the items before it become worse."""
        low, high = 0, len(part.items)
        while high - low > 1:
            self._among = [replace(part, items=part.items[low:high])]
            middle = (low + high) // 2
            if self._is_worse([*self._behind, *part.items[:middle]]):
                high = middle
            else:
                low = middle
        return low

    def _is_worse(self, items: Sequence[_T], *, last: int = 0) -> bool:
        """Ask. `last`: about how many runs are left, with this one; 0 where that follows from what is still ahead."""
        if self._runs >= self._limit or not self._has_time():
            raise _LimitReachedError
        self._runs += 1
        count = sum(len(each.items) for each in self._among)
        ahead = last - 1 if last else _halvings(count) + (4 if self._runs == 1 else 3)
        about = self._runs + ahead
        self._tell(Standing(run=self._runs, about=min(about, self._limit), items=count, groups=len(self._among)))
        return self._worse(items)


def _halfway(weights: Sequence[float]) -> int:
    """Where to cut two or more weights, so that both sides are as heavy as each other, and neither is empty."""
    sums = list(accumulate(weights))
    return 1 + min(range(len(weights) - 1), key=lambda at: abs(2 * sums[at] - sums[-1]))


def _flat(parts: Iterable[_Part[_T]]) -> list[_T]:
    return [item for each in parts for item in each.items]
