"""The data of a trace: what was used and how, what could not be seen, what the run changed in the image.

Paths are `bytes` as in `model`. Frozen, slotted, keyword-only; no I/O and no JSON.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from slimagent.model.open_enum import OpenEnum
from slimagent.model.result import CheckResult


class How(enum.IntFlag):
    """What was done with a path. A path that was only looked up was never read."""

    LOOKED_UP = 1  # stat, access, readlink, chdir, rename, …
    OPENED = 2
    EXECUTED = 4
    LISTED = 8  # opened as a directory


class Use(NamedTuple):
    """What was done with a path, in which steps, and whether the image had it. Many paths share one."""

    how: How
    steps: tuple[int, ...]
    found: bool


class Access(NamedTuple):
    """One path that the traced processes asked for; `found` tells whether the image had it."""

    path: bytes
    how: How
    steps: tuple[int, ...]
    found: bool


RESERVED_PLACE = b"/.slimagent"  # where an agent may lie; no image has anything there
TESTS_PLACE = b"/.slimagent/test"  # a lookup of NAME in it marks test NAME; it does not exist


class MarkedTest(NamedTuple):
    """A test that a step marked (docs/tests.md): the step's index, and a name as `paths.to_text` writes it."""

    step: int
    name: str


class ByTests(NamedTuple):
    """What was done with a path in some tests, which are indices into `Trace.tests`."""

    how: How
    tests: tuple[int, ...]


class Attributed(NamedTuple):
    """One path that a test used: what was done outside of all tests and in which steps, and what tests did.

    Each test is in one `ByTests` at most. Many paths share their `by`.
    """

    path: bytes
    how: How
    steps: tuple[int, ...]
    by: tuple[ByTests, ...]


FAILED_STEP = "failed-step"  # is accepted like a kind of loss


class LossKind(OpenEnum):
    """What a backend failed to see in one run; docs/tracing.md says what happened, and what helps."""

    UNREADABLE_PATH = "unreadable-path"
    FOREIGN_CALL = "foreign-call"
    OWN_LISTENER = "own-listener"
    UNREADABLE_MEMORY = "unreadable-memory"
    MOUNT_NAMESPACE = "mount-namespace"
    MOUNTS_CHANGED = "mounts-changed"
    OPENED_BY_HANDLE = "opened-by-handle"
    NOT_MASKED = "not-masked"
    QUEUE_OVERFLOW = "queue-overflow"
    WATCH_LIMIT = "watch-limit"
    UNSEEN_OPEN = "unseen-open"
    ALREADY_RUNNING = "already-running"
    TOO_MANY_PATHS = "too-many-paths"
    NOT_WATCHED = "not-watched"
    SUPERVISOR_ERROR = "supervisor-error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Something the backend could not see: its kind, how often, and one example."""

    kind: LossKind
    count: int
    example: str

    @property
    def hides(self) -> bool:
        """Whether a file may have been reached unseen: a listener that was refused hides nothing."""
        return self.kind != LossKind.OWN_LISTENER


def summed(losses: Iterable[Loss]) -> tuple[Loss, ...]:
    """Losses summed by kind, each with the first example, sorted."""
    whole: dict[LossKind, Loss] = {}
    for loss in losses:
        known = whole.get(loss.kind)
        whole[loss.kind] = loss if known is None else replace(known, count=known.count + loss.count)
    return tuple(whole[kind] for kind in sorted(whole))


class BlindSpot(str, enum.Enum):
    """What a backend cannot see by its nature, wherever it runs. What it failed to see in one run is a `Loss`."""

    OTHER_PROCESSES = "other-processes"  # processes that the agent did not start: their accesses are not in the trace
    KERNEL_OPENS = "kernel-opens"  # interpreters of programs and scripts, which the kernel opens itself
    LOOKUPS = "lookups"  # files that are looked up but not opened, found or not; links on the way to a file
    EXECUTIONS = "executions"  # executing a program looks like opening a file
    WHO = "who"  # who opened a file: the trace has those of every process
    TESTS = "tests"  # which test used a path: the trace knows steps alone


