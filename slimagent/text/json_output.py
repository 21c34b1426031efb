"""Write JSON, whatever is in the strings: a name in an image need not be Unicode."""

from __future__ import annotations

import re
from typing import Any

import orjson

_SURROGATE = re.compile("[\ud800-\udfff]")  # PEP 383: how Python holds a byte that is not UTF-8


def encoded(value: Any, option: int = 0) -> bytes:
    """A value as JSON. A string that is not Unicode shows its bytes as `\\xNN`. `option` is orjson's.

    >>> encoded({"name": "k\\udcff"})
    b'{"name":"k\\\\\\\\xff"}'
    """
    try:
        return orjson.dumps(value, option=option)
    except orjson.JSONEncodeError:
        return orjson.dumps(_encodable(value), option=option)


def indented(value: Any) -> bytes:
    """The same, for people."""
    return encoded(value, orjson.OPT_INDENT_2)


def _encodable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encodable(each) for each in value]
    if isinstance(value, str):
        return _SURROGATE.sub(lambda lone: f"\\x{ord(lone[0]) & 0xFF:02x}", value)
    return value
