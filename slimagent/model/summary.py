"""The nouns of a summary: what a whole run came to, for people and for scripts. As in `model`.

Sizes are bytes. None is what does not apply, or was not known when the run ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from slimagent.errors import GateFailedError
from slimagent.model.gate import Ruling
from slimagent.model.history import Since
from slimagent.model.plan import Caution, Plan
from slimagent.model.proof import Comparison, Layer, Missed, Receipt, Repair, Verification
from slimagent.model.result import Outcome
from slimagent.model.search import Search
from slimagent.model.trace import Trace


@dataclass(slots=True, kw_only=True)
class Whole:
    """What a run has made so far: it is filled step by step, and however the run ends a summary can be made of it."""

    trace: Trace | None = None
    plan: Plan | None = None
    receipt: Receipt | None = None
    verification: Verification | None = None
    searches: list[Search] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a run did not end well: the slug and the exit status of an error, its message and its hint."""

    slug: str
    status: int
    message: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A class of files that go, e.g. `headers`."""

    kind: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The packages of one manager: how many there are and stay, and what they weigh. `kind` is empty for no owner."""

    kind: str
    packages: int
    packages_kept: int
    bytes: int
    bytes_kept: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A package that goes; `bytes` are those that go with it."""

    kind: str
    name: str
    version: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Files that go from a directory; they may be the user's own, because no package owns them."""

    directory: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """Packages by how far the steps reached them, e.g. `touched by the steps`."""

    how: str
    packages: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuGone:
    """GPU code that went of `files` files that stay, for an image for the GPUs `target` (`none`: without a GPU).

    `bytes` are part of what was stripped. `more_files` could lose `more_bytes` if the user permitted it. `proved`: the
    check `gpu` passed in the slim image, so a GPU ran code of it.
    """

    target: str
    files: int
    bytes: int
    more_files: int = 0
    more_bytes: int = 0
    proved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unstripped:
    """Files that the plan makes smaller and that stay as they are for the same reason, with the bytes that this costs.

    `largest` is the one that costs most.
    """

    why: str
    files: int
    largest: bytes
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A check in the image as it is (`before`) and in the slim one (`after`), with the items that passed.

    `detail` says how it ended the last time, in a line.
    """

    name: str
    kind: str
    before: Outcome | None
    after: Outcome | None
    items: int
    items_passed_before: int | None
    items_passed_after: int | None
    seconds_before: float | None
    seconds_after: float | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What a run did for some seconds. It is part of the last phase before it of a smaller depth; 0 is the smallest."""

    name: str
    seconds: float
    depth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The digest of what was exported, and its size: of a tar its own, of an image that of its manifest."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run of `command` came to. `failure` is None for one that ended well.

    `plan` is the digest of the plan's bytes. `gpu` is None where nobody said which GPUs the image is for. `missed` is
    None where nobody can know what was looked for in vain. `repairs` are the rounds of repair, and `repaired` counts
    the files that made them necessary. `searches` say why steps were worse that no lookup explains. `notes` say what
    was not exercised, a sentence each. `gate` is what the rules about the result came to, `since` what changed since
    the last run in the history. `seconds` are those of the whole run, from its start until it was summarised, `phases`
    what they were spent on, `peak_bytes` is the most memory that was in use.
    """

    tool: str
    command: str
    image: str | None = None
    tag: str | None = None
    failure: Failure | None = None
    level: str | None = None
    accepted: tuple[str, ...] = ()
    plan: str | None = None
    bytes_before: int | None = None
    bytes_after: int | None = None
    bytes_dropped: int | None = None
    bytes_stripped: int | None = None
    paths_before: int | None = None
    paths_after: int | None = None
    files_stripped: int | None = None
    left_alone: int | None = None
    gpu: GpuGone | None = None
    unstripped: tuple[Unstripped, ...] = ()
    caution: Caution | None = None
    dropped: tuple[Dropped, ...] = ()
    owners: tuple[Owner, ...] = ()
    reached: tuple[Reached, ...] = ()
    packages_dropped: tuple[Gone, ...] = ()
    unowned_dropped: tuple[Place, ...] = ()
    layers: tuple[Layer, ...] = ()
    export: Export | None = None
    verified: str | None = None
    passed: bool | None = None
    passing_before: int | None = None
    passing_after: int | None = None
    checks: tuple[Checked, ...] = ()
    start: tuple[Checked, ...] = ()
    worse: tuple[Comparison, ...] = ()
    failed_before: tuple[Comparison, ...] = ()
    missed: tuple[Missed, ...] | None = None
    repaired: int | None = None
    repairs: tuple[Repair, ...] = ()
    searches: tuple[Search, ...] = ()
    notes: tuple[str, ...] = ()
    gate: tuple[Ruling, ...] = ()
    since: Since | None = None
    phases: tuple[Phase, ...] = ()
    seconds: float | None = None
    peak_bytes: int | None = None

    @property
    def made(self) -> bool:
        """Whether there is a slim image that does what the image does: a gate judges it, and does not unmake it."""
        is_made = self.failure is None or self.failure.slug == GateFailedError.slug
        return is_made and self.passed is not False and self.bytes_before is not None and self.bytes_after is not None
