"""What was removed that explains an error, as a document; nothing reads it back."""

from __future__ import annotations

from typing import Any

from slimagent.documents.envelope import dump
from slimagent.model.missing import Answer, Missing, Wanted
from slimagent.paths.algebra import to_text

MISSING = "slimagent/missing"


def encode_missing(missing: Missing) -> bytes:
    """Answers as bytes."""
    body = {
        "tool": missing.tool,
        "plan": missing.plan,
        "image": missing.image,
        "answers": [_put(each) for each in missing.answers],
        "unexplained": [_put_wanted(each) for each in missing.unexplained],
        "vague": [_put_wanted(each) for each in missing.vague],
    }
    return dump(MISSING, body)


def _put_wanted(wanted: Wanted) -> dict[str, str]:
    return {"kind": wanted.kind.value, "name": to_text(wanted.name)}


def _put(answer: Answer) -> dict[str, Any]:
    return {
        "wanted": [_put_wanted(each) for each in answer.wanted],
        "removed": [{"path": to_text(path), "size": size} for path, size in answer.removed],
        "owner": answer.owner or None,
        "package_version": answer.version or None,
        "place": to_text(answer.place) if answer.owner else None,
        "whole": answer.whole,
        "kind": answer.kind,
        "reason": answer.reason,
        "restore": answer.restore,
        "ways": list(answer.ways),
        "keep": answer.keep,
        "rule": answer.rule,
    }
