"""What an application that was only copied into the image says that it requires: requirements.txt, pyproject.toml, ….

Such a file lies beside the application's code, outside of every environment. The list becomes an owner of
this file alone, as a program of Node's does (inventory/npm.py), so that what it names stays where the application is
used. It is no package, and no report counts it as one: see `Package.is_list`.

Sources: "Requirements File Format" in pip's reference; "Declaring project metadata" (PEP 621) and Poetry's
"pyproject.toml"; Pipenv's "Pipfile".
"""

from __future__ import annotations

import configparser
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slimagent.inventory.python_sites import Site
from slimagent.inventory.reader import Image
from slimagent.paths.algebra import join, name, parent, to_text, within
from slimagent.paths.manifests import is_python_manifest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

_INCLUDED = re.compile(r"^\s*(?:-r|--requirement)[ =]+(\S+)", re.MULTILINE)
_INCLUDES = 20  # files
_LARGEST = 1 << 20  # bytes: no list of requirements is larger
_DOTS = 1_000_000  # squares of dots in lines: tomllib stores every prefix of a dotted key
_OPTION = re.compile(r"\s--?[a-z]")  # what follows a requirement on its line, e.g. --hash
_CONTINUED = re.compile(r"\\\r?\n")
_COMMENT = re.compile(r"(?:^|\s)#.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """An application: its name, the entry of the file, and the requirements as they are written."""

    name: str
    place: bytes
    at: int
    requires: tuple[str, ...]


def projects(image: Image, sites: Sequence[Site]) -> list[Project]:
    """Every application of the image, by path, that declares something."""
    directories = [site.directory for site in sites]
    found = []
    for at, path in enumerate(image.inventory.paths):
        if not is_python_manifest(path) or not image.is_file(at):
            continue
        if any(within(path, directory) for directory in directories):
            continue
        requires = _declared(image, path)
        if requires:
            home = parent(path) if name(parent(path)) != b"requirements" else parent(parent(path))
            found.append(Project(name=to_text(name(home)) or "/", place=parent(home), at=at, requires=requires))
    return found


def _declared(image: Image, path: bytes) -> tuple[str, ...]:
    text = _text(image, path)
    if path.endswith(b".cfg"):
        return tuple(_configured(image, path, text))
    if not path.endswith((b".toml", b"/Pipfile")):
        return tuple(_required(image, path, text))
    if sum(line.count(".") ** 2 for line in text.splitlines()) > _DOTS:
        image.problem(path, "keys are nested too deep", is_known=True)
        return ()
    try:
        whole: Any = tomllib.loads(text)
    except (ValueError, RecursionError):
        image.problem(path, "not TOML", is_known=True)
        return ()
    if path.endswith(b"/Pipfile"):
        return tuple(_table(whole.get("packages")))
    project, tool = whole.get("project"), whole.get("tool")
    listed = project.get("dependencies") if isinstance(project, dict) else None
    poetry = tool.get("poetry") if isinstance(tool, dict) else None
    found = [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
    return (*found, *_table(poetry.get("dependencies") if isinstance(poetry, dict) else None))


def _text(image: Image, path: bytes) -> str:
    at = image.end(path)
    if at is not None and image.inventory.sizes[at] > _LARGEST:
        image.problem(path, "too large for a list of requirements", is_known=True)
        return ""
    return (image.read(path) or b"").decode("utf-8", "replace")


def _table(table: Any) -> list[str]:
    """The names in a table of Poetry or Pipenv; its versions have forms of their own."""
    return [each for each in table if isinstance(each, str) and each != "python"] if isinstance(table, dict) else []


def _configured(image: Image, path: bytes, text: str) -> list[str]:
    """`install_requires` of a setup.cfg (setuptools, "Configuring setuptools using setup.cfg files")."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        image.problem(path, "not a configuration", is_known=True)
        return []
    return _lines(parser.get("options", "install_requires", fallback=""))


def _required(image: Image, path: bytes, text: str) -> list[str]:
    """The requirements of a file, and of the files beside or below it that it includes."""
    found: list[str] = []
    seen, pending = {path}, [(path, text)]
    while pending:
        file, text = pending.pop()
        found += _lines(text)
        for included in _INCLUDED.findall(text)[:_INCLUDES]:
            other = join(parent(file), included.encode("utf-8", "replace"))
            if other not in seen and len(seen) < _INCLUDES and within(other, parent(path)):
                seen.add(other)
                pending.append((other, _text(image, other)))
    return found


def _lines(text: str) -> list[str]:
    """The requirements of a requirements file. Options, other files and local paths are left out.

    >>> _lines("flask>=2 # web\\n-r other.txt\\nrequests --hash=sha256:00\\n./own\\n")
    ['flask>=2', 'requests']
    """
    found = []
    for line in _CONTINUED.sub(" ", text).splitlines():
        said = _OPTION.split(_COMMENT.sub("", line), maxsplit=1)[0].strip()
        if said and said[0].isalnum() and "://" not in said.partition("@")[0]:
            found.append(said)
    return found
