"""R packages, in any library: every directory with a DESCRIPTION that R wrote when it installed the package.

Sources: "Writing R Extensions", sections 1.1.1 (the fields) and 1.1.3 (dependencies); R's manual pages `INSTALL` (the
`Built` field, which only an installed package has), `read.dcf` (the format) and `.libPaths` (the order of libraries).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from slimagent.inventory.licenses import licenses, terms
from slimagent.inventory.reader import Image, too_long
from slimagent.model.inventory import Description, Found, Package, PackageKind
from slimagent.paths.algebra import ancestors, name, parent, within

_FILE = b"/DESCRIPTION"
_LIMIT = 1 << 22  # bytes: the longest real DESCRIPTION has a few thousand
_BLANK = re.compile(rb"\n[ \t]*\n")
_CONTINUED = re.compile(rb"\n[ \t]+(?=\S)")
_FIELD = re.compile(
    rb"^(Package|Version|Priority|Built|Depends|Imports|LinkingTo|License|Repository|biocViews):[ \t]*(.*)$",
    re.MULTILINE,
)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9.]*")
_VERSION = re.compile(r"[0-9]+(?:[.-][0-9]+)*")
_REQUIREMENT = re.compile(r"([A-Za-z][A-Za-z0-9.]*)\s*(?:\([^()]*\))?")
_HARD = ("Depends", "Imports", "LinkingTo")


def find(image: Image) -> list[Found]:
    """Every installed R package, by path. Its place is its library, its identity what `installed.packages()` reads.

    A requirement is looked up in the package's own library, then in the nearest other one.
    """
    libraries = _Libraries()
    found: list[Found] = []
    directories: dict[bytes, int] = {}
    fields: list[dict[str, str]] = []
    end = 0
    for path in [path for path in image.inventory.paths if path.endswith(_FILE)]:
        directory = path[: -len(_FILE)]
        at = image.inventory.index.get(directory)
        if at is None or at < end:  # what lies in a package (its tests' own libraries) is the package's
            continue
        described = _described(image, directory)
        if described is None:
            continue
        each = _package(image, directory, at, described)
        end = each.files[-1] + 1
        directories[directory] = len(found)
        libraries.add(parent(directory), each.package, len(found))
        found.append(each)
        fields.append(described)
    holders = _linked(image, found, directories, libraries)
    for at, each in enumerate(found):
        _require(libraries, at, each, fields[at], holders.get(at, []))
    return found


def _described(image: Image, directory: bytes) -> dict[str, str] | None:
    """The fields of a directory's DESCRIPTION; None for anything but a sound, installed package."""
    path = directory + _FILE
    installed = directory + b"/Meta/package.rds" in image.inventory.index
    at = image.end(path)
    if at is not None and image.inventory.sizes[at] > _LIMIT:
        if installed:
            image.problem(path, "too large for the description of an R package")
        return None
    data = image.read(path)
    if data is None:
        return None
    fields = _fields(data)
    if "Built" not in fields and not _translations(image, directory, fields):
        if installed:  # no Meta either: the source of a package, or another tool's file of this name
            image.problem(path, "the field Built of an installed R package is missing")
        return None
    # R finds a package by the name of its directory (find.package), so the two have to agree.
    if fields.get("Package", "").encode("latin-1") != name(directory) or not _NAME.fullmatch(fields["Package"]):
        image.problem(path, "the field Package is not the name of its directory")
        return None
    if not _VERSION.fullmatch(fields.get("Version", "")):
        image.problem(path, "the field Version is missing or not a version")
        return None
    why = too_long(version=fields["Version"], priority=fields.get("Priority", ""))
    if why:
        image.problem(path, why)
        return None
    return fields


def _translations(image: Image, directory: bytes, fields: dict[str, str]) -> bool:
    """Whether this is R's own package of translated messages, which some builds of R leave without `Built`."""
    beside = parent(directory) + b"/base" + _FILE in image.inventory.index
    return beside and name(directory) == b"translations" and fields.get("Package") == "translations"


