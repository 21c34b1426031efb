"""Debian packages as their paragraphs describe them, their names, and what they require of each other. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from slimagent.inventory.dpkg_formats import Group, relations
from slimagent.inventory.reader import too_long
from slimagent.model.inventory import Description, Found, Package, PackageKind
from slimagent.paths.algebra import to_text

_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9+._-]*")  # as dpkg checks it (pkg_name_is_illegal in lib/dpkg/pkg-spec.c)
_ARCHITECTURE = re.compile(rb"[A-Za-z0-9][A-Za-z0-9-]*")
# dpkg(1), PACKAGE STATES. Of packages in the first two states nothing is there but perhaps their configuration.
_ABSENT = frozenset({b"not-installed", b"config-files"})
_PRESENT = frozenset(
    {b"half-installed", b"unpacked", b"half-configured", b"triggers-awaited", b"triggers-pending", b"installed"}
)
_PROVIDERS = 100  # any one of them is enough; all by all, a small file could ask for more than the memory holds


@dataclass(slots=True)
class Record:
    """An installed package as its paragraph has it."""

    name: str
    architecture: str
    version: str
    section: str
    essential: bool
    same: bool  # Multi-Arch: same, so that it can be there in several architectures
    needs: list[Group]
    provides: list[Group]
    source: str  # its source package, with the version if that is another one; empty if both are its own
    file: bytes  # of status.d, or empty

    @property
    def key(self) -> str:
        """What no other paragraph has: NAME:ARCHITECTURE."""
        return f"{self.name}:{self.architecture}"


def is_there(values: dict[bytes, bytes]) -> bool:
    """Whether a paragraph of `status` is of a package that is installed, wholly or in part.

    Its Status has three words: what is wanted, whether something is wrong, the state. Raises ValueError for any other.
    """
    words = values.get(b"status", b"").split()
    if len(words) == 3 and words[2] in _PRESENT:
        return True
    if len(words) != 3 or words[2] not in _ABSENT:
        raise ValueError("no Status that dpkg knows")
    return False


def package(values: dict[bytes, bytes], file: bytes = b"") -> Record:
    """A package from its paragraph's fields (deb-control(5)); `file` is the paragraph's own, if it has one.

    Raises ValueError if a field is not understood.
    """
    name, architecture = values.get(b"package", b"").strip(), values.get(b"architecture", b"").strip()
    if _NAME.fullmatch(name) is None:
        raise ValueError("no name of a package")
    if _ARCHITECTURE.fullmatch(architecture) is None:
        raise ValueError("no Architecture")
    version = to_text(values.get(b"version", b"").strip())
    section = to_text(values.get(b"section", b"").strip().rpartition(b"/")[2])  # without its area: non-free/libs
    why = too_long(name=name.decode(), architecture=architecture.decode(), version=version, section=section)
    if why:
        raise ValueError(why)
    return Record(
        name=name.decode(),
        architecture=architecture.decode(),
        version=version,
        section=section,
        essential=any(values.get(each, b"").strip() == b"yes" for each in (b"essential", b"protected"))
        or values.get(b"priority", b"").strip() == b"required",
        same=values.get(b"multi-arch", b"").strip() == b"same",
        needs=[*relations(values.get(b"pre-depends", b"")), *relations(values.get(b"depends", b""))],
        provides=relations(values.get(b"provides", b"")),
        source=to_text(values.get(b"source", b"").strip()),
        file=file,
    )


def _native(records: Iterable[Record]) -> str:
    """The image's own architecture: dpkg's, whose code has it built in, else the one that most packages have."""
    count: Counter[str] = Counter()
    for record in records:
        if record.architecture != "all":
            count[record.architecture] += 1
            if record.name == "dpkg":
                return record.architecture
    return min(count, key=lambda each: (-count[each], each), default="all")


def named(records: list[Record]) -> list[Found]:
    """The packages under their names (see `dpkg.find`), nothing else filled in, in the same order."""
    native = _native(records)
    taken: set[str] = set()
    found = []
    for record in records:
        plain = record.architecture in (native, "all") and record.name not in taken
        name = record.name if plain else record.key
        taken.add(name)
        kind, version, section = PackageKind.DPKG, record.version, record.section
        each = Package(kind=kind, name=name, version=version, section=section, essential=record.essential)
        described = Description(source=record.source, architecture=record.architecture)
        found.append(Found(package=each, description=described))
    return found


def require(records: list[Record], found: list[Found]) -> None:
    """Fill in what each package requires of the others, and what of that is missing (Debian policy 7.2 and 7.5).

    Of alternatives the first that is installed counts; if none is, all packages that provide the first one that any
    provides (of very many, the first hundred). Versions are not compared: dpkg did that when it installed them.
    """
    native = _native(records)
    real: dict[str, dict[str, int]] = {}
    provided: dict[str, list[int]] = {}
    for number, record in enumerate(records):
        real.setdefault(record.name, {})[record.architecture] = number
        for name in sorted({group.alternatives[0][0] for group in record.provides}):
            provided.setdefault(name, []).append(number)
    provided = {name: numbers[:_PROVIDERS] for name, numbers in provided.items()}
    for number, (record, each) in enumerate(zip(records, found, strict=True)):
        for group in dict.fromkeys(record.needs):
            chosen = _chosen(group, record.architecture, native, real, provided)
            if not chosen:
                each.missing.append(group.text)
            each.requires += [(other, group.text) for other in chosen if other != number]


def _chosen(
    group: Group, own: str, native: str, real: dict[str, dict[str, int]], provided: dict[str, list[int]]
) -> list[int]:
    for name, qualifier in group.alternatives:
        there = real.get(name)
        if there is not None:
            # The architecture asked for, else the asking package's, else any: Multi-Arch: foreign serves all.
            ranks = [each for each in (qualifier, own, "all", native) if each in there]
            return [there[ranks[0] if ranks else min(there)]]
    for name, _ in group.alternatives:
        if name in provided:
            return provided[name]
    return []
