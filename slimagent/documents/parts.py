"""What several documents have: paths, rows, results of steps, losses.

A row that is wrong raises a ValueError or a TypeError that says how; `Place.rows` adds where. See `documents`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slimagent.model.proof import Comparison, Missed
from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.model.trace import Change, ChangeKind, Loss, LossKind
from slimagent.paths.algebra import from_text, to_text
from slimagent.text.shape import Place, ShapeError, string, whole


def cells(row: Any, count: int) -> list[Any]:
    """A list of that many values."""
    if not isinstance(row, list) or len(row) != count:
        raise ValueError(f"expected a list of {count}")
    return row


def unsigned(value: Any) -> int:
    """A whole number that is not negative."""
    if whole(value) < 0:
        raise ValueError(f"{value!r} is negative")
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


def get_path(place: Place) -> bytes:
    """An absolute path that is no cell of a row. Raises DocumentError."""
    return place.read(absolute)


def noted(row: Any) -> tuple[bytes, str]:
    """A row [path, text]."""
    at, note = cells(row, 2)
    return absolute(at), string(note)


def put_paths(paths: Sequence[bytes]) -> list[str]:
    """Paths as text."""
    return [to_text(each) for each in paths]


def put_change(change: Change) -> list[Any]:
    """A change as a row: [path, what was done, modification time before in ns]."""
    return [to_text(change.path), change.kind.value, change.mtime_ns]


def get_change(row: Any) -> Change:
    """A row as a change."""
    at, kind, mtime_ns = cells(row, 3)
    return Change(path=absolute(at), kind=ChangeKind(kind), mtime_ns=whole(mtime_ns))


def put_result(result: CheckResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "kind": result.kind,
        "outcome": result.outcome.value,
        "seconds": round(result.seconds, 3),
        "detail": result.detail,
        "status": result.status,
        "items": [[item.name, item.outcome.value, item.detail] for item in result.items],
        "snapshot": result.snapshot,
    }


def get_result(place: Place) -> CheckResult:
    status = place["status"]
    return CheckResult(
        name=place["name"].text(),
        kind=place["kind"].text(),
        outcome=place["outcome"].member(Outcome),
        seconds=place["seconds"].number(),
        detail=place["detail"].text(),
        status=None if status.value is None else status.integer(),
        items=place["items"].rows(_get_item),
        snapshot=place["snapshot"].text(),
    )


def _get_item(row: Any) -> Item:
    name, outcome, detail = cells(row, 3)
    return Item(name=string(name), outcome=Outcome(outcome), detail=string(detail))


def put_loss(loss: Loss) -> dict[str, Any]:
    return {"kind": loss.kind, "count": loss.count, "example": loss.example}


def get_loss(place: Place) -> Loss:
    return Loss(kind=LossKind(place["kind"].text()), count=place["count"].unsigned(), example=place["example"].text())


def put_missed(missed: Sequence[Missed]) -> list[dict[str, Any]]:
    return [{"path": to_text(each.path), "steps": list(each.steps)} for each in missed]


def put_comparisons(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    return [
        {"name": each.name, "before": each.before.value, "after": each.after.value, "detail": each.detail}
        for each in comparisons
    ]
