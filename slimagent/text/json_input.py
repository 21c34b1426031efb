"""Read JSON from untrusted sources: a container, an image, an engine, a user. Pure."""

from __future__ import annotations

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
