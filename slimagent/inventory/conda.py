"""Conda packages: `conda-meta/NAME-VERSION-BUILD.json` in each prefix, as conda and mamba write it.

The format is conda's PrefixRecord (conda.models.records); dependencies are MatchSpecs (conda.models.match_spec), of
which the name is what counts here. Hard links in the package cache are left to others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from slimagent.inventory.licenses import licenses, terms
from slimagent.inventory.own_directories import listed_files, sole_holders, whole_directories
from slimagent.inventory.reader import LARGEST_JSON, Image, too_long
from slimagent.model.inventory import Description, Found, Package, PackageKind
from slimagent.paths.algebra import parent
from slimagent.text.json_input import parsed
from slimagent.text.shape import known

# [channel[/subdir]:[namespace]:]name, then a version, a build, or brackets
_SPEC = re.compile(r"(?:[^\s\[]*::?)?([a-z0-9_][a-z0-9_.\-]*)(?=$|[\s=<>!~\[;])", re.IGNORECASE | re.ASCII)
_VIRTUAL = "__"  # what the system offers: __glibc, __cuda


class _Record(NamedTuple):
    """What is needed of a record; `files` are relative to the prefix."""

    name: str
    version: str
    files: list[str]
    depends: list[str]
    description: Description
    terms: tuple[str, ...]


def find(image: Image) -> list[Found]:
    """Every conda package of the image, prefix by prefix; `place` is the prefix.

    A record that is not JSON, or has no name, is noted as a problem, and its files have no owner.
    """
    found: list[Found] = []
    for path in image.inventory.paths:
        if path.endswith(b"/conda-meta") and image.is_directory(image.inventory.index[path]):
            found += _packages(image, path, len(found))
    return found


def _packages(image: Image, meta: bytes, first: int) -> list[Found]:
    """The packages of one prefix; `first` is the index of the first of them."""
    prefix = parent(meta)
    found: list[Found] = []
    claims: list[set[int]] = []
    depends: list[list[str]] = []
    for each in image.names(meta):
        path = meta + b"/" + each
        data = image.read(path, LARGEST_JSON) if each.endswith(b".json") else None
        record = None if data is None else _record(image, path, data)
        if record is None:
            continue
        at = image.inventory.index[path]
        own, outside = _claims(image, path, prefix, record.files)
        claims.append(own)
        depends.append(record.depends)
        package = Package(kind=PackageKind.CONDA, name=record.name, version=record.version, place=prefix)
        about, terms = record.description, record.terms
        found.append(Found(package=package, description=about, identity=[at], terms=terms, outside=outside))
    alone: dict[int, list[bytes]] = {}
    for directory, owner in sole_holders(image.inventory.paths, claims, [prefix] * len(claims)).items():
        if owner is not None:
            alone.setdefault(owner, []).append(directory)
    for number, directories in alone.items():
        claims[number].update(whole_directories(image, directories, claims[number]))
    names: dict[str, int] = {}
    for number, each_found in enumerate(found):
        each_found.files = sorted(claims[number].union(each_found.identity))
        names.setdefault(each_found.package.name, first + number)
    for each_found, specs in zip(found, depends, strict=True):
        _require(each_found, specs, names)
    return found


def _record(image: Image, path: bytes, data: bytes) -> _Record | None:
    """The fields that matter, one of a wrong type empty and a problem; None, and a problem, without a sound name."""
    try:
        document = parsed(data)
    except ValueError:
        image.problem(path, "not JSON")
        return None
    name = document.get("name") if isinstance(document, dict) else None
    if not isinstance(name, str) or not name:
        image.problem(path, "not a record of a conda package: it has no name")
        return None
    version = document.get("version")
    if not isinstance(version, str):
        image.problem(path, "no version, or not a text", is_known=True)
        version = ""
    why = too_long(name=name, version=version)
    if why:
        image.problem(path, why)
        return None
    files, depends = _texts(image, path, document, "files"), _texts(image, path, document, "depends")
    return _Record(name, version, files, depends, _description(document), _terms(document))


def _description(document: dict[str, Any]) -> Description:
    subdir = known(str, document.get("subdir")) or ""
    return Description(
        licenses=licenses([known(str, document.get("license")) or ""]),
        architecture=subdir,
        build=known(str, document.get("build")) or known(str, document.get("build_string")) or "",
        channel=channel(known(str, document.get("channel")) or "", subdir),
    )


def channel(text: str, subdir: str = "") -> str:
    """A channel's name: of an address only what follows the host, without a token and the platform.

    >>> channel("https://conda.anaconda.org/t/secret/conda-forge/linux-64", "linux-64")
    'conda-forge'
    """
    _, is_address, rest = text.partition("://")
    parts = [part for part in (rest.partition("/")[2] if is_address else text).split("/") if part]
    if is_address and parts[:1] == ["t"]:  # conda's place for an access token
        parts = parts[2:]
    return "/".join(parts[:-1] if len(parts) > 1 and parts[-1] == subdir else parts)


def _texts(image: Image, path: bytes, document: dict[str, Any], key: str) -> list[str]:
    values = document.get(key, [])
    texts = [value for value in values if isinstance(value, str)] if isinstance(values, list) else []
    if not isinstance(values, list) or len(texts) < len(values):
        image.problem(path, f"{key} is not a list of texts", is_known=True)
    return texts


def _terms(document: dict[str, Any]) -> tuple[str, ...]:
    """All that a record says of licenses. Its family is a rough word for the same one, so it counts if it is closed."""
    said, family = document.get("license"), document.get("license_family")
    is_closed = isinstance(family, str) and family.strip().lower() == "proprietary"
    return terms(["" if said is None else known(str, said), family if is_closed else ""])


def _claims(image: Image, record: bytes, prefix: bytes, files: Iterable[str]) -> tuple[set[int], list[int]]:
    """The entries of a package's files, none of them directories: those in the prefix, and those outside."""
    start = prefix.rstrip(b"/") + b"/"
    return listed_files(image, record, (start + text.encode() for text in files), start, prefix)


def _require(found: Found, specs: Iterable[str], names: dict[str, int]) -> None:
    """Look the dependencies up in the prefix. A spec with a condition counts where it is met by what is installed."""
    required: dict[int, str] = {}
    for spec in dict.fromkeys(specs):
        match = _SPEC.match(spec.strip())
        name = match[1].lower() if match else ""
        if name.startswith(_VIRTUAL):
            continue
        target = names.get(name)
        if target is not None:
            required.setdefault(target, spec)
        elif "; if " not in spec:
            found.missing.append(spec)
    found.requires = list(required.items())
