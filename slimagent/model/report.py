"""The nouns of a report: what a run's documents say together, for people and for scripts. As in `model`.

Sizes are bytes. A file with several names counts once, as in `counted_entries`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from slimagent.model.summary import Summary


class Fate(str, enum.Enum):
    """What becomes of bytes, and why in a word: the colours of the picture."""

    USED = "used"  # stay: a step asked for the file
    KEPT = "kept"  # stay: something that stays needs them, or a rule or the level keeps them
    STRIPPED = "stripped"  # go out of a file that stays
    CRUFT = "cruft"  # go: a rule calls the file cruft
    UNUSED = "unused"  # go: no step used them, nothing needs them

    @property
    def stays(self) -> bool:
        return self in (Fate.USED, Fate.KEPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A document of a run: its file, and the SHA-256 of its bytes or why the report does without it."""

    name: str
    sha256: str | None
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The bytes with one fate, and how many files have any of those."""

    fate: Fate
    files: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A package, or a file that no package owns, that stays with `bytes`, of which the steps used `used`.

    `reason` is why it stays, `price` what would have to be given up to lose it.
    """

    what: str
    bytes: int
    used: int
    reason: str
    price: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """What one step used: files with their bytes, and packages; of those, what no other step used.

    `largest` are the packages that it alone used, the largest first.
    """

    step: str
    files: int
    bytes: int
    packages: int
    alone_files: int
    alone_bytes: int
    alone_packages: int
    largest: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Untested:
    """A package that stays although no step used anything of it: `how` says by what, `reason` why."""

    what: str
    how: str
    bytes: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """How a trace was made: by which backends, how many paths were asked for, what they could not see."""

    backends: tuple[str, ...]
    paths: int
    found: int
    blind_spots: tuple[str, ...]
    losses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """How an image starts, by its configuration."""

    command: tuple[str, ...]
    user: str
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The documents of a run in one. `parts` and what follows are empty without a plan.

    `unread` are the bytes that stay and that no step used. `again` are bytes that `parts` count and
    `bytes_before` does not, None if unknown: what edits took out of package records, and in a plan of an earlier
    slimagent additional names of files. `beyond` are sentences on what no test does.
    """

    summary: Summary
    found: tuple[Found, ...]
    parts: tuple[Part, ...] = ()
    again: int | None = None
    left: tuple[Left, ...] = ()
    needed: tuple[Needed, ...] = ()
    untested: tuple[Untested, ...] = ()
    watched: Watched | None = None
    started: Started | None = None
    beyond: tuple[str, ...] = ()

    @property
    def unread(self) -> int:
        return sum(part.bytes for part in self.parts if part.fate is Fate.KEPT)
