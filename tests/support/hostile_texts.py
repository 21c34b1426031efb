"""Texts that mean harm to whoever shows them, in every place of a document that takes a text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from slimagent.errors import SlimagentError

# A terminal's title, a colour as C1, a change of direction, line and paragraph separators, commands to build services,
# Markdown's pictures, links, code, cells and mentions, HTML.
HOSTILE = (
    "\x1b]0;PWNED\x07\x9b31m\u202e\u2066\u2028\u2029\x85\x7f\r\n::error::x\n  ::add-mask::y\n##[group]z ##vso[task]w"
    " ![p](https://e.example/p) [l](//e.example) `c` | <img src=x onerror=y> &lt; *b* __b__ ~~s~~ $x$"
    " @all #1 www.e.example\\"
)
_COMMAND = re.compile(r"^\s*::|##(\w*)\[", re.MULTILINE)


def planted(data: bytes, decode: Callable[[bytes], object], text: str = HOSTILE) -> bytes:
    """A document with the text at every place, keys too, where it is still a document."""
    value = orjson.loads(data)
    for place in list(_places(value)):
        holder = value
        for key in place[:-1]:
            holder = holder[key]
        old, holder[place[-1]] = holder[place[-1]], text
        if not _is_read(decode, orjson.dumps(value)):
            holder[place[-1]] = f"/{_escaped(text)}"  # a path, as documents write it
            if not _is_read(decode, orjson.dumps(value)):
                holder[place[-1]] = old
    return orjson.dumps(value)


def _escaped(text: str) -> str:
    return "".join(each if each.isprintable() and each != "\\" else f"\\x{ord(each):02x}" for each in text[:4])


def _is_read(decode: Callable[[bytes], object], data: bytes) -> bool:
    try:
        decode(data)
    except SlimagentError:
        return False
    return True


def _places(value: Any, at: tuple[Any, ...] = ()) -> Any:
    """Where the texts of a document are, but for what says what kind of document it is."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        if isinstance(each, str) and (*at, key) != ("schema",):
            yield (*at, key)
        else:
            yield from _places(each, (*at, key))


def assert_printable(output: str) -> None:
    """Nothing in it is obeyed by a terminal or a build service."""
    odd = {each for each in output if not each.isprintable() and each not in "\n\t"}
    assert not odd, (sorted(map(ascii, odd)), output)
    assert not _COMMAND.search(output), output
