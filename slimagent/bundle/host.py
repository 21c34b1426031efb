"""What of this machine a bundle is made of: interpreter, standard library, our package and its dependencies, strip."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

from slimagent.bundle.libraries import loader_of
from slimagent.errors import UnavailableError
from slimagent.model.agent import OUTSIDE_ONLY

OURSELVES = "slimagent"
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# In a wheel they lie inside the package, in a checkout beside it.
_PLACES = (_PACKAGE, os.path.dirname(_PACKAGE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Paths of this machine, absolute. `folders` are those of the standard library, the platform's own last.

    `library` is where the standard library lies below a prefix, as `lib/python3.12`. `packages` are the files of the
    dependencies: (place below site-packages, path). `strip` is GNU strip, None if there is none.
    """

    program: str
    folders: tuple[str, ...]
    library: str
    package: str
    profiles: str
    entrypoint: str
    packages: tuple[tuple[str, str], ...]
    strip: str | None
    glibc: str


def host() -> Host:
    """This machine. Raises UnavailableError where a bundle cannot be made of it."""
    program = os.readlink("/proc/self/exe")
    loader_of(program)
    scheme = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    folders = [sysconfig.get_path(name, "posix_prefix", vars=scheme) for name in ("stdlib", "platstdlib")]
    return Host(
        program=program,
        folders=tuple(dict.fromkeys(map(os.path.realpath, folders))),
        library=f"lib/python{sys.version_info.major}.{sys.version_info.minor}",
        package=_PACKAGE,
        profiles=os.path.dirname(_ours("profiles/base.toml")),
        entrypoint=_ours("entrypoint.sh"),
        packages=tuple(_packages()),
        strip=_strip(),
        glibc=_glibc(),
    )


def _glibc() -> str:
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except ValueError:
        raise UnavailableError(
            "a bundle needs the GNU C library, and this Python has another one", "make it on Debian, Ubuntu or Fedora"
        ) from None
    return version if name == "glibc" else name


def _ours(name: str) -> str:
    for place in _PLACES:
        path = os.path.join(place, name)
        if os.path.exists(path):
            return path
    raise UnavailableError(f"this slimagent was installed without its {name}", "install it anew, from a wheel")


def _strip() -> str | None:
    found = shutil.which("strip")
    return None if found is None else os.path.realpath(found)


def _packages() -> Iterator[tuple[str, str]]:
    """The files of our dependencies and of theirs, as their records list them."""
    for name in sorted(_dependencies()):
        found = _distribution(name)
        files = found.files
        if not files:
            raise UnavailableError(
                f"the files of the Python package {name} are not recorded, so they cannot be bundled",
                "install slimagent with pip into a virtual environment, and call it there",
            )
        for file in files:
            place = os.path.normpath(str(file))
            if not place.startswith(("..", "/")) and "__pycache__" not in place.split("/"):
                yield place, str(found.locate_file(file))


def _dependencies() -> set[str]:
    """The distributions that ours requires in a container, directly or not. Raises UnavailableError without one."""
    found: set[str] = set()
    ahead = [OURSELVES]
    while ahead:
        for text in _distribution(ahead.pop()).requires or ():
            requirement = Requirement(text)
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and requirement.name not in (found | OUTSIDE_ONLY):
                found.add(requirement.name)
                ahead.append(requirement.name)
    return found


def _distribution(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise UnavailableError(
            f"the Python package {name} is not installed, at least not so that it can be found by its name",
            "install slimagent with pip into a virtual environment, and call it there",
        ) from None
