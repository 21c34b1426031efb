"""The nouns of a search for a cause: how a slim image differs, and which difference makes a step worse. As in `model`.

A difference is a path that is not the same in both images.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple


class What(str, enum.Enum):
    """What happened to a path on the way to the slim image. `differs`: it is not the same, and no plan says so."""

    REMOVED = "removed"
    STRIPPED = "stripped"
    GPU_CODE = "lost GPU code"
    EDITED = "edited"
    DIFFERS = "differs"


class Form(str, enum.Enum):
    """What the slim image has at a path: nothing, other bytes in the same file, or something that is to be made."""

    NOTHING = "nothing"
    BYTES = "bytes"
    FILE = "file"
    LINK = "link"
    DIRECTORY = "directory"


class Difference(NamedTuple):
    """A path that is not the same in both images, and what the slim one has there.

    `blob` names a file with the bytes of a regular file, `target` is that of a link. `mode` (without the kind), owner
    and time (nanoseconds) are those of the slim image's path, and count only for what is to be made.
    """

    path: bytes
    form: Form
    blob: str = ""
    target: bytes = b""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0


class Outcome(str, enum.Enum):
    """How a search ended.

    `unstable`: the step fails now and then. `elsewhere`: it is worse in the slim image, and all differences together do
    not make it worse. `stopped`: it took more runs than allowed. `untried`: only a start is worse, which no step shows.
    `broken`: a run could not be made.
    """

    FOUND = "found"
    UNSTABLE = "unstable"
    ELSEWHERE = "elsewhere"
    STOPPED = "stopped"
    UNTRIED = "untried"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A path without whose difference the step is not worse any more. `owner` is KIND:NAME, empty for no package.

    `alone`: tried by itself. Otherwise it was given back with others of its group, and at least one of them is a cause.
    """

    path: bytes
    what: What
    owner: str = ""
    alone: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a search came to: of `differences`, `causes` make the `steps` worse.

    `runs` counts the trials and `seconds` all of their time. `left` is the number of files among which the next cause
    is, where the search stopped. `note` says why a run could not be made.
    """

    outcome: Outcome
    steps: tuple[str, ...]
    differences: int
    runs: int
    seconds: float
    causes: tuple[Cause, ...] = ()
    left: int = 0
    note: str = ""
