"""The nouns. Frozen, slotted, keyword-only; no I/O and no JSON. Profiles have theirs in `rules`, traces in `traces`.

Paths are `bytes`: absolute, inside the image's root, as the kernel knows them. Sizes are bytes, times nanoseconds.
"""

from __future__ import annotations

import enum
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from slimagent.model.result import CheckResult, Comparison
from slimagent.model.trace import BlindSpot, Change, Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What a package manager (or a person, by hand) installed as one thing.

    `kind` names the manager: dpkg, conda, python, r, vscode, npm, component. `place` tells packages of one kind and
    name apart: the folder of the environment, library or extensions they lie in, `/` for the system's own. `section` is
    the manager's own classification (dpkg's `libdevel`). `essential`: the system does not work without it.
    """

    kind: str
    name: str
    version: str = ""
    place: bytes = b"/"
    section: str = ""
    essential: bool = False


@dataclass(slots=True, kw_only=True)
class Found:
    """A package as its owner's reader found it; entries are indices into the inventory.

    `files` is what it owns: files, links, and the folders that are its own alone. `identity` is the part of `files`
    that says who it is and lets it be found (dist-info, DESCRIPTION, dpkg's info files): it goes when the package goes,
    and to read it is not to use the package. `requires` are its hard dependencies that are installed, as indices into
    the reader's own list with the requirement's text; `missing` are the texts of those that are not. `records` are its
    places in files that it shares with others: (path, kind of file, its key in it), see `Edit`.
    """

    package: Package
    files: list[int] = field(default_factory=list)
    identity: list[int] = field(default_factory=list)
    requires: list[tuple[int, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    records: list[tuple[bytes, str, str]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Owners:
    """Whose the inventory's entries are. Package `p` is `packages[p]`, owns the entries `files[p]`, and so on.

    `of` has each entry's first owner, or -1; `more` its further ones (a file of a Debian package can be a file of an R
    package too). `weak` marks entries that are a package's identity: to read one is not to use the package.
    """

    packages: list[Package] = field(default_factory=list)
    files: list[array[int]] = field(default_factory=list)
    requires: list[tuple[tuple[int, str], ...]] = field(default_factory=list)
    missing: list[tuple[str, ...]] = field(default_factory=list)
    records: list[tuple[tuple[bytes, str, str], ...]] = field(default_factory=list)
    of: array[int] = field(default_factory=lambda: array("i"))
    more: dict[int, tuple[int, ...]] = field(default_factory=dict)
    weak: bytearray = field(default_factory=bytearray)
    problems: list[tuple[bytes, str]] = field(default_factory=list)

    def owners(self, at: int) -> tuple[int, ...]:
        """Every owner of an entry, the first one first."""
        first = self.of[at] if self.of else -1
        return () if first < 0 else (first, *self.more.get(at, ()))


class Verdict(str, enum.Enum):
    """What happens to a path."""

    KEEP = "keep"
    DROP = "drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a path has its verdict. `source` is the kept path that drags this one in, if one does.

    `detail` is a rule's `why`, or a library's name as its user asks for it; `steps` index `Plan.steps`. `package` is
    the index in `Plan.packages` of the package that this rests on: the one that a file stays or goes with, or the one
    that requires a package.
    """

    verdict: Verdict
    kind: str
    detail: str = ""
    source: bytes | None = None
    steps: tuple[int, ...] = ()
    package: int | None = None


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

    `size` is the sum of its regular files' sizes, `kept` of those that stay.
    """

    package: Package
    reason: int
    files: int
    size: int
    kept: int
    requires: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A change to a file that packages share, so that it speaks only of what is there.

    By `kind`, `keys` are: `dpkg-status` the packages whose paragraphs go, `dpkg-alternatives` the programs that are no
    longer a choice, `vscode-extensions` the identifiers and `npm-lock` the locations that go, `dpkg-exclude`
    the patterns that dpkg is to leave out from now on (the file is made).
    """

    path: bytes
    kind: str
    keys: tuple[str, ...]


class Strip(NamedTuple):
    """A file that stays and is to be stripped, and the bytes that this saves by its section headers."""

    path: bytes
    saves: int


class Caution(NamedTuple):
    """What stays only because the trace cannot see lookups: so many files, links and the like, of so many bytes."""

    paths: int
    size: int


