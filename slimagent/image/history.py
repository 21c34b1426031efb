"""An image's history beside its description: engines tell the two apart, an image's configuration has both. Pure.

Sources: the members of `history` in OCI image-spec, config.md; the fields that `docker history --format json` and
`podman history --format json` print.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import orjson

from slimagent.text.json_input import parsed


def with_history(inspected: bytes, told: bytes) -> bytes:
    """What `image inspect` printed, with `History` as a configuration has it: the oldest first, no layer of its own.

    The layers will be others, so each member says that it made none. What cannot be understood is left out: history is
    for people, and an image without it works. An engine that gives it with the description is believed.
    """
    try:
        images = parsed(inspected)
        image = images[0] if isinstance(images, list) else images
        if not isinstance(image, dict):
            return inspected
        members = image.get("History") or list(reversed(_members(told)))
        image["History"] = [{**member, "empty_layer": True} for member in members]
    except (ValueError, IndexError, TypeError):
        return inspected
    return orjson.dumps(images, option=orjson.OPT_INDENT_2)


def _members(told: bytes) -> list[dict[str, Any]]:
    """A list (Podman) or an object a line (Docker)."""
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
    """A time as RFC 3339, in UTC; empty for one that cannot be read."""
    try:
        moment = datetime.fromisoformat(str(said).replace("Z", "+00:00"))
    except ValueError:
        return ""
    if moment.tzinfo is None:
        return ""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
