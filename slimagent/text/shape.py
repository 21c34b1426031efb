"""Check the shape of JSON and TOML, and name the place of a wrong value. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from slimagent.text.escapes import quoted

_NAMES: dict[type, str] = {
    str: "a string",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}
MOST = (1 << 53) - 1  # the largest whole number that every reader of JSON takes (RFC 8259, 6)
_T = TypeVar("_T")
_D = TypeVar("_D")
_E = TypeVar("_E", bound=Enum)


class ShapeError(ValueError):
    """A value of the wrong kind. The text says what was expected; `found` also quotes the value."""

    def __init__(self, value: object, expected: str) -> None:
        super().__init__(f"expected {expected}")
        self._value, self._expected = value, expected

    @property
    def found(self) -> str:
        return f"{quoted(self._value)} is not {self._expected}"


def of(kind: type[_T], value: object) -> _T:
    """Return `value` if it is of that kind. Booleans are not numbers. Raises ShapeError.

    >>> of(str, "x")
    'x'
    """
    if isinstance(value, kind) and (kind is not int or not isinstance(value, bool)):
        return value
    raise ShapeError(value, _NAMES.get(kind, kind.__name__))


def known(kind: type[_T], value: object) -> _T | None:
    """Return `value` if it is of that kind, else None: for foreign documents, which may lack anything."""
    try:
        return of(kind, value)
    except ShapeError:
        return None


def string(value: Any) -> str:
    """Like `of(str, value)`, but fast: for many thousand rows."""
    return value if isinstance(value, str) else of(str, value)


def whole(value: Any) -> int:
    """Like `of(int, value)`, but fast: for many thousand rows."""
    return value if type(value) is int else of(int, value)


class Place:
    """A value of a document and its place, e.g. `steps[3].outcome`.

    `document` is the document's name in messages. `refuse` turns a message into the exception that methods raise.
    """

    __slots__ = ("document", "refuse", "value", "where")

    def __init__(self, value: Any, where: str, document: str, refuse: Callable[[str], Exception]) -> None:
        self.value, self.where, self.document, self.refuse = value, where, document, refuse

    def fail(self, problem: str) -> Exception:
        """An error that names this place."""
        where = f" at {self.where}" if self.where else ""
        return self.refuse(f"{self.document}{where}: {problem}")

    def read(self, check: Callable[[Any], _T]) -> _T:
        """Apply `check` to the value. A ValueError says what is wrong."""
        try:
            return check(self.value)
        except ValueError as error:
            raise self.fail(str(error)) from None

    def of(self, kind: type[_T]) -> _T:
        """The value, if it is of that kind."""
        try:
            return of(kind, self.value)
        except ShapeError as error:
            raise self.fail(str(error)) from None

    def __getitem__(self, key: str) -> Place:
        """A member of an object."""
        if key not in self.of(dict):
            raise self.fail(f"{key!r} is missing")
        return Place(self.value[key], f"{self.where}.{key}" if self.where else key, self.document, self.refuse)

    def optional(self, key: str, build: Callable[[Place], _T], absent: _D) -> _T | _D:
        """Apply `build` to a member of an object. `absent` if the member is null or missing."""
        return absent if self.of(dict).get(key) is None else build(self[key])

    def entries(self) -> dict[str, Place]:
        """The members of an object with arbitrary keys."""
        return {key: self._inside(key, value) for key, value in self.of(dict).items()}

    def items(self) -> list[Place]:
        """The members of a list."""
        return [self._inside(at, value) for at, value in enumerate(self.of(list))]

    def _inside(self, at: object, value: Any) -> Place:
        return Place(value, f"{self.where}[{at!r}]", self.document, self.refuse)

    def each(self, build: Callable[[Place], _T]) -> tuple[_T, ...]:
        """Apply `build` to each member of a list."""
        return tuple(build(item) for item in self.items())

    def rows(self, build: Callable[[Any], _T]) -> tuple[_T, ...]:
        """Build a long list row by row, without a Place per row. The error names the first bad row.

        A ValueError, TypeError or KeyError of `build` says what is wrong with it.
        """
        rows = self.of(list)
        at = 0
        out = []
        try:
            for at, row in enumerate(rows):  # noqa: B007 `at` names the bad row below
                out.append(build(row))
        except KeyError as error:
            raise self._inside(at, None).fail(f"{error} is missing or unknown") from None
        except (ValueError, TypeError) as error:
            why = error.found if isinstance(error, ShapeError) else error
            raise self._inside(at, None).fail(f"cannot be understood ({why})") from None
        return tuple(out)

    def text(self) -> str:
        """A string."""
        return self.of(str)

    def texts(self) -> tuple[str, ...]:
        """A list of strings."""
        return self.each(Place.text)

    def integer(self) -> int:
        """A whole number."""
        return self.of(int)

    def unsigned(self) -> int:
        """A whole number that is not negative."""
        if not 0 <= self.integer() <= MOST:
            raise self.fail(f"expected a number from 0 to {MOST}")
        return self.integer()

    def number(self) -> float:
        """Any number."""
        if not isinstance(self.value, (int, float)) or isinstance(self.value, bool):
            raise self.fail("expected a number")
        return float(self.value)

    def boolean(self) -> bool:
        """True or false."""
        return self.of(bool)

    def member(self, of: type[_E]) -> _E:
        """One of an enumeration's values."""
        try:
            return of(self.value)
        except ValueError:
            every = ", ".join(str(member.value) for member in of)
            raise self.fail(f"{quoted(self.value)} is none of {every}") from None
