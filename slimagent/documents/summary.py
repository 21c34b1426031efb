"""The summary of a run as a document; nothing reads it back."""

from __future__ import annotations

from dataclasses import asdict, fields

from slimagent.documents.envelope import dump
from slimagent.documents.parts import COMPARISON, MISSED, each
from slimagent.model.summary import Summary

SUMMARY = "slimagent/summary"


def encode_summary(summary: Summary) -> bytes:
    """A summary as bytes."""
    as_they_are = {field.name: getattr(summary, field.name) for field in fields(summary)}
    for name in ("dropped", "owners", "reached", "packages_dropped", "unowned_dropped", "checks", "start"):
        as_they_are[name] = [asdict(one) for one in as_they_are[name]]
    caution, failure = summary.caution, as_they_are.pop("failure")
    body = {
        **{name: as_they_are.pop(name) for name in ("tool", "command", "image", "tag")},
        "status": 0 if failure is None else failure.status,
        "error": None if failure is None else {name: getattr(failure, name) for name in ("slug", "message", "hint")},
        **as_they_are,
        "caution": None if caution is None else {"paths": caution.paths, "bytes": caution.size},
        "export": None if summary.export is None else asdict(summary.export),
        "layers": [
            {"bytes" if name == "size" else name: value for name, value in asdict(layer).items()}
            for layer in summary.layers
        ],
        "worse": each(COMPARISON).put(summary.worse),
        "failed_before": each(COMPARISON).put(summary.failed_before),
        "missed": None if summary.missed is None else each(MISSED).put(summary.missed),
        "seconds": {name: round(spent, 3) for name, spent in summary.seconds.items()},
    }
    return dump(SUMMARY, body)
