"""Read JSON from untrusted sources: a container, an image, an engine, a user. Pure."""

from __future__ import annotations

import json
from typing import Any

import orjson

DEEPEST = 50  # levels; no document of ours has more than a dozen


def parsed(data: bytes | str) -> Any:
    """Parse JSON. Raises ValueError if it is malformed or nested deeper than DEEPEST.

    The value is safe to quote in a message and to write. orjson reads 1,024 levels, but its writer (3.13.0) overruns
    its buffer for some lists of about 200 levels, and `repr` fails at 1,000.
    """
    value = orjson.loads(data)
    level = [value] if type(value) in (list, dict) else []
    for _ in range(DEEPEST + 1):
        if not level:
            return value
        level = [
            below
            for each in level
            for below in (each.values() if type(each) is dict else each)
            if type(below) is list or type(below) is dict
        ]
    raise ValueError("it is nested too deep")


def parsed_once(data: bytes) -> Any:
    """Parse JSON as `parsed` does. Raises ValueError also if an object has a key twice: readers differ about it."""
    value = parsed(data)  # first: what this accepts is UTF-8 and not deep
    json.loads(data.decode(), object_pairs_hook=_once)
    return value


def _once(pairs: list[tuple[str, Any]]) -> None:
    keys = set()
    for key, _ in pairs:
        if key in keys:
            raise ValueError(f"the key {key!r} is there twice")
        keys.add(key)
