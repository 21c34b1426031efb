"""The form that all documents share: JSON with a schema name and a version, in which every value knows its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import islice
from typing import Any, TypeVar

import orjson

from slimagent.errors import DocumentError
from slimagent.paths.algebra import from_text
from slimagent.text.escapes import quoted
from slimagent.text.json_input import parsed

# The version of each document; slimagent/schemas has the JSON Schema of each.
VERSIONS = {
    "slimagent/trace": 4,
    "slimagent/plan": 4,
    "slimagent/receipt": 3,
    "slimagent/verification": 3,
    "slimagent/checks": 2,
    "slimagent/summary": 1,
}
_BATCH = 1000  # rows
_SURROGATE = re.compile("[\ud800-\udfff]")  # PEP 383: how Python holds a byte that is not UTF-8

_T = TypeVar("_T")
_E = TypeVar("_E", bound=Enum)


def dump(schema: str, body: dict[str, Any], records: dict[str, Iterator[Any]] | None = None) -> bytes:
    """One JSON object; each long list is written a record a line, so that two documents can be compared with diff."""
    head = _json({"schema": schema, "version": VERSIONS[schema], **body}, orjson.OPT_INDENT_2)
    parts = [head[:-2]]
    for name, rows in (records or {}).items():
        parts.append(b',\n  "%b": [\n' % name.encode())
        parts.append(b",\n".join(_batches(rows)))
        parts.append(b"\n  ]")
    return b"".join(parts) + b"\n}\n"


def _batches(rows: Iterator[Any]) -> Iterator[bytes]:
    """Rows in joined batches: orjson reserves a kilobyte for each until it is joined, which adds up."""
    while batch := b",\n".join(map(_json, islice(rows, _BATCH))):
        yield batch


def _json(value: Any, option: int = 0) -> bytes:
    try:
        return orjson.dumps(value, option=option)
    except orjson.JSONEncodeError:
        return orjson.dumps(_encodable(value), option=option)


def _encodable(value: Any) -> Any:
    """The same value; a string that is not Unicode, as an argument that was not UTF-8, shows its bytes as `\\xNN`."""
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encodable(each) for each in value]
    if isinstance(value, str):
        return _SURROGATE.sub(lambda lone: f"\\x{ord(lone[0]) & 0xFF:02x}", value)
    return value


class Place:
    """A value of a document and where it stands, as `steps[3].outcome`. Every method raises DocumentError."""

    __slots__ = ("document", "value", "where")

    def __init__(self, value: Any, where: str, document: str) -> None:
        self.value, self.where, self.document = value, where, document

    def fail(self, problem: str) -> DocumentError:
        """An error that names this place."""
        where = f" at {self.where}" if self.where else ""
        return DocumentError(
            f"{self.document}{where}: {problem}", "the document is damaged or was edited; make it again"
        )

    def __getitem__(self, key: str) -> Place:
        """A member of an object."""
        if not isinstance(self.value, dict):
            raise self.fail("expected an object")
        where = f"{self.where}.{key}" if self.where else key
        if key not in self.value:
            raise self.fail(f"{key!r} is missing")
        return Place(self.value[key], where, self.document)

    def items(self) -> list[Place]:
        """The members of a list."""
        if not isinstance(self.value, list):
            raise self.fail("expected a list")
        return [Place(value, f"{self.where}[{at}]", self.document) for at, value in enumerate(self.value)]

    def each(self, build: Callable[[Place], _T]) -> tuple[_T, ...]:
        """What `build` makes of each member of a list."""
        return tuple(build(item) for item in self.items())

    def text(self) -> str:
        """A string."""
        if not isinstance(self.value, str):
            raise self.fail("expected a string")
        return self.value

    def path(self) -> bytes:
        """An absolute path, written as `paths.to_text` does."""
        try:
            path = from_text(self.text())
        except ValueError as error:
            raise self.fail(str(error)) from None
        if path[:1] != b"/":
            raise self.fail("expected an absolute path")
        return path

    def integer(self) -> int:
        """A whole number."""
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self.fail("expected a whole number")
        return self.value

    def unsigned(self) -> int:
        """A whole number that is not negative."""
        if self.integer() < 0:
            raise self.fail("expected a number that is not negative")
        return self.integer()

    def number(self) -> float:
        """Any number."""
        if not isinstance(self.value, (int, float)) or isinstance(self.value, bool):
            raise self.fail("expected a number")
        return float(self.value)

    def boolean(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            raise self.fail("expected true or false")
        return self.value

    def member(self, of: type[_E]) -> _E:
        """One of an enumeration's values."""
        try:
            return of(self.value)
        except ValueError:
            known = ", ".join(str(member.value) for member in of)
            raise self.fail(f"{quoted(self.value)} is none of {known}") from None

    def rows(self, build: Callable[[Any], _T]) -> tuple[_T, ...]:
        """A long list, built row by row with no object per value; the first bad row is named."""
        if not isinstance(self.value, list):
            raise self.fail("expected a list")
        at = 0
        out = []
        try:
            for at, row in enumerate(self.value):  # noqa: B007 `at` names the bad row below
                out.append(build(row))
        except KeyError as error:
            raise Place(None, f"{self.where}[{at}]", self.document).fail(f"{error} is missing or unknown") from None
        except (ValueError, TypeError) as error:
            raise Place(None, f"{self.where}[{at}]", self.document).fail(f"cannot be understood ({error})") from None
        return tuple(out)


