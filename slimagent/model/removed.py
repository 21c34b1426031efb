"""The nouns of the list of what went: each path, whose it was, why it went. As in `model`."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

from slimagent.model.inventory import Package

# Where a slim image can have the list itself. A file of that name that does not begin as a list is the image's own.
INSIDE = b"/.slimagent-removed.jsonl.gz"
NAME = "removed.jsonl.gz"  # the list beside a receipt


class GoneKind(str, enum.Enum):
    """What a path was. A hard link is an additional name of a file that the list has under its first name."""

    FILE = "file"
    HARD_LINK = "hard-link"
    DIRECTORY = "directory"
    LINK = "link"
    SPECIAL = "special"


class Gone(NamedTuple):
    """A path that went. `owner` and `reason` are indices into the list's head, `owner` is -1 for none.

    `size` and `digest` (SHA-256 in hexadecimal, empty if unknown) are those of a regular file, also under its further
    names. `target` is where a symbolic link leads, or the first name of the file that a hard link names.
    """

    path: bytes
    kind: GoneKind
    size: int
    reason: int
    owner: int = -1
    digest: str = ""
    target: bytes = b""


class Owner(NamedTuple):
    """A package that owns something in the list. `is_gone`: the package went, and not only some of its files."""

    package: Package
    is_gone: bool


class Why(NamedTuple):
    """A reason: its name in documents, and in words with what it depends on."""

    kind: str
    sentence: str


class Lead(NamedTuple):
    """A symbolic link that stays, and where it leads in the image: to a directory, or to something that went."""

    link: bytes
    end: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """The head of a list of what went.

    `plan` is the SHA-256 of the plan. `image` is the name of the image that it was taken from, `image_id` its ID as the
    engine gives it; both are empty if unknown. `paths` counts the rows of the list. `bytes` sums the files, each once.
    """

    tool: str
    plan: str
    level: str
    image: str
    image_id: str
    paths: int
    bytes: int
    owners: tuple[Owner, ...]
    reasons: tuple[Why, ...]
    leads: tuple[Lead, ...]
