"""What a bundle takes from this machine: interpreter, standard library, our package, its dependencies, strip."""

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
# Profiles and entrypoint.sh lie inside the package in a wheel, and beside it in a checkout.
_PLACES = (_PACKAGE, os.path.dirname(_PACKAGE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Absolute paths of this machine. `directories` are those of the standard library, the platform's own last.

    `library` is the standard library's path below a prefix, e.g. `lib/python3.12`. `packages` are the files of the
    dependencies: (path below site-packages, path). `strip` is GNU strip or None.
    """

    program: str
    directories: tuple[str, ...]
    library: str
    package: str
    profiles: str
    entrypoint: str
    packages: tuple[tuple[str, str], ...]
    strip: str | None
    glibc: str


def host() -> Host:
    """Describe this machine. Raises UnavailableError if no bundle can be made of it."""
    program = os.readlink("/proc/self/exe")
    loader_of(program)
    strip = shutil.which("strip")
    scheme = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    directories = [sysconfig.get_path(name, "posix_prefix", vars=scheme) for name in ("stdlib", "platstdlib")]
    return Host(
        program=program,
        directories=tuple(dict.fromkeys(map(os.path.realpath, directories))),
        library=f"lib/python{sys.version_info.major}.{sys.version_info.minor}",
        package=_PACKAGE,
        profiles=os.path.dirname(_ours("profiles/base.toml")),
        entrypoint=_ours("entrypoint.sh"),
        packages=tuple(_packages()),
        strip=None if strip is None else os.path.realpath(strip),
        glibc=_glibc(),
    )


def _glibc() -> str:
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except ValueError:
        raise UnavailableError(
            "a bundle needs the GNU C library, but this Python has another one", "make it on Debian, Ubuntu or Fedora"
        ) from None
    return version if name == "glibc" else name


def _ours(name: str) -> str:
    for place in _PLACES:
        path = os.path.join(place, name)
        if os.path.exists(path):
            return path
    raise UnavailableError(f"this slimagent was installed without its {name}", "install it again from a wheel")


def _packages() -> Iterator[tuple[str, str]]:
    """The files of our dependencies and of theirs, from their records."""
    for name in sorted(_dependencies()):
        found = _distribution(name)
        files = found.files
        if not files:
            raise UnavailableError(
                f"the files of the Python package {name} are not recorded, so they cannot be bundled",
                "install slimagent with pip into a virtual environment, and run it from there",
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
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if applies and requirement.name not in (found | OUTSIDE_ONLY):
                found.add(requirement.name)
                ahead.append(requirement.name)
    return found


def _distribution(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise UnavailableError(
            f"the Python package {name} is not installed, or has no metadata",
            "install slimagent with pip into a virtual environment, and run it from there",
        ) from None
