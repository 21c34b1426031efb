"""JSON that came from anywhere: a container, an image, an engine, a person. Pure."""

from __future__ import annotations

from typing import Any

import orjson

DEEPEST = 50  # levels; no document of ours has more than a dozen


def parsed(data: bytes | str) -> Any:
    """The value of a JSON text. Raises ValueError for what is not whole, or nested deeper than DEEPEST.

    What gets past here can be quoted in a message and written. orjson reads 1,024 levels; its writer (3.13.0) writes
    beyond its buffer for some lists of some 200 levels, and `repr` fails for 1,000.
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
