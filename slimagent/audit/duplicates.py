"""Findings: the same software several times. Distributions, programs and libraries by name. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from packaging.utils import canonicalize_name

from slimagent.audit import edits
from slimagent.audit.asking import DOCKERFILE, venv_of, without
from slimagent.audit.by_layer import IN_BASE, in_base
from slimagent.audit.known import Known, Saving
from slimagent.model.audit import Finding, Risk
from slimagent.model.inventory import Package, PackageKind
from slimagent.paths.algebra import ancestors, name, to_text
from slimagent.text.counted import counted
from slimagent.text.sizes import size as size_text

_PROGRAM = 1_000_000  # bytes; smaller programs of one name are wrappers and links' stand-ins
_LIBRARY = 1_000_000  # bytes
_LIBRARIES = "# install them from one source that shares the library, e.g. all by conda; builds can differ"
_WORTH = 1_000_000  # bytes: the least that a finding about one distribution saves
_OF_PYTHON = (PackageKind.PYTHON, PackageKind.CONDA)
_BYTECODE = b".pyc"
_BIN = re.compile(rb".*/s?bin/(?:tools/(?:[^/]+/)?)?[^/]+", re.DOTALL)
_VERSION = re.compile(r"[-_]v?[0-9].*")  # of a directory that software is unpacked to: quarto-1.6.42
# libopenblas64_p-r0-0cf96a72.3.23.dev.so: auditwheel adds a hash; versions come before or after .so
_SO = re.compile(rb"(lib[A-Za-z0-9+_]+?)(?:64_)?(?:p-r0)?(?:-[0-9a-f]{8,})*(?:-[\d.]+)?(?:\.[\w.]+)?\.so(?:\.[\d.]+)?")
# Built per processor or per program on purpose: every compiler and interpreter brings its own.
_OWN = frozenset({b"libstdc++", b"libgcc", b"libgfortran", b"libquadmath", b"libpython"})


class _Environments:
    """The environments that distributions are in, and those in which a test used one."""

    def __init__(self, known: Known) -> None:
        self._known = known
        some = [(number, each) for number, each in known.packages() if each.kind in _OF_PYTHON]
        self._prefixes = {each.place for _, each in some if each.kind == PackageKind.CONDA}
        self._used = {self.of(each) for number, each in some if known.used[number]}

    def of(self, package: Package) -> bytes:
        """The prefix of a virtual environment or of one that conda made; else the directory of the distributions."""
        place = package.place
        above = (each for each in (place, *ancestors(place)) if each in self._prefixes)
        return venv_of(self._known, place) or next(above, place)

    def is_used(self, package: Package) -> bool:
        """Whether a test used a distribution of the environment that this one is in."""
        return self.of(package) in self._used


def distributions(known: Known) -> Iterator[Saving]:
    """Distributions that are installed several times: by conda and pip, or in several environments."""
    environments = _Environments(known)
    beside: Counter[tuple[str, bytes]] = Counter((each.kind, each.place) for each in known.owners.packages)
    found: defaultdict[str, list[int]] = defaultdict(list)
    for number, package in known.packages():
        if package.kind in _OF_PYTHON:
            found[canonicalize_name(package.name)].append(number)
    small: list[int] = []
    for title, numbers in found.items():
        copies = _apart(known, numbers)
        if len(copies) < 2:
            continue
        spare = _spare(known, copies, beside)
        size = known.size_of(spare)
        if not size:
            continue
        if size < _WORTH:
            small += [each for each in spare if not _is_base(known, each)]
            continue
        yield Saving(_twice(known, environments, title, copies, spare), known.sizes(known.files_of(spare)))
    if known.size_of(small):
        packages = known.owners.packages
        finding = Finding(
            kind="duplicate",
            title=f"{counted(len(small), 'more distribution')} installed several times",
            size=known.size_of(small),
            risk=Risk.MEDIUM,
            evidence=(f"in several environments: {', '.join(sorted(packages[each].name for each in small)[:8])}",),
            file="Dockerfile",
            edit="# install the programs that need them into one environment",
            subjects=tuple(sorted(packages[each].label for each in small)),
        )
        yield Saving(finding, known.sizes(known.files_of(small)))


def _apart(known: Known, numbers: Iterable[int]) -> list[int]:
    """Those that have files of their own: conda's package and the distribution in it are one copy."""
    owners = known.owners
    chosen: list[int] = []
    for number in numbers:
        others = set(chosen)
        files = [at for at in owners.files[number] if known.is_counted[at]]
        shared = sum(bool(others & set(owners.owners(at))) for at in files)
        if files and shared * 2 < len(files):
            chosen.append(number)
    return chosen


