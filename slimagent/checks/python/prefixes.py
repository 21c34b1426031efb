"""The Python environments of an image, found by names: it starts nothing, and reads only Jupyter's kernel.json files.

The sign of an environment is `pyvenv.cfg` above its `bin` (PEP 405), `conda-meta` in a conda prefix, or for an
installation `lib/python3*` beside the real directory of its program. Kernelspecs are described in jupyter_client's
documentation, "Making kernels for Jupyter"; their places in jupyter_core.paths.
"""

from __future__ import annotations

import glob
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from slimagent.paths.algebra import MAXIMUM_LINKS

_NAMES = ("python3", "python")
_VERSIONED = re.compile(r"python3\.([0-9]{1,3})")
# Where images put environments that are not on PATH. A star matches one name: there is no walk.
DIRECTORIES: tuple[str, ...] = ("/usr/bin", "/usr/local/bin", "/opt/bin", "/opt/*/bin", "/opt/pipx/venvs/*/bin")
DATA: tuple[str, ...] = ("/usr/local/share/jupyter", "/usr/share/jupyter")
_AT_HOME = (".virtualenvs/*/bin", ".local/share/pipx/venvs/*/bin", ".local/share/uv/tools/*/bin", ".conda/envs/*/bin")
# Directories of environments, and environments, that variables name (virtualenvwrapper, pipx, uv, conda, mamba).
_VARIABLES = {
    "VIRTUAL_ENV": "bin",
    "CONDA_PREFIX": "bin",
    "WORKON_HOME": "*/bin",
    "PIPX_HOME": "venvs/*/bin",
    "UV_TOOL_DIR": "*/bin",
    "MAMBA_ROOT_PREFIX": "envs/*/bin",
    "CONDA_ENVS_PATH": "*/bin",
    "CONDA_ENVS_DIRS": "*/bin",
}
# Where an interpreter at PREFIX/bin finds distributions: in its own scheme, and in Debian's.
SITES = ("lib*/python3*/site-packages", "lib/python3*/dist-packages", "local/lib/python3*/dist-packages")
_MOST = 64  # environments; for an image with more the profile names them
_MOST_PLACES = 2000  # directories looked into
_LARGEST_SPEC = 1 << 16  # bytes of a kernel.json


@dataclass(frozen=True, slots=True)
class Environment:
    """A prefix (what `sys.prefix` says there), its interpreter, and "venv", "conda" or "system"."""

    prefix: str
    interpreter: str
    kind: str


def environments(env: Mapping[str, str]) -> tuple[Environment, ...]:
    """Every environment, once each: first that of python3 (else python) on `env`'s PATH, if any.

    Then those of PATH's other directories and of its links, of the usual places, of conda's `envs`, and of Jupyter's
    kernels. An interpreter in a place without signs of an environment counts only if it is the first.
    """
    found: dict[str, Environment] = {}
    first = first_on_path(env)
    for each in itertools.chain((first,) if first else (), _search(env, found)):
        if len(found) < _MOST:
            found.setdefault(identity(each.prefix), each)
    return tuple(found.values())


def first_on_path(env: Mapping[str, str]) -> Environment | None:
    """The environment of PATH's python3, else of its python. A launcher counts as an installation in its place."""
    path = env.get("PATH", os.defpath)
    found = next((each for each in (shutil.which(name, path=path) for name in _NAMES) if each), None)
    return None if found is None else of_interpreter(found) or _launcher(found)


def of_interpreter(path: str) -> Environment | None:
    """The environment of an interpreter that is started by this path; None if its place has no sign of one."""
    path = os.path.abspath(path)
    prefix = _prefix(path)
    if _has(prefix, "pyvenv.cfg"):
        return Environment(prefix, path, "venv")
    real = _prefix(os.path.realpath(path))
    if identity(prefix) != real:
        prefix = real
    if _has(prefix, "conda-meta"):
        return Environment(prefix, path, "conda")
    if glob.glob(os.path.join(glob.escape(prefix), "lib*", "python3*")):
        return Environment(prefix, path, "system")
    return None


def of_prefix(prefix: str) -> Environment | None:
    """The environment at a prefix; None if it has no interpreter."""
    return next(_in_directories([os.path.join(glob.escape(prefix), "bin")]), None)


def identity(prefix: str) -> str:
    """The same text for all paths of one prefix."""
    return os.path.realpath(prefix)


def is_bare(environment: Environment) -> bool:
    """Whether the names in its site directories show that it has no package or module of its own."""
    prefix = glob.escape(environment.prefix)
    directories = [each for pattern in SITES for each in glob.glob(os.path.join(prefix, pattern))]
    return bool(directories) and not any(
        _could_be_imported(name) for directory in directories for name in _listed(directory)
    )


def _could_be_imported(name: str) -> bool:
    stem, dot, ending = name.partition(".")
    if not dot:
        return stem.isidentifier() and stem[0] != "_"
    return ending in ("pth", "egg-link") or (ending.endswith(("py", "pyc", "so")) and stem.isidentifier())


