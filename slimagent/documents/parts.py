"""What several documents have: each kind of value as a `Form`, which writes it and reads it back.

A row that is wrong raises a ValueError or a TypeError that says how; `Place.rows` adds where. See `documents`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

from slimagent.model.proof import Comparison, Missed
from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.model.trace import Change, ChangeKind, Loss, LossKind
from slimagent.paths.algebra import from_text, to_text
from slimagent.text.shape import MOST, Place, ShapeError, string, whole


class Form(NamedTuple):
    """How one kind of value is written, and read back from its place; for a row, from the row itself."""

    put: Callable[[Any], Any]
    get: Callable[[Any], Any]


def put_members(forms: Mapping[str, Form], value: object) -> dict[str, Any]:
    """The attributes of a value as members of an object, in the order of the forms."""
    return {name: form.put(getattr(value, name)) for name, form in forms.items()}


def get_members(forms: Mapping[str, Form], place: Place) -> dict[str, Any]:
    """The members of an object, by name. Raises DocumentError."""
    return {name: form.get(place[name]) for name, form in forms.items()}


def put_rows(forms: Mapping[str, Form], value: object) -> dict[str, Iterator[Any]]:
    """The long lists of a value, each as its rows."""
    return {name: map(form.put, getattr(value, name)) for name, form in forms.items()}


def get_rows(forms: Mapping[str, Form], place: Place) -> dict[str, Any]:
    """The long lists of an object, by name. Raises DocumentError."""
    return {name: place[name].rows(form.get) for name, form in forms.items()}


def an_object(make: Callable[..., Any], **forms: Form) -> Form:
    """An object whose members are the fields that `make` takes."""
    return Form(lambda value: put_members(forms, value), lambda place: make(**get_members(forms, place)))


def each(form: Form) -> Form:
    """A list of such values."""
    return Form(lambda values: [form.put(value) for value in values], lambda place: place.each(form.get))


def or_null(form: Form) -> Form:
    """Such a value, or null for None."""
    return Form(
        lambda value: None if value is None else form.put(value),
        lambda place: None if place.value is None else form.get(place),
    )


def number(digits: int) -> Form:
    """A number, written with so many digits after the point."""
    return Form(lambda value: round(value, digits), Place.number)


def member(kind: type[Enum]) -> Form:
    """One of an enumeration's values."""
    return Form(lambda value: value.value, lambda place: place.member(kind))


def cells(row: Any, count: int) -> list[Any]:
    """A list of that many values."""
    if not isinstance(row, list) or len(row) != count:
        raise ValueError(f"expected a list of {count}")
    return row


def unsigned(value: Any) -> int:
    """A whole number that is not negative."""
    if not 0 <= whole(value) <= MOST:
        raise ValueError(f"{value!r} is not between 0 and {MOST}")
    return int(value)


def indices(values: Any) -> tuple[int, ...]:
    """A list of whole numbers that count from 0."""
    if not isinstance(values, list) or any(whole(value) < 0 for value in values):
        raise ShapeError(values, "a list of indices")
    return tuple(values)


def absolute(value: Any) -> bytes:
    """An absolute path, written as `paths.to_text` does."""
    path = from_text(string(value))
    if path[:1] != b"/":
        raise ShapeError(value, "an absolute path")
    return path


def _same(value: Any) -> Any:
    return value


def _get_note(row: Any) -> tuple[bytes, str]:
    at, note = cells(row, 2)
    return absolute(at), string(note)


def _get_change(row: Any) -> Change:
    at, kind, mtime_ns = cells(row, 3)
    return Change(path=absolute(at), kind=ChangeKind(kind), mtime_ns=whole(mtime_ns))


def _get_item(row: Any) -> Item:
    name, outcome, detail = cells(row, 3)
    return Item(name=string(name), outcome=Outcome(outcome), detail=string(detail))


TEXT = Form(_same, Place.text)
TEXTS = Form(list, Place.texts)
COUNT = Form(_same, Place.unsigned)
BOOLEAN = Form(_same, Place.boolean)
PATH = Form(to_text, lambda place: place.read(absolute))
PATHS = each(PATH)
# Rows: [path, text], and [path, what was done, modification time before in ns]
NOTE = Form(lambda note: [to_text(note[0]), note[1]], _get_note)
CHANGE = Form(lambda change: [to_text(change.path), change.kind.value, change.mtime_ns], _get_change)
RESULT = an_object(
    CheckResult,
    name=TEXT,
    kind=TEXT,
    outcome=member(Outcome),
    seconds=Form(lambda seconds: round(seconds, 3), Place.number),
    detail=TEXT,
    status=Form(_same, lambda place: None if place.value is None else place.integer()),
    items=Form(
        lambda items: [[item.name, item.outcome.value, item.detail] for item in items],
        lambda place: place.rows(_get_item),
    ),
    snapshot=TEXT,
)
LOSS = an_object(Loss, kind=Form(_same, lambda place: LossKind(place.text())), count=COUNT, example=TEXT)
MISSED = an_object(Missed, path=PATH, steps=TEXTS)
COMPARISON = an_object(Comparison, name=TEXT, before=member(Outcome), after=member(Outcome), detail=TEXT)
