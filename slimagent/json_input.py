"""JSON that came from anywhere: a container, an image, an engine, a person. Pure."""

from __future__ import annotations

from typing import Any

import orjson


def parsed(data: bytes | str) -> Any:
    """The value of a JSON text. Raises ValueError for what is not whole, or nested too deep (about 250 levels).

    orjson reads more levels than it writes, and than Python's `repr` can show: what gets past here can be written, and
    quoted in a message.
    """
    value = orjson.loads(data)
    try:
        orjson.dumps([[[[value]]]])  # with room for what we put around it
    except orjson.JSONEncodeError:
        raise ValueError("it is nested too deep") from None
    return value
