"""Say which tests used the entries of a plan. For its readers: no verdict depends on it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from slimagent.model.plan import UsedBy
from slimagent.model.reason import ReasonKind
from slimagent.model.trace import ByTests, How, Trace
from slimagent.plan.keeper import Keeper

_HOWS = {
    ReasonKind.EXECUTED: How.EXECUTED,
    ReasonKind.OPENED: How.OPENED,
    ReasonKind.LISTED: How.LISTED,
    ReasonKind.LOOKED_UP: How.LOOKED_UP,
}
_NAMES = 3  # that a plan has of each


def used_by(keeper: Keeper, trace: Trace) -> Iterator[tuple[int, UsedBy]]:
    """The entries that tests used as the entry's reason says, each with these tests."""
    if not trace.tests:
        return
    sets: dict[int, list[tuple[ByTests, ...]]] = {}
    outside: dict[int, How] = {}
    for path, how, _, by in trace.attributed:
        at = _end(keeper, path)
        if at is not None:
            sets.setdefault(at, []).append(by)
            outside[at] = outside.get(at, How(0)) | how
    attributed = {each.path for each in trace.attributed}
    for access in trace.accesses:
        at = None if access.path in attributed else _end(keeper, access.path)
        if at in sets:
            outside[at] |= access.how
    known: dict[tuple[int, ...], tuple[int, tuple[str, ...]]] = {}  # many entries share their sets
    for at in sorted(sets):
        used = _HOWS.get(keeper.reasons[keeper.reason(at)].kind, How(0))
        key = (used.value, *map(id, sets[at]))
        if key not in known:
            tests = sorted({test for by in sets[at] for done, those in by if done & used for test in those})
            known[key] = len(tests), tuple(trace.tests[test].name for test in tests[:_NAMES])
        count, names = known[key]
        if count:
            yield at, UsedBy(count, names, bool(outside[at] & used))


def _end(keeper: Keeper, path: bytes) -> int | None:
    end = keeper.resolver.resolve(path).end
    return None if end is None else keeper.inventory.index.get(end)
