"""A TOML table that is read key by key, so that every mistake in it is named with its place. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from slimagent.errors import UsageError
from slimagent.paths.algebra import pattern
from slimagent.text.escapes import quoted
from slimagent.text.near import nearest
from slimagent.text.shape import ShapeError, of

_T = TypeVar("_T")
HINT = "see docs/profiles.md"


class Table:
    """A TOML table: take its keys one by one; whatever is left at the end is unknown.

    `where` is its place, e.g. `profile mine: keep[2]`. Every method raises UsageError that names it.
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values, self.where = dict(values), where
        self._known = set[str]()

    def take(self, key: str, kind: type[_T], default: _T | None = None) -> _T:
        """The value of a key, removed from the table. Without a default, the key is required."""
        value = self.maybe(key, kind)
        if value is not None:
            return value
        if default is None:
            raise UsageError(f"{self.where}: {key} is missing", HINT)
        return default

    def maybe(self, key: str, kind: type[_T]) -> _T | None:
        """The value of a key, removed from the table; None if it is missing."""
        self._known.add(key)
        if key not in self._values:
            return None
        value = self._values.pop(key)
        try:
            return of(kind, value)
        except ShapeError:
            raise self.wrong(key, f"expected {kind.__name__}, found {type(value).__name__}") from None

    def text(self, key: str) -> str:
        """A required string that is not blank."""
        value = self.take(key, str)
        if not value.strip():
            raise self.wrong(key, "every rule says " + key if key in ("why", "risk") else "expected some text")
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        """One of some words."""
        value = self.take(key, str, default)
        if value not in choices:
            raise self.wrong(key, f"expected {' or '.join(map(repr, choices))}, found {quoted(value)}")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings; empty if the key is missing."""
        values: list[Any] = self.take(key, list, [])
        if not all(isinstance(value, str) for value in values):
            raise self.wrong(key, "expected a list of strings")
        return tuple(values)

    def path(self, key: str) -> str:
        """A pattern of absolute paths (`paths.pattern`)."""
        return self.checked_path(key, self.take(key, str))

    def patterns(self, key: str) -> tuple[str, ...]:
        """A list of patterns of absolute paths; empty if the key is missing."""
        return tuple(self.checked_path(f"{key}[{at}]", value) for at, value in enumerate(self.strings(key)))

    def checked_path(self, key: str, value: str) -> str:
        """A value that is a pattern of absolute paths."""
        if not value.startswith("/"):
            raise self.wrong(key, f"{quoted(value)} is not an absolute path")
        try:
            pattern(value)
        except ValueError as error:
            raise self.wrong(key, str(error)) from None
        return value

    def table(self, key: str) -> Table | None:
        """The table written as `[key]`; None if it is missing."""
        found = self.maybe(key, dict)
        return None if found is None else Table(found, f"{self.where}: {key}")

    def tables(self, key: str) -> list[Table]:
        """The tables written as `[[key]]`."""
        found = []
        for at, entry in enumerate(self.take(key, list, [])):
            if not isinstance(entry, dict):
                raise UsageError(f"{self.where}: {key}[{at}] is not a table; write [[{key}]]", HINT)
            found.append(Table(entry, f"{self.where}: {key}[{at}]"))
        return found

    def rest(self) -> dict[str, Any]:
        """Take all that is left."""
        values, self._values = self._values, {}
        return values

    def done(self) -> None:
        """Refuse whatever is left."""
        if self._values:
            unknown = sorted(self._values)
            hint = nearest(unknown[0], self._known) or HINT
            raise UsageError(f"{self.where}: unknown key {', '.join(map(repr, unknown))}", hint)

    def wrong(self, key: str, what: str) -> UsageError:
        """The error for the value of a key."""
        return UsageError(f"{self.where}.{key}: {what}", HINT)
