"""The nouns of an inventory: an image's paths, the packages that own them, what files need. As in `model`."""

from __future__ import annotations

import fnmatch
import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from slimagent.model.edit import EditKind
from slimagent.model.open_enum import OpenEnum
from slimagent.paths.algebra import to_text


class PackageKind(OpenEnum):
    """The package managers; a component is software that a person installed by hand."""

    DPKG = "dpkg"
    CONDA = "conda"
    PYTHON = "python"
    R = "r"
    VSCODE = "vscode"
    NPM = "npm"
    COMPONENT = "component"


OTHER_KIND = "other"  # the packages of a manager that slimagent does not read
# A licence that a record states in words that are no name of one. Nobody knows it, so it permits nothing.
UNCLEAR = "a licence that is not understood"
EDITABLE = "editable"  # the section of a Python distribution whose source is used where it lies
REQUIREMENTS = "requirements"  # the section of an entry that is no package, see `Package.is_list`


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What a package manager (or a person, by hand) installed as one thing.

    `place` tells packages of one kind and name apart: the directory of their environment, library or extensions, `/`
    for the system's own. `section` is the manager's classification (dpkg's `libdevel`). `essential`: the system does
    not work without it.
    """

    kind: PackageKind
    name: str
    version: str = ""
    place: bytes = b"/"
    section: str = ""
    essential: bool = False

    @property
    def label(self) -> str:
        """The package as commands take it: `dpkg:gcc-12`."""
        return f"{self.kind}:{self.name}"

    @property
    def named(self) -> str:
        """The package in a sentence, without its version: its label; a list of requirements by where it lies."""
        if self.is_list:
            return f"the list of requirements in {to_text(self.place).rstrip('/')}/{self.name.strip('/')}"
        return self.label

    @property
    def is_list(self) -> bool:
        """Whether it is only a list of what an application requires, e.g. a requirements.txt.

        It keeps what it names where the application is used. Nobody installed it: no report counts it as a package.
        """
        return self.section == REQUIREMENTS


def package_test(pattern: str) -> Callable[[Package], bool]:
    """Whether a package matches a rule's `KIND:NAME`: `*` for any kind, `*` and `?` in NAME."""
    kind, _, text = pattern.partition(":")
    fits = re.compile(fnmatch.translate(text)).match
    return lambda package: kind in ("*", package.kind) and fits(package.name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a package's record says of it beside its name, for a bill of materials.

    `licenses` are the names that say most; all that the record says of licences is in `Found.terms`.
    `source` is where the package is from: the source package of a Debian one (`gcc-12 (12.2.0-14)`), the repository of
    an R one, the real name of an npm package in a directory of another name. Empty where the record says nothing.
    `architecture` is in the words of its manager.
    """

    licenses: tuple[str, ...] = ()
    source: str = ""
    architecture: str = ""
    build: str = ""
    channel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """The image's Linux distribution by its os-release(5), e.g. `debian`, `12`, `bookworm`; empty where unknown."""

    id: str = ""
    version: str = ""
    codename: str = ""


@dataclass(slots=True, kw_only=True)
class Found:
    """A package as a reader found it; entries are indices into the inventory.

    `files` is what it owns: files, links, and directories that it shares with nobody. `identity` is the part of `files`
    that identifies it and makes it findable (dist-info, DESCRIPTION, dpkg's info files): it goes when the package goes,
    and reading it does not use the package. `requires` are its installed hard dependencies, as indices into the
    reader's own list with the requirement's text; `missing` are the texts of those not installed. `records` are its
    places in files that it shares with others: (path, kind of file, its key in it), see `Edit`.

    `terms` is all that its record says of its licences: names, whole texts, and `UNCLEAR` for what was not understood.
    Whether GPU code may be taken out depends on them. `outside` are entries that its record lists and that lie outside
    of its environment: they are not its own, but what it says of licences may be about them.
    """

    package: Package
    description: Description = field(default_factory=Description)
    files: list[int] = field(default_factory=list)
    identity: list[int] = field(default_factory=list)
    requires: list[tuple[int, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    records: list[tuple[bytes, EditKind, str]] = field(default_factory=list)
    terms: tuple[str, ...] = ()
    outside: list[int] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Owners:
    """Who owns the inventory's entries. Package `p` is `packages[p]`, owns the entries `files[p]`, and so on.

    `of` has each entry's first owner, or -1; `more` its additional ones (a Debian package and an R package can own the
    same file). `weak` marks entries that are a package's identity: reading one does not use the package. `adopted`
    marks entries that no record names, and that belong to the package in whose directory they lie. `outside` has for
    entries the packages whose records list them, although they lie outside of the packages' environments. `unread` are
    the records among `problems` for which packages may be missing here, each with their kind.
    """

    packages: list[Package] = field(default_factory=list)
    descriptions: list[Description] = field(default_factory=list)
    terms: list[tuple[str, ...]] = field(default_factory=list)
    files: list[array[int]] = field(default_factory=list)
    requires: list[tuple[tuple[int, str], ...]] = field(default_factory=list)
    missing: list[tuple[str, ...]] = field(default_factory=list)
    records: list[tuple[tuple[bytes, EditKind, str], ...]] = field(default_factory=list)
    of: array[int] = field(default_factory=lambda: array("i"))
    more: dict[int, tuple[int, ...]] = field(default_factory=dict)
    outside: dict[int, tuple[int, ...]] = field(default_factory=dict)
    weak: bytearray = field(default_factory=bytearray)
    adopted: bytearray = field(default_factory=bytearray)
    problems: list[tuple[bytes, str]] = field(default_factory=list)
    unread: list[tuple[bytes, str]] = field(default_factory=list)

    def owners(self, at: int) -> tuple[int, ...]:
        """Every owner of an entry, the first one first."""
        first = self.of[at] if self.of else -1
        return () if first < 0 else (first, *self.more.get(at, ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a file needs when it is loaded or executed, by its own bytes.

    `interpreter` is an ELF file's PT_INTERP or a script's `#!` program, `via_env` what `#!/usr/bin/env NAME` looks up,
    `libraries` the DT_NEEDED names, `search` the directories of DT_RPATH and DT_RUNPATH with `$ORIGIN` still in them.
    `own_name` is DT_SONAME, the name by which others need it.
    """

    interpreter: bytes = b""
    via_env: bytes = b""
    libraries: tuple[bytes, ...] = ()
    search: tuple[bytes, ...] = ()
    machine: int = 0
    own_name: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """Where the dynamic loader looks: the paths of each name in its cache, and its directories in order."""

    cache: Mapping[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    directories: tuple[bytes, ...] = ()


@dataclass(slots=True, kw_only=True)
class Inventory:
    """Every path of the image in columns: entry `i` is `paths[i]`, `modes[i]`, and so on.

    Paths are sorted by their components, a directory before its content. Columns and not objects: an image has hundreds
    of thousands of paths. `targets` holds the links' targets by entry; `mount_points` are paths on which another file
    system is mounted (directories among them are entries, files are not); `unreadable` are directories that this
    process cannot list and files that it cannot read.
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

    def file(self, at: int) -> int | tuple[int, ...]:
        """A key that all names of a file share, and no other file has.

        Some stacked file systems give two files the same number, so size, time and mode are part of the key.
        """
        if self.links[at] < 2:
            return at
        return self.devices[at], self.inodes[at], self.sizes[at], self.mtimes[at], self.modes[at]

    def link(self, path: bytes) -> bytes | None:
        """The target of the symbolic link at `path`, or None if no link is there."""
        at = self.index.get(path)
        return None if at is None else self.targets.get(at)
