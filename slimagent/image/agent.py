"""The agent directory that `slimagent bundle` makes, and the command that starts the agent where it is mounted.

The start needs no shell, interpreter or C library of the image: the first program is the bundle's own dynamic loader.
See docs/bundle.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from slimagent.errors import DocumentError, RefusedError, UnavailableError
from slimagent.linux.files import read
from slimagent.model.agent import BUNDLE, CONTENTS, INTERPRETER, LIBRARIES, START
from slimagent.text.escapes import quoted
from slimagent.text.json_input import parsed

SCHEMA, VERSION = "slimagent/bundle", 1
# ld.so(8): libraries come from our directory, whatever LD_LIBRARY_PATH and the image's cache say. No variable is set,
# because the image's programs inherit the environment. Python: no variables, no site-packages, no bytecode written.
_LOADER_OPTIONS = ("--inhibit-cache", "--library-path")
_PYTHON_OPTIONS = ("-I", "-S", "-B", "-X", "utf8")
# Variables that make the loader and the C library load a file or write to one. They are for the image's programs.
# The last one makes a click program print a completion and exit.
HELD_BACK = (
    *("LD_PRELOAD", "LD_AUDIT", "LD_DEBUG", "LD_DEBUG_OUTPUT", "LD_PROFILE", "GCONV_PATH", "LOCPATH"),
    "_SLIMAGENT_COMPLETE",
)
_OURS = "SLIMAGENT_"
HELD = "SLIMAGENT_ENV_"  # prefix of a variable that start.py restores
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
RECORDED = ("slimagent", "architecture", "loader", "python", "glibc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle in `directory` on this machine.

    `slimagent`, `python` and `glibc` are versions. `architecture` is what uname(2) calls the machine. `loader` is the
    name of the dynamic loader in the bundle's `lib`. `size` is in bytes.
    """

    directory: str
    slimagent: str
    architecture: str
    loader: str
    python: str
    glibc: str
    size: int

    def entry(self, mounted_at: str | None = None) -> tuple[str, ...]:
        """The command that starts slimagent from the mounted directory: a container's entrypoint.

        slimagent's arguments follow it. Without `mounted_at` it uses the directory on this machine.
        """
        return entry(self.directory if mounted_at is None else mounted_at, self.loader)


def entry(at: str, loader: str) -> tuple[str, ...]:
    """Like `Bundle.entry`, for a bundle that has no record yet."""
    return (*python(at, loader), os.path.join(at, START))


def python(at: str, loader: str) -> tuple[str, ...]:
    """The command that starts the Python interpreter of a bundle at `at`."""
    return (*loading(at, loader), os.path.join(at, INTERPRETER), *_PYTHON_OPTIONS)


def loading(at: str, loader: str) -> tuple[str, ...]:
    """The command prefix that runs a program with the libraries of a bundle at `at`."""
    return (os.path.join(at, LIBRARIES, loader), *_LOADER_OPTIONS, os.path.join(at, LIBRARIES))


def held_back(env: Sequence[str]) -> tuple[str, ...]:
    """The variables to start the agent with in a container that has the variables `env` (`NAME=VALUE`).

    An engine cannot unset a variable, but an empty one of these does nothing. Raises RefusedError if the image sets one
    twice: the engine replaces only one of the two, and a program may see the other.
    """
    names = [each.partition("=")[0] for each in env]
    for name in names:
        if (name in HELD_BACK or name.startswith(_OURS)) and names.count(name) > 1:
            raise RefusedError(
                f"the image sets {quoted(name)} more than once, so slimagent's agent cannot be protected from it",
                "build the image so that it sets it once: see Config.Env in `docker image inspect`",
            )
    values = {name: value for name, _, value in (each.partition("=") for each in env)}
    found = [name for name in HELD_BACK if values.get(name)]
    return tuple(word for name in found for word in (f"{name}=", f"{HELD}{name}={values[name]}"))


def record(made: Bundle, parts: Mapping[str, int], contents: Mapping[str, str]) -> bytes:
    """Encode a bundle's record. `parts` are the sizes of its directories, `contents` the kinds of all its paths."""
    values = {name: getattr(made, name) for name in RECORDED}
    sizes = {"size": made.size, "parts": dict(sorted(parts.items()))}
    body = {"schema": SCHEMA, "version": VERSION, **values, **sizes, CONTENTS: dict(contents)}
    return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def bundle(directory: str) -> Bundle:
    """Read the bundle in a directory. Raises UnavailableError if there is none, DocumentError for a bad record."""
    path = os.path.join(directory, BUNDLE)
    if not os.path.exists(path):
        raise UnavailableError(f"{directory} is not an agent: it has no {BUNDLE}", "make one with `slimagent bundle`")
    try:
        values = parsed(read(path))
    except ValueError as error:
        raise _damaged(path, f"not JSON: {error}") from None
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise _damaged(path, f"not a {SCHEMA} document")
    if values.get("version") != VERSION:
        raise _damaged(path, f"version {quoted(values.get('version'))} instead of {VERSION}")
    return Bundle(directory=os.path.abspath(directory), **_texts(path, values), size=_size(path, values))


def _texts(path: str, values: dict[str, Any]) -> dict[str, str]:
    for name in RECORDED:
        if not isinstance(values.get(name), str) or not _NAME.fullmatch(values[name]):
            raise _damaged(path, f"{name} is not a name or version")
    return {name: values[name] for name in RECORDED}


def _size(path: str, values: dict[str, Any]) -> int:
    size = values.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise _damaged(path, "size is not a number of bytes")
    return size


def _damaged(path: str, problem: str) -> DocumentError:
    return DocumentError(f"{path}: {problem}", "make the bundle again with `slimagent bundle`")
