"""Which layer of an image holds each path: one layer for each component, so that a change changes few layers. Pure.

A path's component follows from its package, or from where it lies, and never from what else is in the image.

An engine may unpack a layer without those below it (Docker's overlay2 driver does), so each layer repeats the
directories above its members. The topmost layer's attributes win. The time of a directory with files of several
components changes with each of them. So their layers have it without its time, and the last layer, SHARED, has it with
its time. SHARED also has the files that a package manager rewrites for each package, e.g. dpkg's `status`.
"""

from __future__ import annotations

import re
import stat
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

from slimagent.apply.decide import Action, Decision, in_order
from slimagent.model.inventory import Inventory, Package, PackageKind
from slimagent.model.plan import Plan
from slimagent.model.profile import COMPONENTS
from slimagent.model.reason import Verdict
from slimagent.paths.algebra import parent

# From what changes seldom to what changes often: an engine that knows a layer by those below it, e.g. Docker, fetches
# everything above a changed layer again.
_NAMES = tuple(COMPONENTS)
SYSTEM, IDE, R, PYTHON, REST, SHARED = _NAMES
_SHARED = _NAMES.index(SHARED)

_IDE_PACKAGES = re.compile(r"rstudio(?:-server)?|(?:openvscode|code)-server|code(?:-insiders)?|codium")
_R_PACKAGES = re.compile(r"r-(?:base|cran|bioc|omegahat|recommended|other|doc|mathlib)(?:-.*)?")
_R_CONDA = re.compile(r"_?r-.*|bioconductor-.*")
_R_COMPONENT = re.compile(r"R|Rscript")
_PYTHON_COMPONENT = re.compile(r"(?:python|pypy)[0-9][0-9.]*t?")

_ENVIRONMENT = re.compile(rb"(.*)/lib(?:32|64)?/(?:python|pypy)[0-9][^/]*", re.DOTALL)
_NO_PREFIXES = (b"", b"/usr", b"/usr/local")  # and ~/.local: Python shares these with others
_MARKS = (b"/pyvenv.cfg", b"/conda-meta")  # of an environment: PEP 405, conda's records

_IDE_DIRECTORY = re.compile(
    rb"(?:/.*)?/(?:rstudio(?:-server)?|\.?(?:code|openvscode|vscode)-server)(?:-[0-9][^/]*)?(?:/.*)?", re.DOTALL
)
_R_DIRECTORY = re.compile(rb"(?:/usr|/usr/local|/opt/R/[^/]+)?/(?:lib(?:64)?|share|etc)/R(?:/.*)?", re.DOTALL)
_LOCAL = re.compile(rb"/usr/local(?:/.*)?", re.DOTALL)
# Filesystem Hierarchy Standard 3.0, chapter 3: the directories of the root that belong to the system.
_SYSTEM_DIRECTORY = re.compile(rb"/(?:(?:bin|boot|dev|etc|lib[^/]*|proc|run|sbin|sys|tmp|usr|var)(?:/.*)?)?", re.DOTALL)
# dpkg(1) FILES, apt, ldconfig(8), debconf, fontconfig.
_RECORDS = re.compile(
    rb"/var/lib/dpkg/(?:status|available|diversions|statoverride|cmethopt|triggers/[^/]+|lock[^/]*)(?:-old)?"
    rb"|/var/lib/apt/extended_states|/etc/ld\.so\.cache|/var/cache/(?:ldconfig|debconf|fontconfig)/[^/]+"
    rb"|/var/log/(?:.*/)?[^/]+",
    re.DOTALL,
)


@dataclass(slots=True, kw_only=True)
class Part:
    """What one layer holds, in the order of an inventory. Another layer has the time of the directories in `undated`.

    `own` counts the members that no other layer repeats.
    """

    component: str
    members: list[int | Action] = field(default_factory=list)
    undated: set[int] = field(default_factory=set)
    own: int = 0


def parts(plan: Plan, inventory: Inventory, decision: Decision) -> list[Part]:
    """What stays and what edits make, as layers from the lowest up, in linear time. None is empty.

    Every path is an own member of exactly one part, and all names of a file are in the same part.
    """
    places = _Places(plan, inventory.paths)
    members = in_order(inventory, decision)
    of = _of(plan, inventory, decision, places)
    made = {each.path: _NAMES.index(places.by_directory(each.path)) for each in members if isinstance(each, Action)}
    below = _settle(inventory, decision, of, made)
    found = [Part(component=name) for name in _NAMES]
    for member in members:
        component = made[member.path] if isinstance(member, Action) else of[member]
        found[component].members.append(member)
        found[component].own += 1
        if component == _SHARED and isinstance(member, int) and inventory.paths[member] != b"/":
            for other in range(_SHARED):
                if below[member] >> other & 1:
                    found[other].members.append(member)
                    found[other].undated.add(member)
    return [part for part in found if part.own]


def whole(inventory: Inventory, decision: Decision) -> list[Part]:
    """What stays and what edits make, as a single part without a component."""
    return [Part(component="", members=in_order(inventory, decision))]


def package_layers(plan: Plan) -> list[tuple[str, ...]]:
    """The components that hold what stays of each package, from the lowest up; none for one of which nothing stays."""
    places = _Places(plan, (entry.path for entry in plan.entries))
    by_package = [places.of_package(each.package) for each in plan.packages]
    stays = [reason.verdict is Verdict.KEEP for reason in plan.reasons]
    further = dict(plan.further)
    found: list[set[str]] = [set() for _ in plan.packages]
    for at, (path, reason, _, _, owner) in enumerate(plan.entries):
        if owner >= 0 and stays[reason]:
            component = by_package[owner] or places.by_directory(path, REST)
            for each in (owner, *further.get(at, ())):
                found[each].add(component)
    return [tuple(sorted(each, key=_NAMES.index)) for each in found]


