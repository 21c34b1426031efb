"""Directories and patterns in `explain`: how much is there, how much of it stays, and mostly why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from slimagent.model.plan import Entry, Plan, counted_entries
from slimagent.model.reason import Verdict
from slimagent.paths.algebra import to_text
from slimagent.paths.patterns import PathRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A file, or a directory with all below it, and the number of paths there.

    `size` and `kept` are bytes before stripping; a file counts once for all of its names. `reason` is the index of the
    reason that most of the bytes have, or most of the paths if there are no bytes.
    """

    what: str
    paths: int
    size: int
    kept: int
    reason: int


SORTS: dict[str, Callable[[Place], tuple[int, str]]] = {
    "size": lambda place: (-place.size, place.what),
    "stays": lambda place: (-place.kept, place.what),
    "goes": lambda place: (place.kept - place.size, place.what),
    "name": lambda place: (0, place.what),
}


@dataclass(slots=True)
class _Sum:
    """What is in one place, so far."""

    size: int = 0
    kept: int = 0
    bytes_for: Counter[int] = field(default_factory=Counter)  # by reason
    paths_for: Counter[int] = field(default_factory=Counter)

    def add(self, entry: Entry, *, stays: bool) -> None:
        self.size += entry.size
        self.kept += entry.size if stays else 0
        self.bytes_for[entry.reason] += entry.size
        self.paths_for[entry.reason] += 1

    def place(self, what: str) -> Place:
        ((reason, _),) = (self.bytes_for if self.size else self.paths_for).most_common(1)
        return Place(what=what, paths=self.paths_for.total(), size=self.size, kept=self.kept, reason=reason)


def inside(plan: Plan, directory: bytes) -> list[Place]:
    """What is right in a directory, each with all below it. Empty for a file, and for an empty directory."""
    above = directory.rstrip(b"/") + b"/"
    below = len(above)
    return _summed(
        plan,
        (
            (entry, above + entry.path[below:].split(b"/", 1)[0])
            for entry in counted_entries(plan)
            if entry.path.startswith(above) and len(entry.path) > below
        ),
    )


def matching(plan: Plan, pattern: str) -> list[Place]:
    """The paths that match a pattern, each by itself. Raises ValueError for what is no pattern."""
    first = PathRules([pattern]).first
    return _summed(plan, ((entry, entry.path) for entry in counted_entries(plan) if first(entry.path) is not None))


def total(places: Iterable[Place], what: str) -> Place | None:
    """All of these places as one; None if there is none."""
    all_of = list(places)
    if not all_of:
        return None
    largest = max(all_of, key=lambda place: (place.size, place.paths))
    return Place(
        what=what,
        paths=sum(place.paths for place in all_of),
        size=sum(place.size for place in all_of),
        kept=sum(place.kept for place in all_of),
        reason=largest.reason,
    )


def _summed(plan: Plan, found: Iterable[tuple[Entry, bytes]]) -> list[Place]:
    stays = [reason.verdict is Verdict.KEEP for reason in plan.reasons]
    sums: dict[bytes, _Sum] = {}
    for entry, place in found:
        sums.setdefault(place, _Sum()).add(entry, stays=stays[entry.reason])
    return [each.place(to_text(path)) for path, each in sums.items()]