def _fields(data: bytes) -> dict[str, str]:
    """The fields that matter of a DCF file's first record; latin-1, because each byte is a character of it."""
    first = _BLANK.split(data.replace(b"\r\n", b"\n").strip(b"\n"), maxsplit=1)[0]
    fields: dict[str, str] = {}
    for key, value in _FIELD.findall(_CONTINUED.sub(b" ", first)):
        fields.setdefault(key.decode("ascii"), value.strip().decode("latin-1"))
    return fields


def _package(image: Image, directory: bytes, at: int, fields: dict[str, str]) -> Found:
    """The package in `directory`, which is entry `at`, without what it requires."""
    below = image.below(directory)
    identity = [at]
    for path in (directory + _FILE, directory + b"/Meta"):
        entry = image.inventory.index.get(path)
        if entry is not None:
            identity += [entry, *image.below(path)]
    package = Package(
        kind=PackageKind.R,
        name=fields["Package"],
        version=fields["Version"],
        place=parent(directory),
        section=fields.get("Priority", ""),
        essential=fields.get("Priority") == "base",
    )
    description = Description(
        licenses=licenses([fields.get("License", "")]),
        source=fields.get("Repository") or ("Bioconductor" if "biocViews" in fields else ""),
    )
    return Found(
        package=package,
        description=description,
        files=[at, *below],
        identity=sorted(identity),
        terms=terms([fields.get("License", "")]),
    )


def _linked(
    image: Image, found: list[Found], directories: dict[bytes, int], libraries: _Libraries
) -> dict[int, list[bytes]]:
    """The libraries in which a package is a link to its directory (renv keeps one copy for many projects), by package.

    The link is the package's, and part of its identity.
    """
    holders: dict[int, list[bytes]] = {}
    names = {name(directory) for directory in directories}
    for at in sorted(image.inventory.targets):
        path = image.inventory.paths[at]
        if name(path) not in names:
            continue
        end = image.end(path)
        owner = None if end is None else directories.get(image.inventory.paths[end])
        if owner is None or path.startswith(image.inventory.paths[end or 0] + b"/"):
            continue
        found[owner].files.append(at)
        found[owner].identity.append(at)
        holders.setdefault(owner, []).append(parent(path))
        libraries.add(parent(path), found[owner].package, owner)
    return holders


def _require(libraries: _Libraries, at: int, each: Found, fields: dict[str, str], holders: list[bytes]) -> None:
    """Fill in what package `at` requires. What is only needed to compile it (LinkingTo) is never missing."""
    taken = {at}
    for field in _HARD:
        for text in fields.get(field, "").split(","):
            text = text.strip()
            wanted = _REQUIREMENT.fullmatch(text)
            if not text or (wanted and wanted[1] == "R"):
                continue
            there = libraries.look_up(wanted[1], each.package.place, holders) if wanted else set()
            for found in sorted(there - taken):
                taken.add(found)
                each.requires.append((found, f"{field}: {text}"))
            if not there and field != "LinkingTo":
                each.missing.append(f"{field}: {text}")


class _Libraries:
    """Which package of a name is nearest to a library: the image does not say in which order R searches libraries.

    Every directory above a library knows the best package of each name below it: a lookup costs one step for each
    directory of a path, however many libraries there are.
    """

    def __init__(self) -> None:
        self._best: dict[tuple[bytes, str], tuple[tuple[bool, bool, bytes], int]] = {}

    def add(self, library: bytes, package: Package, at: int) -> None:
        """Package `at` can be loaded from `library`."""
        # As R's usual .libPaths(): R's own library comes last, the site's before the distribution's.
        rank = (package.essential, not within(library, b"/usr/local"), library)
        for directory in (library, *ancestors(library)):
            key = (directory, package.name)
            if key not in self._best or rank < self._best[key][0]:
                self._best[key] = (rank, at)

    def look_up(self, wanted: str, library: bytes, holders: Iterable[bytes]) -> set[int]:
        """The packages named `wanted` that one in `library`, which is linked to from `holders`, gets; empty if none."""
        own = self._best.get((library, wanted))
        if own is not None:
            return {own[1]}
        nearest = (self._nearest(wanted, start) for start in (tuple(holders) or (library,)))
        return {at for at in nearest if at is not None}

    def _nearest(self, wanted: str, library: bytes) -> int | None:
        keys = ((directory, wanted) for directory in (library, *ancestors(library)))
        return next((self._best[key][1] for key in keys if key in self._best), None)
