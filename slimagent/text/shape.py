"""The shape of JSON and TOML: a value is of its kind, or is refused where it stands. Pure."""

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
_T = TypeVar("_T")
_D = TypeVar("_D")
_E = TypeVar("_E", bound=Enum)


class ShapeError(ValueError):
    """A value is not what is expected. Its text says what is; `found` also quotes the value."""

    def __init__(self, value: object, expected: str) -> None:
        super().__init__(f"expected {expected}")
        self._value, self._expected = value, expected

    @property
    def found(self) -> str:
        return f"{quoted(self._value)} is not {self._expected}"


def of(kind: type[_T], value: object) -> _T:
    """A value of that kind; true and false are not numbers. Raises ShapeError.

    >>> of(str, "x")
    'x'
    """
    if isinstance(value, kind) and (kind is not int or not isinstance(value, bool)):
        return value
    raise ShapeError(value, _NAMES.get(kind, kind.__name__))


def known(kind: type[_T], value: object) -> _T | None:
    """A value of that kind, and None for any other: for what others wrote, which may lack anything."""
    try:
        return of(kind, value)
    except ShapeError:
        return None


def string(value: Any) -> str:
    """As `of(str, value)`, for what is asked of each of many thousand rows."""
    return value if isinstance(value, str) else of(str, value)


def whole(value: Any) -> int:
    """As `of(int, value)`, for what is asked of each of many thousand rows."""
    return value if type(value) is int else of(int, value)


class Place:
    """A value of a document and where it stands, as `steps[3].outcome`.

    `document` is the document's name in messages. Every method raises what `refuse` makes of a message.
    """

    __slots__ = ("document", "refuse", "value", "where")

    def __init__(self, value: Any, where: str, document: str, refuse: Callable[[str], Exception]) -> None:
        self.value, self.where, self.document, self.refuse = value, where, document, refuse

    def fail(self, problem: str) -> Exception:
        """An error that names this place."""
        where = f" at {self.where}" if self.where else ""
        return self.refuse(f"{self.document}{where}: {problem}")

    def read(self, check: Callable[[Any], _T]) -> _T:
        """What a function makes of the value; a ValueError of it says what is wrong."""
        try:
            return check(self.value)
        except ValueError as error:
            raise self.fail(str(error)) from None

    def of(self, kind: type[_T]) -> _T:
        """The value, which is of that kind."""
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
        """What `build` makes of a member of an object; `absent` where it is null or not there."""
        return absent if self.of(dict).get(key) is None else build(self[key])

    def entries(self) -> dict[str, Place]:
        """The members of an object that maps any names to values."""
        return {key: self._inside(key, value) for key, value in self.of(dict).items()}

    def items(self) -> list[Place]:
        """The members of a list."""
        return [self._inside(at, value) for at, value in enumerate(self.of(list))]

    def _inside(self, at: object, value: Any) -> Place:
        return Place(value, f"{self.where}[{at!r}]", self.document, self.refuse)

    def each(self, build: Callable[[Place], _T]) -> tuple[_T, ...]:
        """What `build` makes of each member of a list."""
        return tuple(build(item) for item in self.items())

    def rows(self, build: Callable[[Any], _T]) -> tuple[_T, ...]:
        """A long list, built row by row with no object per value; the first bad row is named.

        A ValueError, a TypeError or a KeyError of `build` says what is wrong with it.
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
        return self.of(bool)

    def member(self, of: type[_E]) -> _E:
        """One of an enumeration's values."""
        try:
            return of(self.value)
        except ValueError:
            every = ", ".join(str(member.value) for member in of)
            raise self.fail(f"{quoted(self.value)} is none of {every}") from None