class ChangeKind(str, enum.Enum):
    """What the traced run did to a path of the image."""

    CREATED = "created"
    MODIFIED = "modified"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A path that the run changed; `mtime_ns` is its earlier time (0 if it did not exist)."""

    path: bytes
    kind: ChangeKind
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run under a watcher: how it was watched, how its steps ended, and what could not be seen of it.

    `identity` is the SHA-256, in hexadecimal, of all of this run's own trace (see `documents.identified`): a merge
    recognises the run by it. `passed_over` are the backends that were not used, each with the reason. `profiles` are
    the names, or files, of the run's profiles. `after` is the image's fingerprint after the run. `volumes` are declared
    volumes that counted as part of the image. `mounts` are the places where something else was mounted: the run saw
    nothing of the image's files there. `asked_ports` are the container's TCP ports that something was seen to connect
    to.
    """

    identity: str
    tool: str
    backend: str
    passed_over: tuple[tuple[str, str], ...]
    blind_spots: tuple[BlindSpot, ...]
    kernel: str
    user: str
    no_new_privileges: bool
    profiles: tuple[str, ...]
    after: str
    steps: tuple[CheckResult, ...]
    losses: tuple[Loss, ...]
    volumes: tuple[bytes, ...] = ()
    mounts: tuple[bytes, ...] = ()
    asked_ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Evidence: which paths the steps of one run or of several needed, and what the runs changed.

    `before` is the fingerprint of the image that all runs began with (see `inventory.fingerprint`), without `excluded`:
    the agent's own files and its output. `runs` are sorted by identity. The steps of an access are indices into
    `steps`, the steps of all runs in their order.

    `tests` are the tests that the steps marked, sorted. `attributed` are the paths that a test used, sorted, each also
    in `accesses`. `tests_cut`: there was more than a trace holds, and some uses count as outside of all tests.
    """

    before: str
    scopes: tuple[bytes, ...]
    excluded: tuple[bytes, ...]
    architecture: str
    runs: tuple[Run, ...]
    accesses: tuple[Access, ...]
    changes: tuple[Change, ...]
    tests: tuple[MarkedTest, ...] = ()
    attributed: tuple[Attributed, ...] = ()
    tests_cut: bool = False

    @property
    def steps(self) -> tuple[CheckResult, ...]:
        """The steps of all runs."""
        return tuple(step for run in self.runs for step in run.steps)

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What the runs could not see, summed by kind, each with the example of the first run that has one."""
        return summed(loss for run in self.runs for loss in run.losses)

    @property
    def blind_spots(self) -> tuple[BlindSpot, ...]:
        """What the backend of at least one run cannot see."""
        return tuple(spot for spot in BlindSpot if any(spot in run.blind_spots for run in self.runs))

    @property
    def profiles(self) -> tuple[str, ...]:
        """The profiles of all runs, which also give a plan its rules. Runs are sorted by their profiles.

        If two profiles contradict each other, the later one counts, and that must not depend on an identity.
        """
        return tuple(dict.fromkeys(name for names in sorted({run.profiles for run in self.runs}) for name in names))

    @property
    def asked_ports(self) -> frozenset[int]:
        """The TCP ports that something was seen to connect to, in any run."""
        return frozenset(port for run in self.runs for port in run.asked_ports)

    @property
    def volumes(self) -> tuple[bytes, ...]:
        """Declared volumes that counted as part of the image in at least one run, sorted."""
        return tuple(sorted({path for run in self.runs for path in run.volumes}))

    @property
    def mounts(self) -> tuple[bytes, ...]:
        """Where something else was mounted in at least one run, sorted: not all runs saw the image's files there."""
        return tuple(sorted({path for run in self.runs for path in run.mounts}))

    @property
    def afters(self) -> tuple[str, ...]:
        """The fingerprints of the image as the runs left it."""
        return tuple(dict.fromkeys(run.after for run in self.runs))