def load(data: bytes, schema: str, document: str) -> Place:
    """The object that a document of that schema holds; `document` is its name in messages. Raises DocumentError."""
    try:
        value = parsed(data)
    except ValueError as error:
        raise DocumentError(
            f"{document}: not a whole JSON document ({error})", "was its writing cut off? make it again"
        ) from None
    found = value.get("schema") if isinstance(value, dict) else None
    if not isinstance(found, str) or not re.fullmatch(r"slimagent/[\w-]{1,40}", found):
        raise DocumentError(f"{document}: not a document of slimagent", f"a {schema} is expected")
    if found != schema:
        raise DocumentError(f"{document}: this is a {found}", f"a {schema} is expected")
    version = value.get("version")
    known = VERSIONS[schema]
    if version != known or isinstance(version, bool):
        is_older = isinstance(version, int) and not isinstance(version, bool) and 0 < version < known
        raise DocumentError(
            f"{document}: version {quoted(version)} of {schema} is not known (this slimagent knows {known})",
            "an older slimagent wrote it: make it again with this one"
            if is_older
            else "use the slimagent that wrote it, or a newer one",
        )
    return Place(value, "", document)


# The cells of a row, for `Place.rows`: a ValueError or a TypeError says what is wrong, and `rows` adds where.


def cells(row: Any, count: int) -> list[Any]:
    """A list of that many values."""
    if not isinstance(row, list) or len(row) != count:
        raise ValueError(f"expected a list of {count}")
    return row


def absolute(value: Any) -> bytes:
    """An absolute path, written as `paths.to_text` does."""
    path = from_text(string(value))
    if path[:1] != b"/":
        raise ValueError(f"{quoted(value)} is not an absolute path")
    return path


def string(value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise TypeError(f"{quoted(value)} is not a string")
    return value


def whole(value: Any) -> int:
    """A whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{quoted(value)} is not a whole number")
    return value


def unsigned(value: Any) -> int:
    """A whole number that is not negative."""
    if whole(value) < 0:
        raise ValueError(f"{value!r} is negative")
    return int(value)


def indices(values: Any) -> tuple[int, ...]:
    """A list of whole numbers that count from 0."""
    if not isinstance(values, list) or any(whole(value) < 0 for value in values):
        raise ValueError(f"{quoted(values)} is not a list of indices")
    return tuple(values)
