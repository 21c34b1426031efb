"""The nouns of a plan: each path's verdict and its reason, and what is to be edited and stripped. As in `model`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from slimagent.model.edit import Edit
from slimagent.model.inventory import Description, Distribution, Package
from slimagent.model.reason import Reason
from slimagent.model.trace import Change


class Entry(NamedTuple):
    """One path of the image, the index of its reason, and the index of its first owner (-1 for none).

    A plan has one per path of the inventory.
    """

    path: bytes
    reason: int
    size: int
    mtime_ns: int
    owner: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPackage:
    """A package and its verdict; `requires` are the packages it cannot do without, as indices into `Plan.packages`.

    `size` is the sum of its regular files' sizes, `kept` of those that stay, both before stripping. A file counts once
    for all of its names. A file of several packages is in the size of each; sums over packages use `counted_entries`.
    """

    package: Package
    reason: int
    files: int
    size: int
    kept: int
    requires: tuple[int, ...] = ()
    description: Description = field(default_factory=Description)


class HardLink(NamedTuple):
    """An additional name of a file: the index of its entry, and that of the name with which the file counts."""

    entry: int
    counts_with: int


class Strip(NamedTuple):
    """A file that stays and is to be stripped, and the bytes that this saves by its section headers."""

    path: bytes
    saves: int


class GpuFile(NamedTuple):
    """A file that stays and loses GPU code, the bytes that this saves, and what permits it."""

    path: bytes
    saves: int
    permitted: str = ""


class GpuLeft(NamedTuple):
    """A file whose GPU code is left alone, why, and the bytes that it could lose if the user permitted it."""

    path: bytes
    why: str
    could_save: int = 0


class GpuHeld(NamedTuple):
    """GPU code of one form and architecture in a file: its bytes, its pieces, and the bytes that the target needs.

    `form` is `cubin` (machine code), `ptx`, `other` or `unknown`; the architecture of unknown code is empty.
    """

    path: bytes
    form: str
    architecture: str
    size: int
    pieces: int
    stays: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuCode:
    """What happens to GPU code. `target` are the GPUs that the image is for, e.g. `sm_80,sm_90`, or `none`.

    `ptx`: PTX for GPUs to come stays. `files` lose what no GPU of the target would load; `left` are left alone. `held`
    is what is in all of them.
    """

    target: str
    ptx: bool = False
    files: tuple[GpuFile, ...] = ()
    left: tuple[GpuLeft, ...] = ()
    held: tuple[GpuHeld, ...] = ()


class Caution(NamedTuple):
    """What stays only because the trace cannot see lookups: so many files, links and the like, of so many bytes."""

    paths: int
    size: int


class UsedBy(NamedTuple):
    """How many tests used a path as its reason says, and the names of the first. `outside`: so did something else."""

    tests: int
    names: tuple[str, ...]
    outside: bool


class Step(NamedTuple):
    """A step that was traced, and the identity of the run that it was part of (see `trace.Run`)."""

    name: str
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The decision. `fingerprints` are the images it fits: before the traced run, and after it.

    `excluded` are the agent's own directories and its output: never part of the image. `entries` are sorted as
    the inventory is. `unresolved` are names that a kept file asks for and that the image does not have. `packages` are
    the owners of files, `further` the owners beside the first of entries that have several, by the entry's index.
    `problems` are package records that could not be understood: what they speak of has no owner. `unread` are those
    for which packages may be missing here, each with their kind: `other` for a manager that slimagent does not read,
    `*` where an earlier slimagent did not say. `strips` are the files that lose symbols and debugging sections,
    `unstripped` those that have some and must not be touched, with why.
    `hard_links` are the entries that are additional names of a file, each with the entry that the file counts with.
    `caution` is None for a trace that sees lookups. `volumes` are declared volumes that count as part of the image,
    `mounts` the places where something else was mounted when it was traced or planned: what the image has there counts
    for no fingerprint. `distribution` is the image's, if its files say so. `gpu` is None where nobody said which GPUs
    the image is for: then no file loses GPU code. `used_by` are the entries that tests used, by index, if the steps
    marked tests.
    """

    tool: str
    level: str
    root: bytes
    scopes: tuple[bytes, ...]
    excluded: tuple[bytes, ...]
    fingerprints: tuple[str, ...]
    traces: tuple[str, ...]
    accepted: tuple[str, ...]
    steps: tuple[Step, ...]
    reasons: tuple[Reason, ...]
    entries: tuple[Entry, ...]
    changes: tuple[Change, ...]
    unresolved: tuple[tuple[bytes, str], ...] = ()
    packages: tuple[PlannedPackage, ...] = ()
    further: tuple[tuple[int, tuple[int, ...]], ...] = ()
    hard_links: tuple[HardLink, ...] = ()
    edits: tuple[Edit, ...] = ()
    problems: tuple[tuple[bytes, str], ...] = ()
    unread: tuple[tuple[bytes, str], ...] = ()
    strips: tuple[Strip, ...] = ()
    unstripped: tuple[tuple[bytes, str], ...] = ()
    caution: Caution | None = None
    volumes: tuple[bytes, ...] = ()
    mounts: tuple[bytes, ...] = ()
    distribution: Distribution = field(default_factory=Distribution)
    gpu: GpuCode | None = None
    used_by: tuple[tuple[int, UsedBy], ...] = ()

    @property
    def savings(self) -> dict[bytes, int]:
        """The bytes that files which stay lose, by path: symbols, debugging sections and GPU code."""
        found = dict(self.strips)
        for each in () if self.gpu is None else self.gpu.files:
            found[each.path] = found.get(each.path, 0) + each.saves
        return found

    @property
    def installed(self) -> tuple[tuple[int, PlannedPackage], ...]:
        """The packages that count as such, each with its number: all but lists of requirements."""
        return tuple((at, each) for at, each in enumerate(self.packages) if not each.package.is_list)


