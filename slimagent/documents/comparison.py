"""A comparison of two runs, or of two images, as a document; nothing reads it back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from slimagent.documents.envelope import dump
from slimagent.model.comparison import ImageComparison, Moved, OnSide, RunComparison
from slimagent.paths.algebra import to_text

COMPARISON = "slimagent/comparison"


def encode_comparison(comparison: RunComparison | ImageComparison) -> bytes:
    """A comparison as bytes. Only one of runs has settings and checks."""
    body: dict[str, Any] = {
        "of": "images" if isinstance(comparison, ImageComparison) else "runs",
        "tool": comparison.tool,
        "a": asdict(comparison.a),
        "b": asdict(comparison.b),
        "same_image": comparison.same_image,
        "kinds": [asdict(each) for each in comparison.kinds],
    }
    if isinstance(comparison, RunComparison):
        body["settings"] = [asdict(each) for each in comparison.settings]
        body["checks"] = [asdict(each) for each in comparison.checks]
    return dump(COMPARISON, body, {"moved": map(_put_moved, comparison.moved)})


def _put_moved(moved: Moved) -> dict[str, Any]:
    return {
        "movement": moved.movement.value,
        "kind": moved.kind,
        "name": moved.name,
        "place": to_text(moved.place),
        "difference": moved.difference,
        "a": _put_side(moved.a),
        "b": _put_side(moved.b),
        "reason": moved.reason,
    }


def _put_side(side: OnSide) -> dict[str, Any]:
    return {
        "presence": side.presence.value,
        "version": side.version,
        "bytes": side.bytes,
        "reason": side.reason,
    }
