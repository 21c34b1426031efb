"""Names that somebody may have meant by a name that is not known. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_FEW = 20


def meant(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known ones, else all of them if they are few; empty if neither helps.

    >>> meant("apt-cach", ["apt-cache", "logs"])
    'did you mean apt-cache?'
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 3)
    if near:
        return f"did you mean {', '.join(near[:-1])}{' or ' if len(near) > 1 else ''}{near[-1]}?"
    return f"known are {', '.join(names)}" if 0 < len(names) <= _FEW else ""
