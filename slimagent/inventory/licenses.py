"""Licenses by the names that package records give them. Pure. A text of a license is not a name, and is left out."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LONGEST, _MOST = 200, 100  # characters of a name, names of a package
_NOTHING = frozenset({"", "unknown", "none", "n/a"})
# copyright-format 1.0, 6.1: the file begins with this field, and its paragraphs are divided by empty lines.
_FORMAT = re.compile(
    rb"\s*Format(?:-Specification)?:[ \t]*(?:https?:)?//(?:www\.debian\.org/doc/packaging-manuals/copyright-format"
    rb"|dep\.debian\.net/deps/dep5|anonscm\.debian\.org/viewvc/dep/web/deps/dep5)",
    re.IGNORECASE,
)
_BLANK = re.compile(rb"\n[ \t]*\n")
_HEAD = re.compile(rb"^(Format|Files)[ \t]*:", re.IGNORECASE | re.MULTILINE)
_LICENSE = re.compile(rb"^License[ \t]*:[ \t]*([^\n]*)", re.IGNORECASE | re.MULTILINE)


def licenses(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once and in their order, in one line each; without those that say nothing.

    >>> licenses(["MIT", "UNKNOWN", "MIT"])
    ('MIT',)
    """
    lines = (" ".join(name.split()) for name in names)
    found = dict.fromkeys(line for line in lines if len(line) <= _LONGEST and line.lower() not in _NOTHING)
    return tuple(found)[:_MOST]


def copyright_licenses(data: bytes) -> tuple[str, ...]:
    """The licenses of the files that a Debian copyright file lists, sorted; none of one that only people can read.

    https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/ describes the format. Stand-alone paragraphs have
    the texts of licenses that the others name.
    """
    if _FORMAT.match(data) is None:
        return ()
    found = set()
    for paragraph in _BLANK.split(data.replace(b"\r\n", b"\n")):
        license_of = _LICENSE.search(paragraph)
        if license_of is not None and _HEAD.search(paragraph) is not None:
            found.add(license_of[1].decode("utf-8", "replace"))
    return licenses(sorted(found))
