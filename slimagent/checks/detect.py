"""What is installed here that a shipped profile can exercise. Looks at names alone: nothing is started or read."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator, Mapping

from slimagent.paths import MAXIMUM_LINKS

# Where an interpreter at PREFIX/bin finds distributions: its own scheme, and Debian's besides.
_SITE_FOLDERS = ("lib*/python3*/site-packages", "lib/python3*/dist-packages", "local/lib/python3*/dist-packages")
_METADATA = (".dist-info", ".egg-info")


def installed(env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The names of the profiles that fit what is found on `env`'s PATH, each with the reason."""
    path = env.get("PATH", os.defpath)
    return tuple((name, why) for name, why in (("python", _python(path)), ("jupyter", _jupyter(path))) if why)


def _jupyter(path: str) -> str:
    found = shutil.which("jupyter-lab", path=path)
    return f"jupyter-lab is {found}" if found else ""


def _python(path: str) -> str:
    found = shutil.which("python3", path=path) or shutil.which("python", path=path)
    if found is None:
        return ""
    folders = _site_folders(found)
    count = len({name for folder in folders for name in _names(folder) if name.endswith(_METADATA)})
    if folders and not count:
        return ""
    # No folder: a launcher script, behind which the interpreter lies elsewhere. The check itself will find out.
    return f"{found} has {count} distributions" if folders else f"python is {found}"


def _site_folders(interpreter: str) -> list[str]:
    """The site folders of the first prefix that has one, along the chain of links that lead to an interpreter."""
    for hop in _hops(interpreter):
        prefix = glob.escape(os.path.dirname(os.path.dirname(hop)))
        folders = [each for pattern in _SITE_FOLDERS for each in glob.glob(os.path.join(prefix, pattern))]
        if folders:
            return folders
    return []


def _hops(path: str) -> Iterator[str]:
    for _ in range(MAXIMUM_LINKS):
        yield path
        try:
            path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        except OSError:
            return


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
