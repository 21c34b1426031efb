"""How far a proof reaches: what each test carries, and what a test would have missed if the others alone had run.

Paths are `bytes` as in `model`. Frozen, slotted, keyword-only; no I/O and no JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

NAME = "reach.json"  # in the output directory of a run


class Unit(NamedTuple):
    """What is left out together: a test with its variants, or a whole step that marked none.

    `step` is its index in the trace, `tests` how many marked tests it has; 0 stands for a whole step.
    """

    step: int
    name: str
    tests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """One unit left out at one level. `unit` is its index in `Reach.units`.

    `files` and `size` (bytes, without what only another hard link holds) would go with it, and so would `packages`. Of
    what it opened or executed, `missed` files would be gone, `missed_size` bytes; `missed_with` of them go with their
    package. `examples` are a few of those that do not, then of those that do. Bytecode whose source stays is not
    missed: Python makes it again.
    """

    unit: int
    files: int
    size: int
    packages: tuple[str, ...]
    missed: int
    missed_with: int
    missed_size: int
    examples: tuple[bytes, ...]

    @property
    def rests(self) -> bool:
        """Whether it would miss a package: this software rests on the unit alone."""
        return self.missed_with > 0

    @property
    def breaks(self) -> bool:
        """Whether it would miss a file although all packages that it used stay."""
        return self.missed > 0 and not self.rests


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelReach:
    """The chosen units left out one by one at one level.

    `kept` is how many entries the plan from all units keeps. `left_out` has the units without which something goes,
    sorted by unit.
    """

    level: str
    kept: int
    left_out: tuple[LeftOut, ...]

    @property
    def resting(self) -> int:
        """How many units use software that rests on them alone."""
        return sum(each.rests for each in self.left_out)

    @property
    def broken(self) -> int:
        """How many units would miss a file although all packages that they used stay."""
        return sum(each.breaks for each in self.left_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What leaving tests out shows. `traces` are the digests of the documents that it was made from.

    `steps` are the names of the trace's steps. `unused` are the indices of the units that used nothing of the image:
    nothing follows from them. `chosen` are those that were looked at: all others, or a sample. `idle` are those of the
    chosen that used nothing of the image that no other unit used.
    """

    tool: str
    traces: tuple[str, ...]
    steps: tuple[str, ...]
    units: tuple[Unit, ...]
    unused: tuple[int, ...]
    chosen: tuple[int, ...]
    idle: tuple[int, ...]
    levels: tuple[LevelReach, ...]
