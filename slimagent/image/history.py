"""Add an image's history to its description: engines print them apart, an image's configuration has both. Pure.

Sources: the members of `history` in OCI image-spec, config.md; the fields that `docker history --format json` and
`podman history --format json` print.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import orjson

from slimagent.text.json_input import parsed


def with_history(inspected: bytes, told: bytes) -> bytes:
    """Add `History` to what `image inspect` printed, in the form that a configuration has: the oldest entry first.

    The slim image has other layers, so each entry says that it made none. Entries that cannot be parsed are left out:
    history is for people, and an image works without it. If the description already has a history, that one is used.
    """
    try:
        images = parsed(inspected)
        image = images[0] if isinstance(images, list) else images
        if not isinstance(image, dict):
            return inspected
        members = image.get("History") or list(reversed(members_of(told)))
        image["History"] = [{**member, "empty_layer": True} for member in members]
    except (ValueError, IndexError, TypeError):
        return inspected
    return orjson.dumps(images, option=orjson.OPT_INDENT_2)


def members_of(told: bytes) -> list[dict[str, Any]]:
    """Parse a list (Podman), or one object per line (Docker)."""
    text = told.strip()
    rows = parsed(text) if text.startswith(b"[") else [parsed(line) for line in text.splitlines()]
    return [_member(row) for row in rows if isinstance(row, dict)]


def _member(row: dict[str, Any]) -> dict[str, Any]:
    member = {
        "created": _time(row.get("CreatedAt") or row.get("created") or ""),
        "created_by": row.get("CreatedBy") or row.get("createdBy") or "",
        "comment": row.get("Comment") or row.get("comment") or "",
    }
    return {key: value for key, value in member.items() if isinstance(value, str) and value}


def _time(said: object) -> str:
    """Write a time as RFC 3339, in UTC. Empty if it cannot be parsed."""
    try:
        moment = datetime.fromisoformat(str(said).replace("Z", "+00:00"))
    except ValueError:
        return ""
    if moment.tzinfo is None:
        return ""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
