"""The nouns of a comparison of two runs, or of two images: what one has and not the other. As in `model`.

`a` and `b` are the two in the order in which they were named. Sizes are bytes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from slimagent.model.result import Outcome


class Movement(str, enum.Enum):
    """What happened to a package, or to the files of a directory, on the way from A to B."""

    CAME = "came"  # stays, or is, in B and not in A
    WENT = "went"  # stays, or is, in A and not in B
    GREW = "grew"
    SHRANK = "shrank"
    UPDATED = "updated"  # another version of the same size


class Presence(str, enum.Enum):
    """How a side has something."""

    STAYS = "stays"
    GOES = "goes"
    PRESENT = "present"  # in an image, of which nothing was planned
    ABSENT = "absent"  # the image, or the image that was slimmed, does not have it

    @property
    def is_in(self) -> bool:
        """Whether the side has it in the end."""
        return self in (Presence.STAYS, Presence.PRESENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnSide:
    """A package, or a directory of files without an owner, on one side: its version, and the bytes of it that stay.

    Of an image, `bytes` are all that it has of it; a directory is present in both if one of them has such files in it.
    `reason` is the sentence of `explain`, or who asked for a package of an image; empty for a directory and where it is
    absent.
    """

    presence: Presence
    version: str = ""
    bytes: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A package that differs. `kind` is empty for files without an owner, and `name` is then their directory.

    `reason` says why it differs, in the words of `explain`.
    """

    movement: Movement
    kind: str
    name: str
    place: bytes
    a: OnSide
    b: OnSide
    reason: str

    @property
    def difference(self) -> int:
        """The bytes that B keeps more than A; negative if it keeps fewer."""
        return self.b.bytes - self.a.bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KindOnSides:
    """The packages of one manager on both sides: how many stay, and their bytes that stay. Empty for no owner."""

    kind: str
    packages_a: int
    packages_b: int
    bytes_a: int
    bytes_b: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Something in which the two runs differ, e.g. the level: what each of them has of it that the other lacks."""

    name: str
    a: tuple[str, ...]
    b: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOnSides:
    """A check, or an item of one, that ended differently on the two slim images; None where it was not run."""

    name: str
    a: Outcome | None
    b: Outcome | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One run as a whole. `before` and `after` are the sums of its files by its plan, less what stripping saves.

    `passed` is None if the slim image was not verified.
    """

    path: str
    image: str
    tag: str
    plan: str
    level: str
    before: int
    after: int
    packages: int
    packages_kept: int
    passed: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """Two runs side by side. `moved` has the largest difference first. `same_image`: both slimmed the same files."""

    tool: str
    a: Side
    b: Side
    same_image: bool
    settings: tuple[Setting, ...]
    kinds: tuple[KindOnSides, ...]
    moved: tuple[Moved, ...]
    checks: tuple[CheckOnSides, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSide:
    """One image as a whole. `size` is the sum of its files, each once for all of its names."""

    image: str
    size: int
    files: int
    packages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageComparison:
    """Two images side by side. `moved` has the largest difference first. `same_image`: one image by two names."""

    tool: str
    a: ImageSide
    b: ImageSide
    same_image: bool
    kinds: tuple[KindOnSides, ...]
    moved: tuple[Moved, ...]
