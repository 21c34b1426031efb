"""Find what is installed here that a check can exercise. It looks at names only and starts nothing.

It reads nothing but Jupyter's kernel.json files, which name the interpreters of environments in any place.
"""

from __future__ import annotations

import glob
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from slimagent.checks.python.prefixes import SITES, Environment, environments, first_on_path, is_bare
from slimagent.checks.rstudio.server import DIRECTORIES as RSTUDIO_DIRECTORIES
from slimagent.model.profile import CheckSpec
from slimagent.text.counted import counted

_METADATA = (".dist-info", ".egg-info")
_INSTALLERS = ("pip", "setuptools", "wheel")
_R_LIBRARIES = (
    "/usr/local/lib/R/site-library",
    "/usr/lib/R/site-library",
    "/usr/lib/R/library",
    "/usr/local/lib/R/library",
)
_GPU_DEVICES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
_GPU_DIRECTORIES = ("/usr/local/cuda*", "/opt/rocm*", "/usr/local/nvidia")
_GPU_PACKAGES = ("nvidia", "cupy", "cudf", "jax_cuda12_plugin", "jax_cuda13_plugin", "triton", "pycuda")
# What people type, and what their scripts call. No compiler and no make: using one means that compiling is needed.
_TOOLS = (
    *("bash", "git", "git-lfs", "gh", "curl", "wget", "ssh -V", "rsync", "sudo", "less", "nano", "vim", "tmux", "htop"),
    *("tar", "gzip", "bzip2", "xz", "zip", "unzip", "jq", "file", "patch", "ps", "perl", "node", "npm"),
    *("java", "julia", "pip", "uv", "conda", "mamba", "Rscript", "quarto", "pandoc", "latexmk", "qpdf", "gettext"),
    *("convert", "ffmpeg", "aws", "az", "gcloud", "gsutil", "rclone", "kubectl", "sqlite3", "psql", "duckdb"),
    *("gdalinfo", "ogr2ogr", "proj -l", "tini", "jupyter", "jupyterhub-singleuser", "opencode"),
)
_NOTEBOOKS = ("*.ipynb", "*/*.ipynb", "*/*/*.ipynb")
_NOTEBOOK_PLACES = ("/home/*", "/opt/*", "/srv", "/usr/local/share", "/usr/share", "/data", "/examples", "/notebooks")
_MOST_LOOKED_AT = 5000
_NOT_EXAMPLES = ("site-packages", "dist-packages", "node_modules", "lib", "lib64", "bin", "pkgs", "envs", "library")


class Detected(NamedTuple):
    """The names of the shipped profiles that fit, each with the reason, and checks that name what is there."""

    profiles: tuple[tuple[str, str], ...]
    checks: tuple[CheckSpec, ...]


def detect(env: Mapping[str, str]) -> Detected:
    """What a user with that environment finds in this image."""
    path = env.get("PATH", os.defpath)
    found = environments(env)
    reasons = {
        "python": _python(env, found),
        "jupyter": _jupyter(path, found),
        "r": _r(path),
        "rstudio": _rstudio(path),
        "code-server": _code_server(path, env),
        "gpu": _gpu(path, found),
    }
    checks = [*_tools(path), *_notebooks(env)]
    if checks or any(reasons.values()):
        checks.append(CheckSpec(kind="permissions", name="permissions", seconds=120.0))
    return Detected(tuple((name, why) for name, why in reasons.items() if why), tuple(checks))


def _python(env: Mapping[str, str], found: Iterable[Environment]) -> str:
    counted = [(each, count) for each in found if not is_bare(each) and (count := _distributions(each))]
    launcher = first_on_path(env)
    if not counted and launcher is not None and not _sites(launcher):
        # A launcher script for an interpreter in another place. The check itself will find it.
        return f"python is {launcher.interpreter}"
    return ", ".join(f"{each.kind} {each.prefix} ({count} distributions)" for each, count in counted)


def _distributions(environment: Environment) -> int:
    """The number of distributions; 0 if there are only installers, which every environment has at first."""
    names = {name for directory in _sites(environment) for name in _names(directory) if name.endswith(_METADATA)}
    return len(names) if any(name.split("-")[0] not in _INSTALLERS for name in names) else 0


def _sites(environment: Environment) -> list[str]:
    prefix = glob.escape(environment.prefix)
    found = (directory for pattern in SITES for directory in glob.glob(os.path.join(prefix, pattern)))
    return list(dict.fromkeys(map(os.path.realpath, found)))  # lib64 is a link to lib


def _jupyter(path: str, found: Iterable[Environment]) -> str:
    program = shutil.which("jupyter-lab", path=path)
    if program is None:
        return ""
    prefixes = [each.prefix for each in found]
    directories = [os.path.join(prefix, "share/jupyter/kernels") for prefix in (*prefixes, "/usr", "/usr/local")]
    kernels = sorted({name for directory in directories for name in _names(directory)})
    return f"{program}, kernels {', '.join(kernels)}" if kernels else program


def _r(path: str) -> str:
    program = shutil.which("Rscript", path=path) or shutil.which("R", path=path)
    if program is None:
        return ""
    count = len({name for library in _R_LIBRARIES for name in _names(library)})
    return f"{program} ({counted(count, 'package')})" if count else program


def _rstudio(path: str) -> str:
    return shutil.which("rserver", path=os.pathsep.join((path, *RSTUDIO_DIRECTORIES))) or ""


def _code_server(path: str, env: Mapping[str, str]) -> str:
    program = shutil.which("code-server", path=path)
    if program is None:
        return ""
    directory = env.get("CODE_EXTENSIONSDIR", "")
    return f"{program}, extensions in {directory}" if directory else program


def _gpu(path: str, found: Iterable[Environment]) -> str:
    """Signs of GPU software, even without a GPU: the check finds out, and what it skips stays."""
    devices = [each for each in _GPU_DEVICES if os.path.exists(each)]
    directories = [directory for pattern in _GPU_DIRECTORIES for directory in sorted(glob.glob(pattern))]
    packages = [
        os.path.join(directory, name)
        for each in found
        for directory in _sites(each)
        for name in _GPU_PACKAGES
        if os.path.isdir(os.path.join(directory, name))
    ]
    program = shutil.which("nvidia-smi", path=path)
    return ", ".join([*devices, *([program] if program else []), *directories, *packages][:4])


def _tools(path: str) -> Iterator[CheckSpec]:
    there = tuple(line for line in _TOOLS if shutil.which(line.split()[0], path=path))
    if there:
        yield CheckSpec(kind="tools", name="command-line tools", seconds=300.0, parameters={"needed": there})


def _notebooks(env: Mapping[str, str]) -> Iterator[CheckSpec]:
    """A check for the directories, at most three levels deep, where image authors usually put notebooks."""
    places = dict.fromkeys([*([glob.escape(env["HOME"])] if env.get("HOME", "/") != "/" else []), *_NOTEBOOK_PLACES])
    looked = itertools.islice((each for place in places for each in _notebooks_in(place)), _MOST_LOOKED_AT)
    directories: list[str] = []
    for directory in sorted({os.path.dirname(notebook) for notebook in looked}):
        if not any(directory == other or directory.startswith(other + "/") for other in directories):
            directories.append(directory)
    if directories:
        yield CheckSpec(kind="notebooks", name="notebooks", seconds=1800.0, parameters={"folders": tuple(directories)})


def _notebooks_in(place: str) -> Iterator[str]:
    for pattern in _NOTEBOOKS:
        for found in glob.iglob(os.path.join(place, pattern)):
            if not set(_NOT_EXAMPLES) & set(found.split("/")):
                yield found


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
