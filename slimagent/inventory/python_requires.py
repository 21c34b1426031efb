"""Which installed distributions a distribution cannot do without, as `pip check` sees it.

Requirements and markers are PEP 508's and evaluated by `packaging`, for the interpreter of the image and not for ours.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from slimagent.inventory.python_sites import Site

_ONLY_EXTRA = re.compile(r"""[^;]*;\s*extra\s*==\s*(['"])([^'"]*)\1\s*""")
_LONGEST = 1 << 14  # characters: no requirement is longer
# Where a version is not known, a marker is asked for each that it may be.
_MINORS, _MICROS = range(6, 20), (0, 99)

_MACHINES = {3: "i686", 21: "ppc64le", 22: "s390x", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}


class Installed(NamedTuple):
    """A distribution as far as requirements go: its site's index, its normalised name, what it requires."""

    site: int
    name: str
    requires: tuple[str, ...]


class Applies(enum.Enum):
    """Whether a marker holds; PERHAPS where that hangs on what an image does not tell."""

    NO = 0
    PERHAPS = 1
    YES = 2


def machine_name(header: bytes) -> str:
    """`platform.machine()` on the machine that an ELF file's header is for (elf(5), e_machine); x86_64 if unknown."""
    field = header[18:20] if header[5:6] == b"\2" else header[19:17:-1]  # big-endian either way
    number = int.from_bytes(field, "big") if header[:4] == b"\x7fELF" else 62
    return _MACHINES.get(number, "x86_64")


def environments(site: Site, machine: str) -> list[dict[str, str]]:
    """The values of PEP 508's markers for a site's interpreter: one set for each version that it may have."""
    major = 3 if site.major is None else site.major
    minors = _MINORS if site.minor is None else (site.minor,)
    fulls = [site.full] if site.full else [f"{major}.{minor}.{micro}" for minor in minors for micro in _MICROS]
    pypy = site.implementation == "pypy"
    return [
        {
            "implementation_name": site.implementation,
            "implementation_version": "" if pypy else full,
            "os_name": "posix",
            "platform_machine": machine,
            "platform_release": "",  # the kernel's, which an image does not have
            "platform_system": "Linux",
            "platform_version": "",
            "platform_python_implementation": "PyPy" if pypy else "CPython",
            "python_full_version": full,
            "python_version": ".".join(full.split(".")[:2]),
            "sys_platform": "linux",
        }
        for full in fulls
    ]


class Resolution(NamedTuple):
    """Indices of required distributions with the requirement's text; texts of what is missing, and of what is odd."""

    requires: list[tuple[int, str]]
    missing: list[str]
    odd: list[str]


class Requirements:
    """Looks requirements up. `seen[s]` are the sites that site `s`'s interpreter reads, in order."""

    def __init__(
        self, installed: Sequence[Installed], seen: Sequence[Sequence[int]], markers: Sequence[list[dict[str, str]]]
    ) -> None:
        self._installed, self._seen, self._markers = installed, seen, markers
        self._names: list[dict[str, int]] = [{} for _ in seen]
        for index, each in enumerate(installed):
            self._names[each.site].setdefault(each.name, index)
        self._parsed: dict[str, Requirement | None] = {}
        # Environments are alike more often than not: an answer is kept by marker, extra and the environments' values.
        keys: dict[str, int] = {}
        self._kinds = [keys.setdefault(repr(each), len(keys)) for each in markers]
        self._answers: dict[tuple[str, str, int], Applies] = {}

    def of(self, index: int) -> Resolution:
        """What distribution `index` requires, with what the extras that it asks for require."""
        own = self._installed[index]
        required: dict[int, str] = {}
        missing: dict[str, None] = {}
        odd: list[str] = []
        asked: set[tuple[int, str]] = set()
        pending = [(text, "") for text in reversed(own.requires)]
        while pending:
            text, extra = pending.pop()
            only = _ONLY_EXTRA.fullmatch(text)
            if only is not None and canonicalize_name(only[2]) != canonicalize_name(extra):
                continue  # most requirements of most distributions: not worth a parse
            requirement = self._parse(text)
            if requirement is None:
                odd.append(text)
                continue
            applies = self._applies(requirement, extra, own.site)
            if applies is Applies.NO:
                continue
            target = self._find(own.site, requirement.name)
            if target is None:
                if applies is Applies.YES:
                    missing[text] = None
                continue
            if target != index:
                required.setdefault(target, text)
            for each in sorted(requirement.extras):
                if (target, each) not in asked:
                    asked.add((target, each))
                    pending += [(text, each) for text in self._installed[target].requires]
        return Resolution(list(required.items()), list(missing), odd)

    def _find(self, site: int, name: str) -> int | None:
        name = canonicalize_name(name)
        return next((self._names[each][name] for each in self._seen[site] if name in self._names[each]), None)

    def _parse(self, text: str) -> Requirement | None:
        if text not in self._parsed:
            try:
                self._parsed[text] = Requirement(text) if len(text) <= _LONGEST else None
            except (ValueError, RecursionError):
                self._parsed[text] = None
        return self._parsed[text]

    def _applies(self, requirement: Requirement, extra: str, site: int) -> Applies:
        """Whether a requirement holds; with an extra, whether it holds because of that."""
        if requirement.marker is None:
            return Applies.NO if extra else Applies.YES
        if extra and self._evaluate(requirement, "", site) is Applies.YES:
            return Applies.NO
        return self._evaluate(requirement, extra, site)

    def _evaluate(self, requirement: Requirement, extra: str, site: int) -> Applies:
        key = (str(requirement.marker), extra, self._kinds[site])
        known = self._answers.get(key)
        if known is None:
            known = self._answers[key] = _evaluate(requirement, extra, self._markers[site])
        return known


def _evaluate(requirement: Requirement, extra: str, environments: list[dict[str, str]]) -> Applies:
    if requirement.marker is None:
        return Applies.YES
    try:
        answers = {requirement.marker.evaluate({**each, "extra": extra}) for each in environments}
    except (ValueError, KeyError, TypeError, RecursionError):  # compares what cannot be compared
        return Applies.PERHAPS
    if len(answers) > 1:
        return Applies.PERHAPS
    return Applies.YES if True in answers else Applies.NO