def _spare(known: Known, copies: list[int], beside: Counter[tuple[str, bytes]]) -> list[int]:
    """The copies that an edit removes: all but one, and none that a test used or that something requires.

    The one is one of those, the one that has most packages beside it, or the largest. `beside` counts packages by
    their kind and place.
    """
    packages = known.owners.packages
    keepers = {each: _keepers(known, each) for each in copies}
    used = {each: known.traced and any(known.stays[by] for by in keepers[each]) for each in copies}
    required = {each: _is_needed(known, each, keepers[each]) for each in copies}

    def worth(number: int) -> tuple[bool, bool, int, int, int]:
        package = packages[number]
        near = beside[package.kind, package.place]
        return used[number], required[number], near, known.size_of([number]), -number

    best = max(copies, key=worth)
    return [each for each in copies if each != best and not used[each] and not required[each]]


def _keepers(known: Known, number: int) -> set[int]:
    """A distribution, and the packages that own most of its files, e.g. Debian's: it stays where one of them does."""
    inventory, owners = known.inventory, known.owners
    # Bytecode is made after the installation: it is in no record of dpkg's.
    files = [at for at in owners.files[number] if known.is_counted[at] and not inventory.paths[at].endswith(_BYTECODE)]
    counts = Counter(each for at in files for each in owners.owners(at))
    most = {each for each, count in counts.items() if count * 2 > len(files)}
    return {number, *(each for each in most if not owners.packages[each].is_list)}


def _is_needed(known: Known, number: int, keepers: set[int]) -> bool:
    """Whether a copy, or one of its `keepers`, is essential or required by another package.

    A list of requirements is content with any copy.
    """
    packages = known.owners.packages
    # That one of its keepers has the other as a part of it says nothing.
    requirers = known.requirers[number].union(*(known.requirers[each] - keepers for each in keepers))
    return any(packages[each].essential for each in keepers) or any(not packages[each].is_list for each in requirers)


def _twice(known: Known, environments: _Environments, title: str, copies: list[int], spare: list[int]) -> Finding:
    """A distribution that is there several times. `spare` is not empty."""
    packages = known.owners.packages
    used = [packages[each].label for each in copies if known.used[each]]
    staying = {environments.of(packages[each]) for each in copies if each not in spare}
    told = [
        f"{packages[at].label} {packages[at].version} in {to_text(packages[at].place)} "
        + (_goes(known, environments, at, staying) if at in spare else "stays")
        for at in copies
    ]
    file, edit = _leave_out(known, spare)
    is_known = known.traced and all(environments.is_used(packages[each]) for each in spare)
    return Finding(
        kind="duplicate",
        title=f"{title} is installed {len(copies)} times",
        size=known.size_of(spare),
        risk=Risk.LOW if is_known else Risk.MEDIUM,
        evidence=(*told, *_used(known, len(used))),
        file=file,
        edit=edit,
        subjects=tuple(packages[each].label for each in copies),
        layers=known.layers_of(at for each in spare for at in known.owners.files[each]),
    )


def _goes(known: Known, environments: _Environments, number: int, staying: set[bytes]) -> str:
    """What is said of a copy that can go. `staying` are the environments that have another copy, which stays."""
    if _is_base(known, number):
        return f"is in layer 1: {IN_BASE}"
    if environments.of(known.owners.packages[number]) in staying:
        return "can go"
    return "can go if nothing in that environment needs it"


def _is_base(known: Known, number: int) -> bool:
    """Whether all files of a package are in the base image."""
    files = [at for at in known.owners.files[number] if known.is_counted[at]]
    return bool(files) and len(in_base(known, files)) == len(files)


def _leave_out(known: Known, spare: list[int]) -> tuple[str, str]:
    """The file and the edit that leaves out these copies. The line of another file is a comment."""
    packages = known.owners.packages
    lines = [without(known, each) for each in spare if not _is_base(known, each)]
    base = [packages[each] for each in spare if _is_base(known, each)]
    lines += [(DOCKERFILE, edits.line("# {} in {}: " + IN_BASE, each.name, to_text(each.place))) for each in base]
    first = lines[0][0]
    edit = [line if file == first else f"# {file}: {line.removeprefix('# ')}" for file, line in lines]
    return first, "\n".join(dict.fromkeys(edit))


def _used(known: Known, copies: int) -> tuple[str, ...]:
    """How many copies the tests used, if there is a trace."""
    if not known.traced:
        return ()
    return (f"the tests used {counted(copies, 'copy', 'copies') if copies else 'none of them'}",)


