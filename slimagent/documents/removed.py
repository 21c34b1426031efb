"""The list of what went: gzip of JSON Lines, written and read as a stream, so that its length costs no memory.

The first line is an object, the head. Each further line is a list: a directory, then rows of what went from it. Nothing
in a list is trusted: a slim image can hold one, and whoever made that image chose every byte of it.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import groupby, islice
from typing import IO, Any

from slimagent.documents.envelope import VERSIONS, load
from slimagent.documents.parts import (
    COUNT,
    TEXT,
    Form,
    absolute,
    cells,
    get_members,
    put_members,
    unsigned,
)
from slimagent.errors import DocumentError
from slimagent.model.inventory import Package, PackageKind
from slimagent.model.removed import Gone, GoneKind, Lead, Owner, Removed, Why
from slimagent.paths.algebra import from_text, name, parent, to_text
from slimagent.text.json_input import parsed
from slimagent.text.json_output import encoded
from slimagent.text.shape import ShapeError, string, whole

REMOVED = "slimagent/removed"
BEGINNING = re.compile(rb"\x1f\x8b\x08\x08.{6}slimagent-removed\.jsonl\0", re.DOTALL)  # of a list that we wrote
_INNER = "slimagent-removed.jsonl"
_ROWS = 1000  # at most, in a line
_LONGEST_HEAD, _LONGEST = 1 << 26, 1 << 24  # bytes of a line
_MOST = 1 << 33  # bytes of a whole list, unpacked: a thousand times the longest that was seen
_DIGEST = re.compile(r"(?:[0-9a-f]{64})?")
_DAMAGED = partial(DocumentError, hint="the list is damaged or was edited; make it again")


def _put_owner(owner: Owner) -> list[Any]:
    package = owner.package
    return [package.kind, package.name, package.version, to_text(package.place), owner.is_gone]


def _get_owner(row: Any) -> Owner:
    kind, title, version, place, is_gone = cells(row, 5)
    if not isinstance(is_gone, bool):
        raise ShapeError(is_gone, "true or false")
    package = Package(
        kind=PackageKind(string(kind)), name=string(title), version=string(version), place=absolute(place)
    )
    return Owner(package, is_gone)


def _get_why(row: Any) -> Why:
    kind, sentence = cells(row, 2)
    return Why(string(kind), string(sentence))


def _get_lead(row: Any) -> Lead:
    link, end = cells(row, 2)
    return Lead(absolute(link), absolute(end))


_HEAD = {
    **dict.fromkeys(("tool", "plan", "level", "image", "image_id"), TEXT),
    **dict.fromkeys(("paths", "bytes"), COUNT),
    "owners": Form(lambda owners: [_put_owner(each) for each in owners], lambda place: place.rows(_get_owner)),
    "reasons": Form(lambda reasons: [list(each) for each in reasons], lambda place: place.rows(_get_why)),
    "leads": Form(
        lambda leads: [[to_text(each.link), to_text(each.end)] for each in leads], lambda place: place.rows(_get_lead)
    ),
}


def encode_removed(head: Removed) -> bytes:
    """The head of a list as its first line."""
    return encoded({"schema": REMOVED, "version": VERSIONS[REMOVED], **put_members(_HEAD, head)}) + b"\n"


def decode_removed(data: bytes, document: str = "removed") -> Removed:
    """A first line as the head of a list. Raises DocumentError."""
    return Removed(**get_members(_HEAD, load(data, REMOVED, document)))


def write_removed(stream: IO[bytes], head: Removed, gone: Iterable[Gone]) -> None:
    """Write a list. The same values give the same bytes. `gone` is read as it is written."""
    with gzip.GzipFile(_INNER, "wb", fileobj=stream, mtime=0) as packed:
        packed.write(encode_removed(head))
        for directory, rows in groupby(gone, lambda each: parent(each.path)):
            while batch := [_put(each) for each in islice(rows, _ROWS)]:
                packed.write(encoded([to_text(directory), *batch]) + b"\n")


def read_removed(stream: IO[bytes], document: str = "removed") -> tuple[Removed, Iterator[Gone]]:
    """The head of a list, and its rows one by one. Both raise DocumentError."""
    lines = _lines(stream, document)
    head = decode_removed(next(lines, b""), document)
    return head, _rows(lines, head, document)


def _lines(stream: IO[bytes], document: str) -> Iterator[bytes]:
    left, limit = _MOST, _LONGEST_HEAD
    try:
        with gzip.GzipFile(fileobj=stream, mode="rb") as unpacked:
            while line := unpacked.readline(limit + 1):
                left -= len(line)
                if len(line) > limit or left < 0:
                    raise _DAMAGED(f"{document}: it is too long for a list of what went")
                yield line
                limit = _LONGEST
    except (OSError, EOFError, zlib.error) as error:
        raise DocumentError(
            f"{document}: not a whole list of what went ({error})", f"a {REMOVED} is expected: gzip of JSON Lines"
        ) from None


def _rows(lines: Iterator[bytes], head: Removed, document: str) -> Iterator[Gone]:
    count = 0
    for number, line in enumerate(lines, 2):
        try:
            where, *rows = _not_empty(parsed(line))
            directory = absolute(where)
            for row in rows:
                yield _get(directory, row, head)
                count += 1
        except (ValueError, TypeError) as error:
            raise _DAMAGED(f"{document}, line {number}: cannot be understood ({error})") from None
    if count != head.paths:
        raise _DAMAGED(f"{document}: it has {count} paths, and its head says {head.paths}")


def _not_empty(value: Any) -> list[Any]:
    """A list that is not empty."""
    if not isinstance(value, list) or not value:
        raise ShapeError(value, "a list")
    return value


def _put(gone: Gone) -> list[Any]:
    path, kind, size, reason, owner, digest, target = gone
    return [to_text(name(path)), kind.value, size, reason, owner, digest, to_text(target)]


def _get(directory: bytes, row: Any, head: Removed) -> Gone:
    title, kind, size, reason, owner, digest, target = cells(row, 7)
    last = from_text(string(title))
    if (not last and directory != b"/") or b"/" in last or last in (b".", b".."):
        raise ShapeError(title, "a name")
    if not 0 <= whole(reason) < len(head.reasons) or not -1 <= whole(owner) < len(head.owners):
        raise ValueError("an index leads nowhere")
    if not _DIGEST.fullmatch(string(digest)):
        raise ShapeError(digest, "a digest")
    path = directory.rstrip(b"/") + b"/" + last
    return Gone(path, GoneKind(kind), unsigned(size), reason, owner, digest, from_text(string(target)))
