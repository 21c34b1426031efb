"""The directories that Python imports installed distributions from, and which of them an interpreter sees together.

Layouts as in `sysconfig` and `site` of the library, pyvenv.cfg as in PEP 405, Debian's as in its Python Policy, 2.5:
the system's Python shares `/usr/lib/python3/dist-packages` among its versions and reads
`/usr/local/lib/pythonX.Y/dist-packages` too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from slimagent.inventory.python_metadata import path_lines
from slimagent.inventory.reader import Image
from slimagent.paths.algebra import join, name, parent

_SITE = re.compile(
    rb"(.*)/lib(?:64|32)?/(python|pypy)([0-9]{1,4})(?:\.([0-9]{1,4}))?t?/(site|dist)-packages", re.DOTALL
)
_PYTHON = re.compile(rb"(?:python|pypy)([0-9]{1,4})\.([0-9]{1,4})t?")
_FULL = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}(?:(?:a|b|rc)[0-9]{1,4})?")
_DEBIAN = (b"/usr", b"/usr/local")
_USER = b"/.local"


@dataclass(slots=True, kw_only=True)
class Site:
    """One such directory. `prefix` holds the environment (bin, share, …); the directory itself for an unknown layout.

    `base` names the installation: the prefix, or `/usr` for all of Debian's own. `version` is (major, minor), minor or
    all None if unknown, `full` the version with its micro part, or empty. `venv`: this is a virtual environment; `home`
    is the directory of its interpreter, if it also sees the distributions there. `further` are directories that its
    .pth files add.
    """

    directory: bytes
    prefix: bytes
    base: bytes
    implementation: str = "cpython"
    major: int | None = None
    minor: int | None = None
    full: str = ""
    venv: bool = False
    home: bytes | None = None
    further: list[bytes] = field(default_factory=list)

    @property
    def shares_minors(self) -> bool:
        """Whether all minor versions of Python read it (Debian's `python3`)."""
        return self.directory.endswith(b"/python3/dist-packages")

    def fits(self, other: Site) -> bool:
        """Whether an interpreter of the other's version reads this directory."""
        same = (self.major, self.minor) == (other.major, other.minor)
        return same or (self.major == other.major and (self.shares_minors or other.shares_minors))


def find_sites(image: Image) -> list[Site]:
    """Every site directory of the image, in the inventory's order. Package caches of conda are not environments."""
    found = []
    for path in image.inventory.paths:
        if path.endswith((b"/site-packages", b"/dist-packages")):
            at = image.inventory.index[path]
            if image.is_directory(at) and not _is_cached(image, path):
                found.append(_site(image, path))
    return found


def _is_cached(image: Image, path: bytes) -> bool:
    """Whether a directory lies in an unpacked package of conda's cache: `pkgs/NAME-VERSION-BUILD/info/index.json`."""
    head, between, tail = path.rpartition(b"/pkgs/")
    package = tail.partition(b"/")[0]
    return bool(between) and head + between + package + b"/info/index.json" in image.inventory.index


def _site(image: Image, directory: bytes) -> Site:
    match = _SITE.fullmatch(directory)
    prefix = (match[1] or b"/") if match else directory
    if match is None or prefix == b"/":  # no environment has the root as its own
        site = Site(directory=directory, prefix=directory, base=directory)
    else:
        debian = match[5] == b"dist" and prefix in _DEBIAN
        site = Site(directory=directory, prefix=prefix, base=_DEBIAN[0] if debian else prefix)
        site.implementation = "cpython" if match[2] == b"python" else "pypy"
        site.major, site.minor = int(match[3]), int(match[4]) if match[4] else _default_minor(image, prefix)
        _read_configuration(image, site)
        site.full = site.full or _full_version(image, site)
    site.further = [
        join(directory, line)
        for each in image.names(directory)
        if each.endswith(b".pth")
        for line in path_lines(image.read(directory + b"/" + each) or b"")
    ]
    return site


def _default_minor(image: Image, prefix: bytes) -> int | None:
    """The minor version of `python3`."""
    at = image.end(join(prefix, b"bin/python3"))
    match = None if at is None else _PYTHON.fullmatch(name(image.inventory.paths[at]))
    return int(match[2]) if match else None


def _read_configuration(image: Image, site: Site) -> None:
    """Read a virtual environment's pyvenv.cfg: `key = value` lines."""
    data = image.read(join(site.prefix, b"pyvenv.cfg"))
    if data is None:
        return
    pairs = (line.partition("=") for line in data.decode("utf-8", "surrogateescape").splitlines())
    settings = {key.strip().lower(): value.strip() for key, between, value in pairs if between}
    site.venv = True
    full = _FULL.match(settings.get("version") or settings.get("version_info") or "")
    site.full = full[0] if full and full[0].startswith(f"{site.major}.{site.minor}.") else ""
    if settings.get("include-system-site-packages", "").lower() == "true":
        site.home = settings.get("home", "").encode("utf-8", "surrogateescape")


def _full_version(image: Image, site: Site) -> str:
    """The version with its micro part, from conda's record of its Python or from Python's own header."""
    short = f"{site.major}.{site.minor}"
    for each in image.names(join(site.prefix, b"conda-meta")):
        version = each[len(b"python-") :].partition(b"-")[0].decode("ascii", "replace")
        if each.startswith(b"python-") and _FULL.fullmatch(version) and version.startswith(short + "."):
            return version
    header = join(site.prefix, b"include/python" + short.encode() + b"/patchlevel.h")
    match = re.search(rb'#define\s+PY_VERSION\s+"([0-9.]+[a-z0-9]*)"', image.read(header) or b"")
    version = match[1].decode() if match else ""
    return version if _FULL.fullmatch(version) and version.startswith(short + ".") else ""


class View:
    """Which sites an interpreter reads together. Make it once: it indexes all sites."""

    def __init__(self, image: Image, sites: list[Site]) -> None:
        self._image, self._sites = image, sites
        self._by_base: dict[bytes, list[int]] = {}
        self._by_directory = {site.directory: index for index, site in enumerate(sites)}
        for index, site in enumerate(sites):
            self._by_base.setdefault(site.base, []).append(index)
        self._installed = [index for index, site in enumerate(sites) if not site.venv]

    def of(self, index: int) -> list[int]:
        """The sites whose distributions those of site `index` can import, as indices; its own first."""
        site = self._sites[index]
        others = list(self._by_base[site.base])
        if site.home is not None:
            others += self._by_base.get(self._system(site.home), [])
        if site.prefix.endswith(_USER):
            others += self._installed
        fitting = [other for other in others if self._sites[other].fits(site)]
        added = [self._by_directory[directory] for directory in site.further if directory in self._by_directory]
        return list(dict.fromkeys([index, *fitting, *added]))

    def _system(self, home: bytes) -> bytes:
        """The prefix of the interpreter that lies in the directory `home`."""
        at = self._image.end(join(b"/", home))
        return parent(self._image.inventory.paths[at]) if at is not None else parent(join(b"/", home))
