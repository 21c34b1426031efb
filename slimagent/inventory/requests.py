"""Which packages somebody asked for by name, and not for the sake of another one: as each manager records it.

Sources: apt's extended_states (apt_auto.cc: what is not listed was asked for); conda's history ("# update specs");
PEP 376 (REQUESTED, which pip and uv write); an application's list of what it requires (requirements.txt). R, npm and
extensions have no such record: what nothing requires counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from slimagent.inventory import dpkg_formats
from slimagent.inventory.reader import Image
from slimagent.model.inventory import Owners, PackageKind
from slimagent.paths.algebra import to_text

_EXTENDED_STATES = b"/var/lib/apt/extended_states"
_STATUS = b"/var/lib/dpkg/status"
_OF_EVERY_SYSTEM = (b"required", b"important", b"standard")  # Debian policy 2.5: installers put them in unasked
_SPECS = re.compile(rb"^# (?:update|install)? ?specs: *(\[.*\])\s*$", re.MULTILINE)
_SPEC = re.compile(rb"['\"](?:[^'\":]*::)?([A-Za-z0-9_][A-Za-z0-9_.\-]*)")
_REQUESTED = b"/REQUESTED"
_BUILT_IN = b"/lib/vscode/extensions"
_GLOBAL = re.compile(rb"(?:/usr(?:/local)?|/opt/[^/]+)/lib", re.DOTALL)
_UNRECORDED = "nothing requires it"


def requests(image: Image, owners: Owners) -> dict[int, str]:
    """Who asked for a package, by its number: e.g. `apt-mark showmanual`. A package that is missing was not asked for.

    Where a manager has no record, all packages that nothing requires count as asked for.
    """
    required = {
        each
        for number, requires in enumerate(owners.requires)
        if not owners.packages[number].is_list
        for each, _ in requires
    }
    found: dict[int, str] = {}
    found.update(_debian(image, owners))
    found.update(_conda(image, owners, required))
    found.update(_python(image, owners, required))
    for number, package in enumerate(owners.packages):
        if package.kind == PackageKind.COMPONENT:
            found[number] = "unpacked or made by hand"
        elif _is_unrecorded(owners, number) and number not in required and not package.essential:
            found[number] = _UNRECORDED
    return found


def _is_unrecorded(owners: Owners, number: int) -> bool:
    """Whether no manager records who asked for the package, and a person may have."""
    package = owners.packages[number]
    if package.kind == PackageKind.R:
        return package.place.rpartition(b"/")[2] != b"library" or not package.place.startswith(b"/usr/lib/R")
    if package.kind == PackageKind.VSCODE:
        return not package.place.endswith(_BUILT_IN)
    return (
        package.kind == PackageKind.NPM and _GLOBAL.fullmatch(package.place.removesuffix(b"/node_modules")) is not None
    )


def _debian(image: Image, owners: Owners) -> Iterator[tuple[int, str]]:
    states = image.read(_EXTENDED_STATES)
    if states is None:
        return
    automatic = {name for name, fields in _paragraphs(states) if fields.get(b"auto-installed") == b"1"}
    every = {name for name, fields in _paragraphs(image.read(_STATUS) or b"") if _is_of_every_system(fields)}
    for number, package in enumerate(owners.packages):
        name = package.name.partition(":")[0].encode()
        if package.kind == PackageKind.DPKG and name not in automatic and name not in every:
            yield number, "apt-mark showmanual"


def _is_of_every_system(fields: dict[bytes, bytes]) -> bool:
    return fields.get(b"priority") in _OF_EVERY_SYSTEM or fields.get(b"essential") == b"yes"


def _paragraphs(data: bytes) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """The paragraphs with a package's name; one that is damaged tells nothing."""
    for paragraph in dpkg_formats.paragraphs(data):
        try:
            fields = dpkg_formats.fields(paragraph)
        except ValueError:
            continue
        if b"package" in fields:
            yield fields[b"package"], fields


def _conda(image: Image, owners: Owners, required: set[int]) -> Iterator[tuple[int, str]]:
    asked: dict[bytes, set[str]] = {}
    for number, package in enumerate(owners.packages):
        if package.kind != PackageKind.CONDA:
            continue
        if package.place not in asked:
            history = image.read(package.place.rstrip(b"/") + b"/conda-meta/history") or b""
            specs = [spec for line in _SPECS.findall(history) for spec in _SPEC.findall(line)]
            asked[package.place] = {spec.decode().lower() for spec in specs}
        if package.name.lower() in asked[package.place]:
            yield number, "conda's history"
        elif not asked[package.place] and number not in required:
            yield number, _UNRECORDED


def _python(image: Image, owners: Owners, required: set[int]) -> Iterator[tuple[int, str]]:
    paths = image.inventory.paths
    python = [
        at for at, package in enumerate(owners.packages) if package.kind == PackageKind.PYTHON and not package.is_list
    ]
    asked = {number for number in python if any(paths[at].endswith(_REQUESTED) for at in owners.files[number])}
    # uv marks all that one command installs, also what it installs for others: then the marks say nothing.
    recording = {owners.packages[number].place for number in asked}
    recording &= {owners.packages[number].place for number in python if number not in asked}
    asked = {number for number in asked if owners.packages[number].place in recording}
    listed = {
        each: to_text(paths[owners.files[number][0]])
        for number, package in enumerate(owners.packages)
        if package.is_list and owners.files[number]
        for each, _ in owners.requires[number]
    }
    for number in python:
        if number in asked:
            yield number, "pip's REQUESTED"
        elif number in listed and number not in required:
            yield number, listed[number]
        elif owners.packages[number].place not in recording and number not in required:
            yield number, _UNRECORDED
