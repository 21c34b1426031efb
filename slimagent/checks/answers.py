"""JSON that a program of the image wrote, read without trusting its shape. Pure."""

from __future__ import annotations

import json
from typing import Any


def parsed(text: str | bytes) -> Any:
    """The value of a JSON text; None if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def member(value: Any, *keys: str) -> Any:
    """What nested objects hold at the end of these keys; None if something else is on the way."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def mapping(value: Any, *keys: str) -> dict[str, Any]:
    """The object at the end of these keys; empty if there is none."""
    found = member(value, *keys)
    return found if isinstance(found, dict) else {}


def array(value: Any, *keys: str) -> list[Any]:
    """The list at the end of these keys; empty if there is none."""
    found = member(value, *keys)
    return found if isinstance(found, list) else []


def string(value: Any, *keys: str) -> str:
    """The text at the end of these keys; empty if there is none."""
    found = member(value, *keys)
    return found if isinstance(found, str) else ""


def strings(value: Any, *keys: str) -> list[str]:
    """The texts of the list at the end of these keys."""
    return [each for each in array(value, *keys) if isinstance(each, str)]
