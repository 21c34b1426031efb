"""The files that describe an installed Python distribution, as pure functions of their bytes.

Formats: PyPA's "Core metadata specifications" (METADATA, PKG-INFO), "Recording installed projects" (RECORD,
direct_url.json), "Entry points specification" and PEP 503 (names); setuptools' "The Internal Structure of Python
Eggs" (requires.txt, top_level.txt, SOURCES.txt, .egg-link) and its editable finders; `site` of the library (.pth).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

from slimagent.inventory.licenses import licenses, terms
from slimagent.text.json_input import parsed

_NAME = re.compile(r"[A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?", re.IGNORECASE | re.ASCII)  # core metadata, "Name"
_FIELD = re.compile(
    rb"^(Name|Version|Requires-Dist|License-Expression|License|Classifier)[ \t]*:[ \t]*(.*(?:\n[ \t].*)*)",
    re.IGNORECASE | re.MULTILINE,
)
_LICENSES = (b"license-expression", b"license")
_LICENSE_CLASSIFIER = "License :: "
_NOT_SAID = frozenset({"", "unknown"})  # what setuptools once wrote where nothing was said (license, home page, …)
_SECTION = re.compile(r"\[([^\]]*)\]")
_VALUE = re.compile(rb"""(?:'[^'\\]*'|"[^"\\]*"):[ \t]*(?:'([^'\\]+)'|"([^"\\]+)")""")
_MAPPING = re.compile(rb"^MAPPING\b[^=\n]*=[ \t]*(\{.*\})[ \t]*$", re.MULTILINE)


class Metadata(NamedTuple):
    """The fields that matter here; empty where absent. `requires` are requirements with their markers (PEP 508).

    `licenses` are one expression (PEP 639), else what the older field names, else the classifiers.
    """

    name: str
    version: str
    requires: tuple[str, ...]
    licenses: tuple[str, ...] = ()


def is_name(name: str) -> bool:
    """Whether a distribution may be called so."""
    return _NAME.fullmatch(name) is not None


def from_directory_name(stem: str) -> tuple[str, str]:
    """Name and version of `NAME-VERSION` or, of an egg, `NAME-VERSION-pyX.Y`; the version is empty if not there."""
    name, _, rest = stem.partition("-")
    return name, rest.partition("-")[0]


def metadata(data: bytes) -> Metadata:
    """Parse METADATA or PKG-INFO: its headers only, up to the first empty line. What is not UTF-8 becomes U+FFFD."""
    single: dict[bytes, str] = {}
    requires: list[str] = []
    classified: list[str] = []
    for key, value, is_folded in _headers(data):
        if key == b"requires-dist":
            requires.append(value)
        elif key == b"classifier":
            if value.startswith(_LICENSE_CLASSIFIER):
                classified.append(value.rpartition(" :: ")[2])
        elif key != b"license" or not is_folded:  # several lines are the license's whole text
            single.setdefault(key, value)
    said = licenses([single.get(b"license-expression", "")]) or licenses([single.get(b"license", "")])
    found = said or licenses(classified)
    return Metadata(single.get(b"name", ""), single.get(b"version", ""), tuple(requires), found)


def license_terms(data: bytes) -> tuple[str, ...]:
    """All that METADATA or PKG-INFO says of licenses: each field, as often as it is there, and the classifiers."""
    found = []
    for key, value, _ in _headers(data):
        if key in _LICENSES and value.lower() not in _NOT_SAID:
            found.append(value)
        elif key == b"classifier" and value.startswith(_LICENSE_CLASSIFIER):
            found.append(value.rpartition(" :: ")[2])
    return terms(found)


def _headers(data: bytes) -> Iterator[tuple[bytes, str, bool]]:
    """The fields that matter: the name in lower case, the value in one line, and whether it was written in several."""
    data = data.replace(b"\r\n", b"\n")
    end = data.find(b"\n\n")
    for match in _FIELD.finditer(data, 0, len(data) if end < 0 else end):
        value = " ".join(match[2].decode("utf-8", "replace").split())
        yield match[1].lower(), value, b"\n" in match[2].strip()


