"""Findings: packages that somebody asked for by name. Nothing used some of them; others come anyway. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from slimagent.audit import edits
from slimagent.audit.asking import DOCKERFILE, is_of_venv, unasked, where, without
from slimagent.audit.known import Known, Saving, whole
from slimagent.model.audit import Finding, Risk
from slimagent.model.inventory import PackageKind
from slimagent.paths.algebra import ancestors, to_text
from slimagent.text.counted import counted

_MOST = 6  # names in a sentence
_NAMES = re.compile(r"[\w.+-]+")
_WITH_LINE = "what else the line says would go with it: a version that it pins, or extras"


def unused(known: Known) -> Iterator[Saving]:
    """Packages that were asked for, that no test used and that nothing in use requires. None without a trace.

    One that alone brings what a test used is in use: without its line the others would be gone, too.
    """
    if not known.traced:
        return
    for number, package in known.packages():
        if number not in known.asked or known.stays[number] or package.kind == PackageKind.VSCODE:
            continue
        if any(known.used[each] for each in known.lets_go(number)):
            continue
        going = known.going_with(number)
        size = known.size_of(going)
        if not size:
            continue
        others = sorted(known.owners.packages[each].label for each in going if each != number)
        asked = f"asked for by name ({known.asked[number]})"
        if is_of_venv(known, number):
            asked = "it came with its virtual environment"
        if package.kind == PackageKind.COMPONENT:
            asked = "no package manager has it: it was unpacked or made by hand"
        evidence = [asked, "no test used it, and nothing in use requires it"]
        if package.place != b"/":
            evidence.append(f"it is in {to_text(package.place)}")
        if others:
            evidence.append(f"{counted(len(others), 'package')} would go with it: {_some(others)}")
        file, edit = _without(known, number)
        finding = Finding(
            kind="unused",
            title=f"{package.label} {package.version}".strip(),
            size=size,
            risk=Risk.MEDIUM,
            evidence=tuple(evidence),
            file=file,
            edit=edit,
            subjects=(package.label, *others),
            layers=known.layers_of(known.owners.files[number]),
        )
        yield Saving(finding, known.sizes(known.files_of(going)))


def _without(known: Known, number: int) -> tuple[str, str]:
    """The file and the edit that leaves a package out: its line, or what makes a directory that no manager knows."""
    package = known.owners.packages[number]
    if package.kind != PackageKind.COMPONENT:
        return without(known, number)
    entries = known.owners.files[number]
    outer = _outermost([path for path, _ in whole(known, entries)])
    rest = len(outer) - _MOST
    more = f" and {rest} more" if rest > 0 else ""
    return DOCKERFILE, edits.words(f"# without what makes {{}}{more}", outer[:_MOST])


def _outermost(paths: list[bytes]) -> list[bytes]:
    """These paths without those in a directory that is one of them."""
    every = set(paths)
    return [path for path in paths if every.isdisjoint(ancestors(path))]


def required_anyway(known: Known) -> Iterator[Saving]:
    """Packages that were asked for although another one that was asked for requires them: the lines can go.

    Nobody knows what else a line says: the version that it pins, or extras, would go with it.
    """
    found: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    brought_by: dict[int, int] = {}
    for number, package in known.packages():
        if number not in known.asked or is_of_venv(known, number):
            continue
        able = (each for each in known.requirers[number] if _asks_for(known, each, number))
        by = min((each for each in able if number not in _chain(brought_by, each)), default=-1)
        if by >= 0:
            brought_by[number] = by
            found[where(package)].append((number, by))
    for file, pairs in found.items():
        packages = known.owners.packages
        told = [f"{packages[number].name} (by {packages[by].name})" for number, by in pairs]
        finding = Finding(
            kind="required-anyway",
            title=f"{counted(len(pairs), 'package')} in {file} that others require anyway",
            size=0,
            risk=Risk.MEDIUM,
            evidence=(f"required: {_some(told)}", _WITH_LINE),
            file=file,
            edit="\n".join(dict.fromkeys(unasked(packages[number]) for number, _ in pairs)),
            subjects=tuple(packages[number].label for number, _ in pairs),
        )
        yield Saving(finding, {})


def _chain(brought_by: Mapping[int, int], number: int) -> Iterator[int]:
    """A package, what brings it if its line goes, what brings that, and so on."""
    yield number
    while number in brought_by:
        number = brought_by[number]
        yield number


def _asks_for(known: Known, requirer: int, number: int) -> bool:
    """Whether a package that was asked for as well requires another, of the same kind, and by its name alone.

    Of alternatives, or of packages that provide a name, the manager could choose another one without the line.
    """
    packages = known.owners.packages
    if requirer not in known.asked or packages[requirer].kind != packages[number].kind:
        return False
    if packages[number].kind != PackageKind.DPKG:
        return True
    name = packages[number].name.partition(":")[0]  # without an architecture
    texts = [text for each, text in known.owners.requires[requirer] if each == number]
    return any("|" not in text and name in _NAMES.findall(text) for text in texts)


def _some(names: list[str]) -> str:
    rest = len(names) - _MOST
    return ", ".join(names[:_MOST]) + (f" and {rest} more" if rest > 0 else "")