def programs(known: Known) -> Iterator[Saving]:
    """Programs and libraries of one name that several packages bring, each with its own bytes.

    What the same packages bring several times is one finding: a second Quarto has a second deno and a second typst.
    """
    found: defaultdict[bytes, list[int]] = defaultdict(list)
    for at in known.files:
        key = _key(known, at)
        if key:
            found[key].append(at)
    groups: defaultdict[object, dict[bytes, list[int]]] = defaultdict(dict)
    for key, entries in found.items():
        copies = _by_owner(known, entries)
        if len(copies) > 1 and key not in _OWN:
            owners = tuple(sorted(known.owners.of[at] for at in copies))
            together: object = owners if owners[0] >= 0 and not key.startswith(b"lib") else key
            groups[together][key] = copies
    for by_key in groups.values():
        yield _again(known, by_key)


def _again(known: Known, by_key: dict[bytes, list[int]]) -> Saving:
    """Several copies of a program, or of several that the same packages bring. The one that names a package is it."""
    of, sizes, paths = known.owners.of, known.inventory.sizes, known.inventory.paths
    key = max(by_key, key=lambda each: (_names_all(known, each, by_key[each]), sizes[by_key[each][0]], each))
    copies = by_key[key]
    best = max(copies, key=lambda at: (known.touched[at], _is_required(known, at), sizes[at]))
    spare = [at for at in copies if at != best]
    all_of = {
        at: [each for some in by_key.values() for each in some if of[each] == of[at] >= 0] or [at] for at in copies
    }
    wholes = {at: known.sizes(known.names(_whole(known, at, all_of[at]))) for at in copies}
    saves = {at: sum(each.values()) for at, each in wholes.items()}
    touched = sum(any(known.touched[each] for each in all_of[at]) for at in copies)
    others = sorted(to_text(each) for each in by_key if each != key)
    finding = Finding(
        kind="duplicate",
        title=f"{to_text(key)} is there {len(copies)} times" + (f", with {', '.join(others)}" if others else ""),
        size=sum(saves[at] for at in spare),
        risk=_risk_of_program(known, key, [each for at in spare for each in all_of[at]]),
        evidence=(
            *(f"{to_text(paths[at])} of {owner(known, at)}, {size_text(saves[at])}" for at in copies),
            *_used(known, touched),
        ),
        file="Dockerfile",
        edit=_LIBRARIES
        if key.startswith(b"lib")
        else edits.line("# keep one, e.g. {}, and let others use it", paths[best]),
        subjects=tuple(to_text(paths[at]) for at in copies),
        layers=known.layers_of(spare),
    )
    return Saving(finding, {entry: size for at in spare for entry, size in wholes[at].items()})


def _is_required(known: Known, at: int) -> bool:
    owner = known.owners.of[at]
    return owner >= 0 and bool(known.requirers[owner])


def _names_all(known: Known, key: bytes, copies: list[int]) -> bool:
    return all(_is_named(known, key, at) for at in copies)


def _is_named(known: Known, key: bytes, at: int) -> bool:
    """Whether a file belongs to a component that is called like it: the component is this program."""
    owner = known.owners.of[at]
    package = known.owners.packages[owner] if owner >= 0 else None
    if package is None or package.kind != PackageKind.COMPONENT:
        return False
    return _VERSION.sub("", package.name) == to_text(key)


def _risk_of_program(known: Known, key: bytes, spare: list[int]) -> Risk:
    """Libraries of one name can be different builds, whose functions have different names."""
    is_unused = known.traced and not any(known.touched[at] for at in spare)
    return Risk.LOW if is_unused and not key.startswith(b"lib") else Risk.MEDIUM


def _key(known: Known, at: int) -> bytes:
    path, size = known.inventory.paths[at], known.inventory.sizes[at]
    if size >= _LIBRARY and b".so" in path:
        match = _SO.fullmatch(name(path))
        return match[1] if match else b""
    if not known.inventory.modes[at] & 0o111 or not _BIN.fullmatch(path):
        return b""
    key = name(path)
    return key if size >= _PROGRAM or _is_named(known, key, at) else b""


def _by_owner(known: Known, entries: list[int]) -> list[int]:
    """The largest of each owner's: versions and builds inside one package are one copy."""
    largest: dict[object, int] = {}
    for at in entries:
        owner = known.owners.of[at]
        place: object = owner if owner >= 0 else known.inventory.paths[at]
        if place not in largest or known.inventory.sizes[largest[place]] < known.inventory.sizes[at]:
            largest[place] = at
    return sorted(largest.values())


def _whole(known: Known, at: int, files: list[int]) -> Iterable[int]:
    """The entries of a copy: of a component that is this program, all of it; else the files."""
    if _is_named(known, name(known.inventory.paths[at]), at):
        return known.files_of([known.owners.of[at]])
    return files


def owner(known: Known, at: int) -> str:
    owner = known.owners.of[at]
    return known.owners.packages[owner].label if owner >= 0 else "nobody"
