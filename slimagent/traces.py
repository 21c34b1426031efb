"""The nouns of a trace: what was used and how, what could not be seen, what the run did to the image.

Paths are `bytes` as in `model`. Frozen, slotted, keyword-only; no I/O and no JSON.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from slimagent.results import CheckResult


class How(enum.IntFlag):
    """What was done with a path. A path that was only looked up was never read."""

    LOOKED_UP = 1  # stat, access, readlink, chdir, rename, …
    OPENED = 2
    EXECUTED = 4
    LISTED = 8  # opened as a directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One path that the traced processes asked for; `found` tells whether the image had it."""

    path: bytes
    how: How
    steps: tuple[int, ...]
    found: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Something the backend could not see: its kind (a slug), how often, and one example."""

    kind: str
    count: int
    example: str


class BlindSpot(str, enum.Enum):
    """What a backend cannot see by its nature, wherever it runs. What it failed to see in one run is a `Loss`."""

    OTHER_PROCESSES = "other-processes"  # what the agent did not start: their accesses are not in the trace
    KERNEL_OPENS = "kernel-opens"  # interpreters of programs and scripts, which the kernel opens itself
    LOOKUPS = "lookups"  # files that are looked up and not opened, found or not; links on the way to a file
    EXECUTIONS = "executions"  # a program that is executed looks like a file that is opened
    WHO = "who"  # who opened a file: those of every process are in the trace


class ChangeKind(str, enum.Enum):
    """What the traced run did to a path of the image."""

    CREATED = "created"
    MODIFIED = "modified"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A path that the run changed; `mtime_ns` is what it was before (0 if it was not there)."""

    path: bytes
    kind: ChangeKind
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Evidence: which paths the steps needed, what the run changed, and what could not be seen.

    `before` and `after` are fingerprints of the image around the run (see `inventory.fingerprint`), which was seen
    without `excluded`: the agent's own files and its output. `profiles` are the names, or files, of the profiles that
    it was made with: their rules hold for a plan from it, too.
    """

    tool: str
    backend: str
    blind_spots: tuple[BlindSpot, ...]
    architecture: str
    kernel: str
    user: str
    no_new_privileges: bool
    profiles: tuple[str, ...]
    scopes: tuple[bytes, ...]
    excluded: tuple[bytes, ...]
    before: str
    after: str
    steps: tuple[CheckResult, ...]
    accesses: tuple[Access, ...]
    changes: tuple[Change, ...]
    losses: tuple[Loss, ...]
