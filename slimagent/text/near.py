"""Names that somebody may have meant by a name that is not known. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_FEW = 20
_MOST = 3  # near names


def meant(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known ones, else all of them if they are few; empty if neither helps.

    >>> meant("apt-cach", ["apt-cache", "logs"])
    'did you mean apt-cache?'
    """
    names = sorted(known)
    return nearest(name, names) or (f"known are {', '.join(names)}" if 0 < len(names) <= _FEW else "")


def nearest(name: str, known: Iterable[str]) -> str:
    """The same, but empty if no known name is near.

    >>> nearest("files", ["file", "package"]), nearest("x", ["file"])
    ('did you mean file?', '')
    """
    return question(difflib.get_close_matches(name, sorted(known), _MOST))


def meant_package(name: str, labels: Iterable[str]) -> str:
    """A hint for a package that does not exist, as KIND:NAME or as NAME; empty if none has a name like it.

    Names are compared without their kinds: these would make all packages of one kind alike.

    >>> meant_package("r:ggplot", ["r:ggplot2", "dpkg:zip"]), meant_package("dpkg:vim", ["dpkg:zip", "dpkg:git"])
    ('did you mean r:ggplot2?', '')
    """
    said, colon, rest = name.partition(":")
    kind, wanted = (said, rest) if colon else ("", said)
    same, others = dict[str, str](), dict[str, str]()
    for label in sorted(labels):
        has, _, called = label.partition(":")
        (same if kind in ("", "*", has) else others).setdefault(called.lower(), label)
    near = [same[each] for each in difflib.get_close_matches(wanted.lower(), same, _MOST)]
    return question(near or [others[each] for each in (wanted.lower(),) if each in others])


def question(names: list[str]) -> str:
    """Ask for one of some names, the nearest first; empty for none."""
    if not names:
        return ""
    return f"did you mean {', '.join(names[:-1])}{' or ' if len(names) > 1 else ''}{names[-1]}?"