def _of(plan: Plan, inventory: Inventory, decision: Decision, places: _Places) -> array[int]:
    """Each entry's component by its package or place, as a number. All names of a file have that of the first."""
    owners = array("i", [-1]) * len(inventory)
    index = inventory.index
    for path, _, _, _, owner in plan.entries:
        at = index.get(path, -1)
        if at >= 0:
            owners[at] = owner
    by_package = [places.of_package(each.package) for each in plan.packages]
    modes = inventory.modes
    numbers = {name: number for number, name in enumerate(_NAMES)}
    of = array("b", bytes(len(inventory)))
    for at in decision.kept:
        first = decision.first.get(at)
        if first is not None:
            of[at] = of[first]
            continue
        path, owner = inventory.paths[at], owners[at]
        if owner >= 0:
            component = by_package[owner] or places.by_directory(path, REST)
        else:
            component = places.by_directory(path)
            if stat.S_ISDIR(modes[at]) and _is_everyones(path, component):
                component = SHARED
        if _RECORDS.fullmatch(path) and not stat.S_ISDIR(modes[at]):
            component = SHARED
        of[at] = numbers[component]
    return of


def _is_everyones(directory: bytes, component: str) -> bool:
    """Whether a directory without a package is one that everything may write to, whatever is in it today."""
    return component == SYSTEM or (
        component == REST and (directory.count(b"/") == 1 or bool(_LOCAL.fullmatch(directory)))
    )


def _settle(inventory: Inventory, decision: Decision, of: array[int], made: dict[bytes, int]) -> array[int]:
    """Make directories of several components SHARED in `of`. Returns the components of each directory's members.

    From the last path up, so that one pass is enough. Masks have a bit for each component.
    """
    index, paths, modes = inventory.index, inventory.paths, inventory.modes
    below, all_below = array("B", bytes(len(inventory))), array("B", bytes(len(inventory)))
    for path, component in made.items():
        holder = index.get(parent(path))
        if holder is not None:
            below[holder] |= 1 << component
            all_below[holder] |= 1 << component
    for at in reversed(decision.kept):
        mask = all_below[at] | 1 << of[at]
        if stat.S_ISDIR(modes[at]) and mask & (mask - 1):
            of[at] = _SHARED
            mask |= 1 << _SHARED
        holder = index.get(parent(paths[at]))
        if holder is not None and holder != at:
            all_below[holder] |= mask
            below[holder] |= below[at] | 1 << of[at]
    return below


class _Places:
    """Components by package and by directory, with the environments and R libraries of this image."""

    def __init__(self, plan: Plan, paths: Iterable[bytes]) -> None:
        self._environments: set[bytes] = set()
        self._libraries: set[bytes] = set()
        for each in plan.packages:
            package = each.package
            if package.kind == PackageKind.PYTHON:
                self._environments.add(_environment(package.place))
            elif package.kind == PackageKind.CONDA:
                self._environments.add(package.place)
            elif package.kind == PackageKind.R:
                self._libraries.add(package.place)
        self._environments.update(parent(path) for path in paths if path.endswith(_MARKS))
        self._environments -= {b"/", *_NO_PREFIXES}
        self._libraries -= {b"/", *_NO_PREFIXES}
        self._known: dict[bytes, str] = {}

    def of_package(self, package: Package) -> str:
        """The component of a package's files, or nothing if it depends on where each file lies."""
        kind, name = package.kind, package.name
        if kind == PackageKind.DPKG:
            is_r = package.section == "gnu-r" or _R_PACKAGES.fullmatch(name)
            return IDE if _IDE_PACKAGES.fullmatch(name) else R if is_r else SYSTEM
        if kind == PackageKind.CONDA:
            return IDE if _IDE_PACKAGES.fullmatch(name) else R if _R_CONDA.fullmatch(name) else PYTHON
        if kind == PackageKind.COMPONENT:
            is_ide = _IDE_DIRECTORY.fullmatch(package.place) or _IDE_PACKAGES.fullmatch(name)
            is_python = _PYTHON_COMPONENT.fullmatch(name)
            return IDE if is_ide else R if _R_COMPONENT.fullmatch(name) else PYTHON if is_python else ""
        return {PackageKind.PYTHON: PYTHON, PackageKind.R: R, PackageKind.VSCODE: IDE}.get(kind, "")

    def by_directory(self, path: bytes, otherwise: str = "") -> str:
        """The component of a path by where it lies. `otherwise` replaces the system and the rest."""
        inner = self._inner(path)
        if inner:
            return inner
        is_ide = _IDE_DIRECTORY.fullmatch(path)
        return IDE if is_ide else R if _R_DIRECTORY.fullmatch(path) else otherwise or _outermost(path)

    def _inner(self, path: bytes) -> str:
        """The component of the innermost library or environment that a path lies in, or nothing."""
        passed, known = [], None
        while known is None:
            passed.append(path)
            known = R if path in self._libraries else PYTHON if path in self._environments else self._known.get(path)
            if known is None and path == b"/":
                known = ""
            path = parent(path)
        self._known.update(dict.fromkeys(passed, known))
        return known


def _environment(site: bytes) -> bytes:
    """The outermost directory around `site` that belongs to Python alone: its environment, if it has one."""
    match = _ENVIRONMENT.fullmatch(parent(site))
    if match is None:
        return site
    prefix = match[1]
    return parent(site) if prefix in _NO_PREFIXES or prefix.endswith(b"/.local") else prefix


def _outermost(path: bytes) -> str:
    return SYSTEM if _SYSTEM_DIRECTORY.fullmatch(path) and not _LOCAL.fullmatch(path) else REST