def egg_requires(data: bytes) -> tuple[str, ...]:
    """requires.txt as requirements with markers: its sections are `[extra]`, `[extra:marker]` and `[:marker]`."""
    found, section = [], ""
    for line in lines(data):
        head = _SECTION.fullmatch(line)
        if head:
            section = head[1]
            continue
        extra, _, marker = section.partition(":")
        conditions = ([f"({marker})"] if marker else []) + ([f'extra == "{extra}"'] if extra else [])
        found.append(line + (" ; " + " and ".join(conditions) if conditions else ""))
    return tuple(found)


def lines(data: bytes) -> list[str]:
    """The lines that say something, stripped; what is not UTF-8 is kept as surrogates, for paths."""
    text = data.decode("utf-8", "surrogateescape")
    return [line.strip() for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]


def recorded(data: bytes) -> tuple[list[bytes], bool]:
    """The paths of a RECORD, as written, and whether all of it could be read; of one cut short, what is there.

    Comma-separated with `"` as quote (PEP 627). Few files have a quote: the others are split by hand, which
    takes a third of the time and keeps names that are not UTF-8 as they are.
    """
    ended = not data or data.endswith(b"\n")
    if b'"' not in data:
        whole = ended or data.rpartition(b"\n")[2].count(b",") >= 2
        plain = data.replace(b"\r\n", b"\n").split(b"\n")
        if not whole:
            plain.pop()  # a path cut short may be the path of something else
        return [row.partition(b",")[0] for row in plain if row], whole
    found: list[bytes] = []
    last: list[str] = []
    text = data.decode("utf-8", "surrogateescape")
    try:
        for row in csv.reader(io.StringIO(text, newline=""), strict=True):
            last = row
            if row and row[0]:
                found.append(row[0].encode("utf-8", "surrogateescape"))
    except csv.Error:
        return found, False
    whole = ended or len(last) > 2  # a quote that the cut closed by chance does not end the path
    if not whole and found:
        found.pop()
    return found, whole


def scripts(data: bytes) -> list[str]:
    """The names of entry_points.txt's `console_scripts` and `gui_scripts` that can be a file's name."""
    found, inside = [], False
    for line in lines(data):
        head = _SECTION.fullmatch(line)
        if head:
            inside = head[1].strip() in ("console_scripts", "gui_scripts")
        elif inside and "=" in line:
            name = line.partition("=")[0].strip()
            if name not in ("", ".", "..") and "/" not in name:
                found.append(name)
    return found


def editable_root(data: bytes) -> bytes | None:
    """The project's directory of a direct_url.json that says `dir_info.editable` (PEP 610, PEP 660), or None.

    Raises ValueError where it is not such a document.
    """
    document = parsed(data)
    if not isinstance(document, dict):
        raise ValueError("not an object")  # noqa: TRY004 - a document's fault, not a caller's
    details, url = document.get("dir_info"), document.get("url")
    if not isinstance(details, dict) or details.get("editable") is not True or not isinstance(url, str):
        return None
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return None
    return unquote_to_bytes(parts.path)


def path_lines(data: bytes) -> list[bytes]:
    """The lines of a .pth that name a directory: neither comments nor code."""
    found = (line.strip() for line in data.split(b"\n"))
    return [line for line in found if line and not line.startswith((b"#", b"import ", b"import\t"))]


def finder_mapping(data: bytes) -> list[bytes]:
    """Where an `__editable__*_finder.py` of setuptools finds its modules: the values of its MAPPING, written by `repr`.

    Read by hand: Python's own parser can be made to exhaust the stack. A name that `repr` had to escape is left out.
    """
    match = _MAPPING.search(data)
    return [single or double for single, double in _VALUE.findall(match[1])] if match else []
