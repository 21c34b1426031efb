"""References to images: the names that people type, completed as Docker completes them. Pure.

Sources: the grammar in reference.go of the distribution project, and normalize.go of its reference library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from slimagent.errors import UsageError

_WORD = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*"
_NAME = re.compile(rf"(?:({_HOST}(?::[0-9]+)?)/)?({_WORD}(?:/{_WORD})*)(?::([A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?")
_DIGEST = re.compile(r"@[A-Za-z][A-Za-z0-9]*(?:[+._-][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}\Z")
_LONGEST_NAME = 255  # characters, without the tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A name for an image: `full` with the registry, `short` as engines show it, `version` alone."""

    full: str
    short: str
    version: str


def tag(text: str) -> Tag:
    """What somebody typed, completed as Docker does: from its own registry, in its library, `latest`.

    Raises UsageError for what is not a name that an image can get; a digest is not one.
    """
    found = _completed(text)
    if found is None:
        raise UsageError(f"{text!r} is not a valid image name", "write NAME or NAME:TAG, in lower case, e.g. app:slim")
    return found


def is_reference(text: str) -> bool:
    """Whether an image can be referred to so: by a name, or by a name with a digest."""
    return _completed(_DIGEST.sub("", text)) is not None


def same(one: str, other: str) -> bool:
    """Whether two references are the same name. False for what is not a name, e.g. a name with a digest."""
    first, second = _completed(one), _completed(other)
    return first is not None and second is not None and first.full == second.full


def _completed(text: str) -> Tag | None:
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    domain, path, version = match[1], match[2], match[3] or "latest"
    if domain and domain != "localhost" and not re.search("[.:]|[A-Z]", domain):
        domain, path = None, f"{domain}/{path}"
    if domain in (None, "docker.io", "index.docker.io"):
        short = path.removeprefix("library/")
        domain, path = "docker.io", path if "/" in path else f"library/{path}"
    else:
        short = f"{domain}/{path}"
    if len(f"{domain}/{path}") > _LONGEST_NAME:
        return None
    return Tag(full=f"{domain}/{path}:{version}", short=f"{short}:{version}", version=version)
