"""The profiles that ship with slimagent, profiles in files, and `auto`: the one that fits what is installed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from slimagent.checks import detect as detecting
from slimagent.checks.detect import Detected
from slimagent.errors import UsageError
from slimagent.linux.files import read
from slimagent.model.profile import Profile
from slimagent.profiles import read as profile
from slimagent.profiles import write as profile_writer

__all__ = ["AUTO", "BASE", "Detected", "detect", "files", "found", "known", "load", "together", "written"]

BASE, AUTO = "base", "auto"
_HERE = os.path.dirname(os.path.abspath(__file__))
# The profiles are here in a wheel, and beside the package in a checkout.
_DIRECTORIES = (_HERE, os.path.join(os.path.dirname(os.path.dirname(_HERE)), "profiles"))


def _directory() -> str:
    first = BASE + profile.SUFFIX
    return next(
        (directory for directory in _DIRECTORIES if os.path.isfile(os.path.join(directory, first))), _DIRECTORIES[0]
    )


def known() -> tuple[str, ...]:
    """The names of the shipped profiles."""
    names = (name for name in os.listdir(_directory()) if name.endswith(profile.SUFFIX))
    return tuple(sorted(name[: -len(profile.SUFFIX)] for name in names))


def load(name: str) -> Profile:
    """A profile by its name, or by the path of its file (a name with a slash or `.toml`). The base rules are in each.

    Raises UsageError for an unknown name, DocumentError for a file that cannot be read.
    """
    own = profile.load(name, _text)
    return profile.combine(name, own.description, (profile.load(BASE, _text), own))


def files(name: str) -> dict[str, bytes]:
    """The files that a profile consists of, itself first, by path. None for a shipped one. Raises as `load` does."""
    found: dict[str, bytes] = {}

    def text_of(each: str) -> str:
        text = _text(each)
        if profile.is_file(each):
            found[each] = text.encode()
        return text

    profile.load(name, text_of)
    return found


def together(names: Sequence[str]) -> Profile:
    """Several profiles by their names as one: those that a trace was made with. Raises as `load` does."""
    return profile.combine(" + ".join(names), "", (load(BASE), *map(load, names)))


def _text(name: str) -> str:
    if profile.is_file(name):
        data = read(name)
    elif name in known():
        data = read(os.path.join(_directory(), name + profile.SUFFIX))
    elif name == AUTO:
        raise UsageError(
            "auto cannot be extended: it is made anew for each image",
            "write what it runs to a file and change that: slimagent detect IMAGE -o mine.toml",
        )
    else:
        raise UsageError(
            f"no such profile: {name!r}", f"known are auto, {', '.join(known())}; or name a file, e.g. ./my.toml"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"profile {name}: not UTF-8 text: {error.reason} at byte {error.start}", "save it as UTF-8"
        ) from None


def found(env: Mapping[str, str]) -> Detected:
    """What is installed in the image that we are in, for somebody with that environment."""
    return detecting.detect(env)


def written(what: Detected) -> str:
    """What was found as the TOML text of a profile."""
    return profile_writer.text("detected", "what `slimagent detect` found", what.profiles, what.checks)


def detect(env: Mapping[str, str]) -> Profile:
    """`auto`: the profiles of what is found in the image that we are in, as one, and the checks that name it."""
    what = found(env)
    whys = "; ".join(f"{name}: {why}" for name, why in what.profiles) or "nothing known is installed here"
    own = Profile(name=AUTO, description=whys, checks=what.checks)
    return profile.combine(AUTO, whys, (load(BASE), *(load(name) for name, _ in what.profiles), own))
