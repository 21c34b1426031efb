"""What is installed in the image that we are in, as far as a profile fits it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping

_METADATA = (".dist-info", ".egg-info")
# Debian's own packages are in /usr/lib/python3/dist-packages, those of pip in /usr/local/lib/python3.X/dist-packages.
_SITE = re.compile(r"python3(\.\d+t?)?")


def installed(env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The names of the profiles that fit, each with the reason; programs are looked up in the PATH of `env`."""
    search = env.get("PATH", os.defpath)
    found = (("python", _python(search)), ("jupyter", _jupyter(search)))
    return tuple((name, why) for name, why in found if why)


def _python(search: str) -> str:
    program = shutil.which("python3", path=search) or shutil.which("python", path=search)
    if program is None:
        return ""
    distributions = {each for folder in _site_folders(program) for each in _metadata(folder)}
    return f"{program} has {len(distributions)} distributions" if distributions else ""


def _jupyter(search: str) -> str:
    """`jupyter lab` needs `jupyter-lab` in PATH or beside `jupyter`; `jupyter` alone does not serve JupyterLab."""
    lab = shutil.which("jupyter-lab", path=search)
    jupyter = shutil.which("jupyter", path=search)
    if lab is None and jupyter is not None:
        lab = shutil.which(os.path.join(os.path.dirname(os.path.realpath(jupyter)), "jupyter-lab"))
    return f"jupyter-lab is {lab}" if lab else ""


def _site_folders(program: str) -> Iterator[str]:
    prefixes = {os.path.dirname(os.path.dirname(path)) for path in (program, os.path.realpath(program))}
    if os.path.isfile(os.path.join(os.path.dirname(os.path.dirname(program)), "pyvenv.cfg")):
        prefixes = {os.path.dirname(os.path.dirname(program))}  # what the base interpreter has is not the venv's
    elif "/usr" in prefixes:
        prefixes.add("/usr/local")
    for prefix in sorted(prefixes):
        library = os.path.join(prefix, "lib")
        for name in filter(_SITE.fullmatch, _names(library)):
            yield os.path.join(library, name, "site-packages")
            yield os.path.join(library, name, "dist-packages")


def _metadata(folder: str) -> Iterator[str]:
    return (os.path.join(folder, name) for name in _names(folder) if name.endswith(_METADATA))


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
