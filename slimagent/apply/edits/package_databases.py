"""Remove packages that are gone from files that packages share: bytes in, bytes out. Pure.

Every function removes what `keys` name and keeps the rest byte for byte. Unknown keys are not an error, so an edit can
be repeated. A file in another form than its writer's raises NotUnderstoodError: it stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from typing import NamedTuple

from slimagent.model.edit import EditKind


class NotUnderstoodError(ValueError):
    """Why a file cannot be edited. The text follows "it"."""


# deb822(5), and dpkg's lib/dpkg/parse.c and dump.c: fields of `Name: value`, lines that go on with a blank, and an
# empty line after each paragraph, the last one too. A file that ends otherwise was cut short.
# Each expression can match in one way only, so a hostile file cannot make it slow.
_PARAGRAPH = re.compile(rb"((?:[^\n]+\n)+)\n+")
_FIELDS = re.compile(rb"(?:[^\s:#-][^\s:]*:[^\n]*\n(?:[ \t]+[^ \t\n][^\n]*\n)*)+")
_NAME = re.compile(rb"^Package:[ \t]*(\S+)[ \t]*$", re.IGNORECASE | re.MULTILINE)
_ARCHITECTURE = re.compile(rb"^Architecture:[ \t]*(\S+)[ \t]*$", re.IGNORECASE | re.MULTILINE)


def without_paragraphs(data: bytes, keys: Collection[str]) -> bytes:
    """/var/lib/dpkg/status or available without the packages `NAME:ARCHITECTURE` (deb822(5), dpkg(1) FILES)."""
    if data.strip(b"\n") and not data.endswith(b"\n\n"):
        raise NotUnderstoodError("does not end with an empty line, as dpkg writes it")
    gone = _encoded(keys)
    kept, end = [], 0
    for match in _PARAGRAPH.finditer(data):
        kept.append(data[end : match.start()])  # empty lines before the first
        end = match.end()
        if _package(match[1]) not in gone:
            kept.append(match[0])
    return b"".join((*kept, data[end:]))


def _package(paragraph: bytes) -> bytes:
    names, architectures = _NAME.findall(paragraph), _ARCHITECTURE.findall(paragraph)
    if not _FIELDS.fullmatch(paragraph) or len(names) != 1 or len(architectures) > 1:
        shown = paragraph[:40].split(b"\n")[0].decode("ascii", "backslashreplace")
        raise NotUnderstoodError(f"has a paragraph that is not a package's: {shown!r}")
    return b"%b:%b" % (names[0], b"".join(architectures))


def _encoded(keys: Collection[str]) -> set[bytes]:
    return {key.encode("utf-8", "surrogatepass") for key in keys}


class _Member(NamedTuple):
    """An element of a JSON list or a member of an object: its span in the text, its key and where its value starts."""

    start: int
    end: int
    key: str
    value: object
    value_at: int


class _Container(NamedTuple):
    """A JSON list or object in a text: where it starts after the bracket, where it ends before it, and its members."""

    start: int
    end: int
    members: list[_Member]


# Numbers are not used. As text, none is too long for Python.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)
_BLANK = re.compile(r"[ \t\n\r]*")  # RFC 8259, section 2


def without_extensions(data: bytes, keys: Collection[str]) -> bytes:
    """VS Code's extensions.json without the extensions with these identifiers, which ignore case.

    Format: a list of objects with `identifier.id` (IStoredProfileExtension in extensionsProfileScannerService.ts).
    """
    text = _text(data)
    whole = _whole(text, "[")
    gone = {key.lower() for key in keys}
    return _spliced(text, whole, [_identifier(member.value) in gone for member in whole.members])


def _identifier(value: object) -> str:
    identifier = value.get("identifier") if isinstance(value, dict) else None
    name = identifier.get("id") if isinstance(identifier, dict) else None
    if not isinstance(name, str):
        raise NotUnderstoodError("lists something that is not an extension")
    return name.lower()


def without_locations(data: bytes, keys: Collection[str]) -> bytes:
    """npm's node_modules/.package-lock.json without the packages at these locations.

    Format: package-lock.json(5), `packages`.
    """
    text = _text(data)
    found = [member for member in _whole(text, "{").members if member.key == "packages"]
    if len(found) != 1 or not isinstance(found[0].value, dict):
        raise NotUnderstoodError("has no object of packages")
    packages = _container(text, found[0].value_at, "{")
    return _spliced(text, packages, [member.key in keys for member in packages.members])


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise NotUnderstoodError("is not UTF-8") from None


def _whole(text: str, bracket: str) -> _Container:
    """The container that makes up a whole text. Decoding it once shows whether the text is JSON at all."""
    start = _skip(text, 0)
    _, end = _decoded(text, start)
    if _skip(text, end) != len(text) or text[start] != bracket:
        raise NotUnderstoodError(f"is not JSON that begins with {bracket}")
    return _container(text, start, bracket)


def _container(text: str, start: int, bracket: str) -> _Container:
    """The members of a list or object that is known to be JSON."""
    closing = "]" if bracket == "[" else "}"
    members: list[_Member] = []
    at = _skip(text, start + 1)
    while text[at] != closing:
        begin, key = at, ""
        if bracket == "{":
            name, after = _decoded(text, at)
            key, at = str(name), _skip(text, _skip(text, after) + 1)
        value, end = _decoded(text, at)
        members.append(_Member(begin, end, key, value, at))
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return _Container(start + 1, at, members)


def _decoded(text: str, at: int) -> tuple[object, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        raise NotUnderstoodError("is not whole JSON") from None


def _skip(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return at if match is None else match.end()


def _spliced(text: str, container: _Container, gone: list[bool]) -> bytes:
    """The text without some members. Those that stay keep the blanks before them."""
    if True not in gone:
        return text.encode("utf-8")
    members = container.members
    parts, last = [text[: container.start]], container.start
    for member, goes in zip(members, gone, strict=True):
        if not goes:
            first = len(parts) == 1
            parts.append(text[container.start : members[0].start] if first else text[last : member.start])
            parts.append(text[member.start : member.end])
        last = member.end
    parts.append(text[last:] if len(parts) > 1 else text[container.end :])
    return "".join(parts).encode("utf-8")


_HEADER = b"""\
# Written by slimagent, which has taken these files out of this image to make it small.
# dpkg leaves them out of packages that are installed or upgraded from now on (dpkg(1), --path-exclude).
# Without this file dpkg installs them again.
"""
# dpkg removes blanks at the end, and quotation marks around a value
_RULE = re.compile(r"path-(?:exclude|include)=(?![\" ])[^\x00-\x1f\x7f]+(?<! )")
_LONGEST = 1000  # bytes; dpkg reads lines of up to 1023 (MAX_CONFIG_LINE in its lib/dpkg/options.c)


def with_excludes(data: bytes, keys: Collection[str]) -> bytes:
    """dpkg's configuration with these `path-exclude=` and `path-include=` lines; empty `data` stands for a new file.

    Format: dpkg.cfg(5). The last rule that matches wins (dpkg(1)), so the includes come last.
    """
    if not keys:
        return data
    lines = set(_rules(data))
    for key in keys:
        line = key.encode("utf-8", "surrogatepass")
        if not _RULE.fullmatch(key) or len(line) > _LONGEST:
            raise NotUnderstoodError(f"cannot hold the line {key[:80]!r}")
        lines.add(line)
    ordered = sorted(lines, key=lambda line: (line.startswith(b"path-include="), line))
    return _HEADER + b"".join(line + b"\n" for line in ordered)


def _rules(data: bytes) -> list[bytes]:
    """The rules in a file that an earlier edit wrote."""
    if not data:
        return []
    lines = data[len(_HEADER) :].split(b"\n")
    if not data.startswith(_HEADER) or lines.pop() or not all(line.startswith(b"path-") for line in lines):
        raise NotUnderstoodError("is there already, and slimagent did not write it")
    return lines


EDITORS: dict[EditKind, Callable[[bytes, Collection[str]], bytes]] = {
    EditKind.DPKG_STATUS: without_paragraphs,
    EditKind.VSCODE_EXTENSIONS: without_extensions,
    EditKind.NPM_LOCK: without_locations,
    EditKind.DPKG_EXCLUDE: with_excludes,
}