class Step(NamedTuple):
    """A step that was traced, and the identity of the run that it was part of (see `traces.Run`)."""

    name: str
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The decision. `fingerprints` are the images it fits: before the traced run, and after it.

    `excluded` are the agent's own folders and its output: never part of the image. `entries` are sorted as
    the inventory is. `unresolved` are names that a kept file asks for and that the image does not have. `packages` are
    the owners of files, `further` the owners beside the first of entries that have several, by the entry's index.
    `problems` are package records that could not be understood: what they speak of has no owner. `strips` are the
    files that lose symbols and debugging sections, `unstripped` those that have some and must not be touched, with why.
    `caution` is None for a trace that sees lookups. `volumes` are declared volumes that count as part of the image,
    `mounts` the places where something else was mounted when it was traced or planned: what the image has there counts
    for no fingerprint.
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
    edits: tuple[Edit, ...] = ()
    problems: tuple[tuple[bytes, str], ...] = ()
    strips: tuple[Strip, ...] = ()
    unstripped: tuple[tuple[bytes, str], ...] = ()
    caution: Caution | None = None
    volumes: tuple[bytes, ...] = ()
    mounts: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer of an exported image: `digest` and `size` are of its blob, `diff_id` of the tar in that, with `paths`.

    Digests are SHA-256 in hexadecimal.
    """

    component: str
    digest: str
    diff_id: str
    size: int
    paths: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The deed: what apply did with a plan (named by the SHA-256 of its bytes).

    `sha256` and `written` describe an export: of a tar its own digest, of an image layout that of its manifest.
    `left_alone` are paths that the plan would drop or edit and apply did not, with the reason. `edited` counts files
    and links that the plan's edits changed, made or removed. `bytes_kept` are as they are now: before, there were
    `bytes_kept + bytes_dropped + bytes_stripped`. `unstripped` are files that the plan strips and apply did not, with
    the reason; `loaded` of the stripped are libraries that a child process loaded to prove them.
    """

    tool: str
    plan: str
    target: str
    kept: int
    dropped: int
    bytes_kept: int
    bytes_dropped: int
    written: int
    sha256: str
    left_alone: tuple[tuple[bytes, str], ...]
    edited: int = 0
    stripped: int = 0
    bytes_stripped: int = 0
    loaded: int = 0
    unstripped: tuple[tuple[bytes, str], ...] = ()
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A file that the verified run looked for, that the original has and the slim image lacks."""

    path: bytes
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The proof. `how` is "in-place" (dropped files were gone) or "masked" (they were made to look gone).

    A `backend` that is blind to lookups cannot tell what was looked for in vain: `missed` is then empty, and no proof.
    """

    tool: str
    plan: str
    how: str
    backend: str
    blind_spots: tuple[BlindSpot, ...]
    passed: bool
    steps: tuple[CheckResult, ...]
    comparisons: tuple[Comparison, ...]
    missed: tuple[Missed, ...]
    losses: tuple[Loss, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who a command runs as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a file drags in when it is loaded or executed, as its own bytes say it.

    `interpreter` is an ELF file's PT_INTERP or a script's `#!` program, `via_env` what `#!/usr/bin/env NAME` looks up,
    `libraries` the DT_NEEDED names, `search` the folders of DT_RPATH and DT_RUNPATH with `$ORIGIN` still in them.
    """

    interpreter: bytes = b""
    via_env: bytes = b""
    libraries: tuple[bytes, ...] = ()
    search: tuple[bytes, ...] = ()
    machine: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """Where the dynamic loader looks: the paths of each name in its cache, and its folders in order."""

    cache: Mapping[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    folders: tuple[bytes, ...] = ()


@dataclass(slots=True, kw_only=True)
class Inventory:
    """Every path of the image in columns: entry `i` is `paths[i]`, `modes[i]`, and so on.

    Paths are sorted by their components, a folder before what it holds. Columns and not objects: an image
    has hundreds of thousands of paths. `targets` holds the links' targets by entry; `mount_points` are paths on
    which another file system is mounted (folders among them are entries, files are not); `unreadable` are folders
    that could not be listed and files that could not be read by this process.
    """

    root: bytes
    scopes: tuple[bytes, ...]
    paths: list[bytes] = field(default_factory=list)
    modes: array[int] = field(default_factory=lambda: array("I"))
    uids: array[int] = field(default_factory=lambda: array("I"))
    gids: array[int] = field(default_factory=lambda: array("I"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    mtimes: list[int] = field(default_factory=list)  # file systems go beyond 2262, where 64 bits end
    ctimes: array[int] = field(default_factory=lambda: array("q"))
    devices: array[int] = field(default_factory=lambda: array("Q"))
    inodes: array[int] = field(default_factory=lambda: array("Q"))
    links: array[int] = field(default_factory=lambda: array("I"))
    targets: dict[int, bytes] = field(default_factory=dict)
    index: dict[bytes, int] = field(default_factory=dict)
    mount_points: set[bytes] = field(default_factory=set)
    unreadable: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.paths)

    def __contains__(self, path: object) -> bool:
        return path in self.index

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.paths)

    def link(self, path: bytes) -> bytes | None:
        """The target of the symbolic link at `path`, or None if no link is there."""
        at = self.index.get(path)
        return None if at is None else self.targets.get(at)
