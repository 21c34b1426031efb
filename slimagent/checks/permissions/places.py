"""The directories that a profile names, with `~` and variables of the image's environment expanded. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from slimagent.paths.algebra import normalise, to_text

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


@dataclass(frozen=True, slots=True)
class Place:
    """A directory by its text and its path. `path` None: there is none, and `why` says why.

    `unset`: it is named by a variable that is not set.
    """

    name: str
    path: bytes | None
    why: str = ""
    unset: bool = False


def places(texts: Sequence[str], env: Mapping[str, str]) -> list[Place]:
    """The directories that `texts` name, each once; a text that is only a variable can be a list, e.g. PATH."""
    found: dict[str, Place] = {}
    for text in texts:
        for place in _places(text, env):
            found.setdefault(place.name, place)
    return list(found.values())


def _places(text: str, env: Mapping[str, str]) -> Iterator[Place]:
    spelled = re.sub(r"^~(?=/|$)", "${HOME}", text)
    unset = [name for name in map(_name, _VARIABLE.finditer(spelled)) if not env.get(name)]
    if unset:
        yield Place(text, None, f"{unset[0]} is not set", True)
        return
    value = _VARIABLE.sub(lambda match: env[_name(match)], spelled)
    for each in filter(None, value.split(":") if _VARIABLE.fullmatch(spelled) else [value]):
        yield _place(each)


def _place(value: str) -> Place:
    try:
        path = value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        path = b""
    if not path.startswith(b"/") or b"\0" in path:
        return Place(to_text(value.encode("utf-8", "backslashreplace")), None, "it is not an absolute path")
    path = normalise(path)
    return Place(to_text(path), path)


def _name(match: re.Match[str]) -> str:
    return match[1] or match[2]