def _launcher(path: str) -> Environment:
    path = os.path.abspath(path)
    return Environment(_prefix(path), path, "system")


def _search(env: Mapping[str, str], found: Mapping[str, Environment]) -> Iterator[Environment]:
    """Candidates in the order of `environments`; `found` are those taken so far, which lead to others."""
    on_path = [each for each in env.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(each)]
    yield from _in_directories(map(glob.escape, on_path))
    yield from _through_links(list(found.values()))
    yield from _in_directories(_usual(env))
    for prefix in [each.prefix for each in found.values()]:
        yield from _in_directories(_of_conda(prefix))
    data = [os.path.join(each.prefix, "share", "jupyter") for each in found.values()]
    yield from _of_kernels([*_jupyter_data(env), *data])


def _in_directories(patterns: Iterable[str]) -> Iterator[Environment]:
    """The environments of the interpreters in directories: python3 or python, else the newest of python3.N."""
    places = (place for pattern in patterns for place in sorted(glob.iglob(pattern)))
    for place in itertools.islice(places, _MOST_PLACES):
        for path in (os.path.join(place, name) for name in itertools.chain(_NAMES, _versioned(place))):
            environment = of_interpreter(path) if os.path.isfile(path) and os.access(path, os.X_OK) else None
            if environment is not None:
                yield environment
                break


def _versioned(directory: str) -> list[str]:
    found = [match for match in map(_VERSIONED.fullmatch, _listed(directory)) if match]
    return [match[0] for match in sorted(found, key=lambda match: -int(match[1]))]


def _through_links(environments: Iterable[Environment]) -> Iterator[Environment]:
    """The environments along the links from the interpreters, e.g. the installation of a virtual environment."""
    for each in environments:
        path = each.interpreter
        for _ in range(MAXIMUM_LINKS):
            try:
                path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
            except OSError:
                break
            other = of_interpreter(path)
            if other is not None:
                yield other


def _usual(env: Mapping[str, str]) -> Iterator[str]:
    """Patterns of directories: from variables, the usual places, the home directory, conda's list of environments."""
    for name, below in _VARIABLES.items():
        for value in env.get(name, "").split(os.pathsep):
            if os.path.isabs(value):
                yield os.path.join(glob.escape(value), below)
    yield from DIRECTORIES
    home = env.get("HOME", "")
    if os.path.isabs(home):
        for below in _AT_HOME:
            yield os.path.join(glob.escape(home), below)
        for line in _start_of(os.path.join(home, ".conda", "environments.txt")).decode("utf-8", "replace").splitlines():
            if os.path.isabs(line):
                yield os.path.join(glob.escape(line), "bin")


def _of_conda(prefix: str) -> Iterator[str]:
    """Patterns of the directories of conda's environments, if the prefix is conda's base or one of its environments."""
    above = os.path.dirname(prefix)
    for root in (prefix, os.path.dirname(above) if os.path.basename(above) == "envs" else ""):
        if root and (_has(root, "conda-meta") or _has(root, "envs")):
            yield os.path.join(glob.escape(root), "bin")
            yield os.path.join(glob.escape(root), "envs", "*", "bin")


def _jupyter_data(env: Mapping[str, str]) -> Iterator[str]:
    yield from (each for each in env.get("JUPYTER_PATH", "").split(os.pathsep) if os.path.isabs(each))
    own = env.get("JUPYTER_DATA_DIR") or os.path.join(env.get("HOME", ""), ".local", "share", "jupyter")
    yield from (own,) if os.path.isabs(own) else ()
    yield from DATA


def _of_kernels(data: Iterable[str]) -> Iterator[Environment]:
    """The environments of interpreters that kernelspecs name by absolute paths."""
    patterns = (os.path.join(glob.escape(directory), "kernels", "*", "kernel.json") for directory in data)
    specs = (path for pattern in patterns for path in sorted(glob.iglob(pattern)))
    for path in itertools.islice(specs, _MOST_PLACES):
        program = _program(_start_of(path))
        if os.path.isabs(program) and os.path.isfile(program) and os.access(program, os.X_OK):
            environment = of_interpreter(program) if os.path.basename(program).startswith("python") else None
            if environment is not None:
                yield environment


def _program(spec: bytes) -> str:
    """The program of a kernelspec; empty if it is damaged."""
    try:
        value = json.loads(spec)
        program = value["argv"][0]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return ""
    return program if isinstance(program, str) and "\0" not in program else ""


def _start_of(path: str) -> bytes:
    """The start of a regular file; empty if it cannot be read. A FIFO is never opened."""
    try:
        if not os.path.isfile(path):
            return b""
        with open(path, "rb") as file:
            return file.read(_LARGEST_SPEC)
    except OSError:
        return b""


def _prefix(interpreter: str) -> str:
    return os.path.dirname(os.path.dirname(interpreter))


def _has(prefix: str, name: str) -> bool:
    return os.path.exists(os.path.join(prefix, name))


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []
