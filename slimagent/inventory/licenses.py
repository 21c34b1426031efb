"""Licenses by the names that package records give them. Pure.

A bill of materials has names alone: a text of a license is not a name, and is left out. Whether somebody permits a
change depends on all that a record says, so that has its own functions, which leave out nothing that says something.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from slimagent.model.inventory import UNCLEAR

_LONGEST, _MOST = 200, 100  # characters of a name, names of a package
_LONGEST_TEXT = 1 << 16  # characters of a license that is stated as its whole text
_NOTHING = frozenset({"", "unknown", "none", "n/a"})
# copyright-format 1.0, 6.1: the file begins with this field, and its paragraphs are divided by empty lines.
_FORMAT = re.compile(
    rb"\s*Format(?:-Specification)?:[ \t]*(?:https?:)?//(?:www\.debian\.org/doc/packaging-manuals/copyright-format"
    rb"|dep\.debian\.net/deps/dep5|anonscm\.debian\.org/viewvc/dep/web/deps/dep5)",
    re.IGNORECASE,
)
_BLANK = re.compile(rb"\n[ \t]*\n")
_FILES = re.compile(rb"^Files[ \t]*:", re.IGNORECASE | re.MULTILINE)
_HEAD = re.compile(rb"^(Format|Files)[ \t]*:", re.IGNORECASE | re.MULTILINE)
_LICENSE = re.compile(rb"^License[ \t]*:[ \t]*([^\n]*)", re.IGNORECASE | re.MULTILINE)
# It says that a package is not part of Debian, for what its licence lacks (5.1).
_DISCLAIMER = re.compile(rb"^Disclaimer[ \t]*:", re.IGNORECASE | re.MULTILINE)
# The rest of the package has the license of the header paragraph, or of the one for all files (7.1 and 7.2).
_OF_ALL = re.compile(
    rb"^(?:Format\b|Files[ \t]*:(?:[^\n]|\n[ \t])*?(?<=[\s:])(?:\./)?\*(?!\S))", re.IGNORECASE | re.MULTILINE
)


def licenses(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once and in their order, in one line each; without those that say nothing.

    >>> licenses(["MIT", "UNKNOWN", "MIT"])
    ('MIT',)
    """
    lines = (" ".join(name.split()) for name in names)
    found = dict.fromkeys(line for line in lines if len(line) <= _LONGEST and line.lower() not in _NOTHING)
    return tuple(found)[:_MOST]


def terms(statements: Iterable[str | None]) -> tuple[str, ...]:
    """All that a record says of its licenses, each statement once, in one line. None stands for one that is not text.

    What is too long for a text of a license is not understood.

    >>> terms(["MIT", "", "none", None])
    ('MIT', 'none', 'a licence that is not understood')
    """
    lines = (UNCLEAR if each is None or len(each) > _LONGEST_TEXT else " ".join(each.split()) for each in statements)
    return tuple(dict.fromkeys(line for line in lines if line))[:_MOST]


def copyright_licenses(data: bytes) -> tuple[str, ...]:
    """The licenses of the files that a Debian copyright file lists, sorted; none of one that only people can read.

    https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/ describes the format. Stand-alone paragraphs have
    the texts of licenses that the others name.
    """
    return licenses(sorted({name for _, names in _paragraphs(data) for name in names}))


def copyright_terms(data: bytes) -> tuple[str, ...]:
    """All that such a file says of licenses; nothing where only people can read it.

    A license without a name is not understood, nor a paragraph of files without a license, nor that of a file that no
    paragraph names, nor a disclaimer.
    """
    found, all_have_one = dict[str, None](), False
    for paragraph, names in _paragraphs(data):
        is_of_files = _FILES.search(paragraph) is not None
        found.update(dict.fromkeys(each.strip() or UNCLEAR for each in names or [""] * is_of_files))
        if _DISCLAIMER.search(paragraph) is not None:
            found[UNCLEAR] = None
        all_have_one = all_have_one or bool(names and _OF_ALL.search(paragraph))
    if not all_have_one and _FORMAT.match(data) is not None:
        found[UNCLEAR] = None
    return terms(sorted(found))


def _paragraphs(data: bytes) -> Iterator[tuple[bytes, list[str]]]:
    """The paragraphs of a copyright file about files and about the whole, each with how its fields `License` begin."""
    if _FORMAT.match(data) is None:
        return
    for paragraph in _BLANK.split(data.replace(b"\r\n", b"\n")):
        if _HEAD.search(paragraph) is not None:
            yield paragraph, [each.decode("utf-8", "replace") for each in _LICENSE.findall(paragraph)]