def counted_entries(plan: Plan) -> tuple[Entry, ...]:
    """The plan's entries as they count in a sum: a file once for all of its names, and with its first owner.

    One name counts, and the others have no bytes. A plan that an earlier slimagent wrote does not say which entries are
    names of one file: there each name counts. A list of requirements is no owner: see `Package.is_list`.
    """
    lists = {at for at, each in enumerate(plan.packages) if each.package.is_list}
    if not plan.hard_links and not lists:
        return plan.entries
    found = list(plan.entries)
    if lists:
        others = dict(plan.further)
        for at, entry in enumerate(plan.entries):
            if entry.owner in lists:
                owner = next((each for each in others.get(at, ()) if each not in lists), -1)
                found[at] = entry._replace(owner=owner)
    for at, _ in plan.hard_links:
        found[at] = found[at]._replace(size=0)
    return tuple(found)


def saved_in_files(plan: Plan, not_saved: Mapping[bytes, int] | None = None) -> dict[bytes, int]:
    """What each file that stays loses, by the path of the name that counts: symbols, debugging sections, GPU code.

    `not_saved` are bytes that stay although the plan says that they go, by path.
    """
    kept = {} if not_saved is None else not_saved
    saved = {path: saves - kept.get(path, 0) for path, saves in plan.savings.items()}
    saved = {path: saves for path, saves in saved.items() if saves > 0 or path not in kept}
    for at, counts_with in plan.hard_links:
        if plan.entries[at].path in saved:
            saved[plan.entries[counts_with].path] = saved.pop(plan.entries[at].path)
    return saved


def saved_by_package(plan: Plan, not_saved: Mapping[bytes, int] | None = None) -> Counter[int]:
    """What the files of each package that stay lose, by its number; as in `PlannedPackage.size`.

    `not_saved` is as in `saved_in_files`.
    """
    found = Counter[int]()
    kept = {} if not_saved is None else not_saved
    saved = {path: saves - kept.get(path, 0) for path, saves in plan.savings.items()}
    if saved:
        further = dict(plan.further)
        for at, entry in enumerate(plan.entries):
            if entry.owner >= 0 and entry.path in saved:
                for owner in (entry.owner, *further.get(at, ())):
                    found[owner] += saved[entry.path]
    return found
