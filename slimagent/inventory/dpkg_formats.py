"""The formats of dpkg's database: paragraphs, dependency fields, lists of paths, alternatives. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from slimagent.paths.algebra import to_text

# A field's name, and its value with the lines that go on with it (deb822(5)). No way to match is ever tried twice.
_FIELD = re.compile(rb"([!-9;-~]+):[ \t]*([^\n]*(?:\n[ \t][^\n]*)*)(?:\n|\Z)")
# deb-control(5): a name, perhaps the architecture it is wanted in, perhaps a version that it must have.
_ALTERNATIVE = re.compile(rb"\s*([A-Za-z0-9][A-Za-z0-9+._-]*)(?::([A-Za-z0-9-]+))?\s*(?:\([^()]*\)\s*)?")
_PRIORITY = re.compile(rb"[+-]?[0-9]+")


class Group(NamedTuple):
    """One requirement: its text as in the field, and the alternatives for it as (name, architecture or "")."""

    text: str
    alternatives: tuple[tuple[str, str], ...]


def paragraphs(data: bytes) -> list[bytes]:
    """The paragraphs of a control file, which empty lines divide (deb822(5)); none of them is empty."""
    return [part for part in (each.strip(b"\n") for each in data.split(b"\n\n")) if part]


def fields(paragraph: bytes) -> dict[bytes, bytes]:
    """A paragraph's values by the lower-case names of its fields; a value of several lines keeps them (deb822(5)).

    Raises ValueError for a line that is of no field, and for a field that is there twice, as dpkg refuses them.
    """
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(paragraph):
        match = _FIELD.match(paragraph, at)
        if match is None:
            raise ValueError("a line that is of no field")
        name = match[1].lower()
        if name in found:
            raise ValueError(f"the field {to_text(name)} twice")
        found[name] = match[2]
        at = match.end()
    return found


def relations(value: bytes) -> list[Group]:
    """The groups of a field like Depends or Provides: `a, b (>= 2) | c:any` (deb-control(5), Debian policy 7.1).

    Raises ValueError for what is no such list.
    """
    groups = []
    for part in value.split(b","):
        words = b" ".join(part.split())
        if not words:
            continue
        alternatives = []
        for each in words.split(b"|"):
            match = _ALTERNATIVE.fullmatch(each)
            if match is None:
                raise ValueError(f"no relation between packages: {to_text(words[:80])}")
            alternatives.append((match[1].decode(), (match[2] or b"").decode()))
        groups.append(Group(to_text(words), tuple(alternatives)))
    return groups


def whole_lines(data: bytes) -> tuple[list[bytes], bool]:
    """The lines that a newline ends, and whether nothing follows the last one: dpkg ends each line that it writes."""
    *lines, rest = data.split(b"\n")
    return lines, not rest


def sums(data: bytes) -> tuple[list[bytes], bool]:
    r"""The absolute paths in a package's md5sums, and whether all lines were understood.

    A line is a digest, two spaces, a path from the root without its slash (deb-md5sums(5)). Where it starts with a
    backslash, newlines and backslashes of its path are escaped, as md5sum(1) writes them.
    """
    lines, complete = whole_lines(data)
    found = []
    for line in lines:
        digest, divider, path = line.partition(b"  ")
        if not divider or not path or len(digest.lstrip(b"\\")) != 32:
            complete = False
            continue
        if digest[:1] == b"\\":
            path = re.sub(rb"\\(.)", lambda match: b"\n" if match[1] == b"n" else match[1], path)
        found.append(b"/" + path)
    return found, complete


def choices(data: bytes) -> list[bytes]:
    """The paths among which a group of alternatives can choose, from its file in the administrative directory.

    The format is update-alternatives' own (`alternative_load` in utils/update-alternatives.c of dpkg): a line `auto` or
    `manual`, one with the generic link; for each slave a line with its name and one with its link; an empty line; for
    each choice a line with its path, one with its priority, and one for each slave, empty if the choice has no file for
    it; an empty line. Raises ValueError for anything else; what follows the end is not looked at, there as here.
    """
    lines, _ = whole_lines(data)
    rest = iter(lines)
    try:
        if next(rest) not in (b"auto", b"manual") or not next(rest).startswith(b"/"):
            raise ValueError("not a group of alternatives")
        slaves = 0
        while next(rest):
            next(rest)
            slaves += 1
        found = []
        while path := next(rest):
            if not path.startswith(b"/") or _PRIORITY.fullmatch(next(rest)) is None:
                raise ValueError("a choice without path or priority")
            for _ in range(slaves):
                next(rest)
            found.append(path)
    except StopIteration:
        raise ValueError("a group of alternatives that is cut short") from None
    return found
