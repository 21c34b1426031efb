"""The nouns of an answer to an error: what a program did not find, and what was removed. As in `model`."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple


class WantedKind(str, enum.Enum):
    """What a program looked for in vain."""

    PATH = "path"
    COMMAND = "command"
    LIBRARY = "library"
    PYTHON = "python-module"
    R = "r-package"
    NODE = "node-module"
    JAVA = "java-class"
    LOCALE = "locale"
    TIME_ZONE = "time-zone"
    FONT = "font"


class Wanted(NamedTuple):
    """Something that a program did not find, by the name that it asked for. A path need not be absolute.

    What a Python module lacks is MODULE:NAME. A locale may have no name.
    """

    kind: WantedKind
    name: bytes


class RemovedPath(NamedTuple):
    """A path that went, and its size in bytes."""

    path: bytes
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was removed that explains an error, of one owner and for one reason.

    `owner` is KIND:NAME and `version` its version, both empty for a file of no package; `whole` says whether the
    package went, and not only some of its files. `restore` and `ways` are command lines that bring it back. `keep`
    is the option with which the next build keeps it, `rule` the same for a profile.
    """

    wanted: tuple[Wanted, ...]
    removed: tuple[RemovedPath, ...]
    owner: str
    version: str
    place: bytes
    whole: bool
    kind: str
    reason: str
    restore: str
    ways: tuple[str, ...]
    keep: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Everything that a list of what went says about an error.

    `unexplained` are names that it does not have, `vague` are those that it has too often to tell what is meant.
    """

    tool: str
    plan: str
    image: str
    answers: tuple[Answer, ...]
    unexplained: tuple[Wanted, ...]
    vague: tuple[Wanted, ...]
