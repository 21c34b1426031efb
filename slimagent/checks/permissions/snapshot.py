"""A Snapshot as a short text that is kept with a check's result, and back. Pure.

The text is `1:`, then in base64 and deflated: a line of JSON (identity, the distinct attributes, the number of rows),
four bytes for each row (little-endian, an index into the attributes), and the names, each ended by NUL. Rows come
directory by directory as in `Snapshot.listings`; an empty name, which has no row, ends a directory. No path is spelled
out: the listing that comes next is always that of the last directory found.
"""

from __future__ import annotations

import base64
import binascii
import json
import stat
import sys
import zlib
from array import array
from collections.abc import Iterator
from typing import Any

from slimagent.checks.permissions.walk import Snapshot, below
from slimagent.linux.posix_acl import Attributes, Identity, parse

_VERSION = "1"
_LARGEST = 64 << 20  # bytes, inflated: two hundred thousand paths are five million
_MOST_ROWS = 4_000_000
_LONGEST_PATH = 4096  # PATH_MAX
_MOST_PATHS = 256 << 20  # bytes of all directories' paths: a few names, nested deeply, could fill the memory
_NUMBER = "I" if array("I").itemsize == 4 else "L"


class SnapshotError(Exception):
    """A text that is not a snapshot; the message says why."""


def encode(snapshot: Snapshot) -> str:
    """The text of a snapshot, the same for the same image and user."""
    rows = array(_NUMBER)
    names: list[bytes] = []
    for listing in snapshot.listings.values():
        rows.extend(listing.values())
        names.extend(listing)
        names.append(b"")
    if sys.byteorder == "big":
        rows.byteswap()
    head = {
        "identity": [snapshot.identity.uid, sorted(snapshot.identity.gids)],
        "attributes": [[*each[:3], *(value.hex() for value in each[3:])] for each in snapshot.attributes],
        "rows": len(rows),
    }
    data = json.dumps(head, separators=(",", ":")).encode() + b"\n" + rows.tobytes() + b"\0".join(names) + b"\0"
    return f"{_VERSION}:{base64.b64encode(zlib.compress(data, 6)).decode()}"


def decode(text: str) -> Snapshot:
    """The snapshot of a text. Raises SnapshotError."""
    try:
        return _decode(text)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, binascii.Error, zlib.error) as error:
        raise SnapshotError(str(error) or type(error).__name__) from None


def _decode(text: str) -> Snapshot:
    version, colon, rest = text.partition(":")
    if not colon or version != _VERSION:
        raise ValueError(f"its version is {version[:20]!r}, expected {_VERSION!r}")
    inflate = zlib.decompressobj()
    data = inflate.decompress(base64.b64decode(rest, validate=True), _LARGEST)
    if not inflate.eof:
        raise ValueError("it is cut short" if len(data) < _LARGEST else "it is too large")
    line, _, data = data.partition(b"\n")
    head = json.loads(line)
    count = _natural(head["rows"])
    if count > _MOST_ROWS or len(data) < 4 * count:
        raise ValueError(f"it does not have {count} rows")
    rows = array(_NUMBER, data[: 4 * count])
    if sys.byteorder == "big":
        rows.byteswap()
    uid, gids = head["identity"]
    snapshot = Snapshot(
        identity=Identity(_natural(uid), frozenset(map(_natural, gids))),
        attributes=[_attributes(each) for each in head["attributes"]],
    )
    if count and max(rows) >= len(snapshot.attributes):
        raise ValueError("a row has no attributes")
    _fill(snapshot, iter(rows), _names(data, 4 * count))
    return snapshot


def _names(data: bytes, at: int) -> Iterator[bytes]:
    while at < len(data):  # one by one: a damaged snapshot can have millions of empty ones
        end = data.find(b"\0", at)
        if end < 0:
            raise ValueError("a name has no end")
        yield data[at:end]
        at = end + 1


def _fill(snapshot: Snapshot, rows: Iterator[int], names: Iterator[bytes]) -> None:
    is_directory = [stat.S_ISDIR(each.mode) for each in snapshot.attributes]
    pending, size = [b""], 0
    while pending:
        directory = pending.pop()
        listing: dict[bytes, int] = {}
        for name in names:
            if not name:
                break
            number = listing[name] = next(rows, -1)
            if number < 0:
                raise ValueError("it has more names than rows")
            if is_directory[number]:
                pending.append(below(directory, name))
                size += len(pending[-1])
                if len(pending[-1]) > _LONGEST_PATH or size > _MOST_PATHS:
                    raise ValueError("its paths are too long")
        else:
            raise ValueError("a directory has no end")
        snapshot.listings[directory] = listing
    if next(rows, None) is not None or next(names, None) is not None:
        raise ValueError("it has more rows than directories")


def _attributes(row: Any) -> Attributes:
    mode, uid, gid, *extended = row
    capability, access, default = (bytes.fromhex(each) for each in extended)
    for each in (access, default):
        if each:
            parse(each)
    return Attributes(_natural(mode), _natural(uid), _natural(gid), capability, access, default)


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 32:
        raise ValueError(f"{value!r} is not a 32-bit number")
    return value
