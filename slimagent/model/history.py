"""The nouns of a history: what is kept of each run, and what changed since an earlier one. As in `model`.

Sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

NOBODY = ""  # the owner of what no package owns


class Weight(NamedTuple):
    """Something with a name and a size: a package as KIND:NAME, or all that a package manager owns."""

    name: str
    bytes: int


def minute(when: str) -> str:
    """A time of RFC 3339 as people read it, to the minute."""
    return when[:16].replace("T", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A run as its history keeps it. Texts are empty where nothing is known.

    `when` is RFC 3339 in UTC. `plan` is the digest of the plan, which no two runs share: it names the run. `image_id`
    is the image's ID as the engine gives it, `digest` the slim image's. `components` are what each package manager
    owns of the slim image, and what nobody owns; `packages` the largest packages in it, of `packages_kept`. Both are
    as large as they are before stripping. `worse` and `missed` are None where that is unknown.
    """

    when: str
    plan: str
    tool: str
    image: str
    image_id: str
    tag: str
    digest: str
    level: str
    label: str
    bytes_before: int
    bytes_after: int
    bytes_stripped: int
    passed: bool | None
    worse: int | None
    missed: int | None
    components: tuple[Weight, ...]
    packages: tuple[Weight, ...]
    packages_kept: int

    @property
    def name(self) -> str:
        """What people call the slim image."""
        return self.tag or self.image or "the slim image"

    @property
    def minute(self) -> str:
        """When the run ended, to the minute: there can be many on one day."""
        return minute(self.when)


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """What changed since an earlier run: `change` is that of the slim image's size, negative if it is smaller now.

    `grew` and `shrank` are packages of both with the difference; `new` and `gone` those that only one of them has.
    Each list is short, the largest first. Where `is_partial`, one of the runs has more packages than its history
    names: then a new one may have been there before, but not among the largest, and a gone one may still be there.
    """

    when: str
    name: str
    change: int
    grew: tuple[Weight, ...] = ()
    shrank: tuple[Weight, ...] = ()
    new: tuple[Weight, ...] = ()
    gone: tuple[Weight, ...] = ()
    is_partial: bool = False
