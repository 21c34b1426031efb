"""Components: software that no package manager knows: RStudio Server with what it bundles, and what people unpacked.

Sources: RStudio Server's packages for Debian (the layout of /usr/lib/rstudio-server); the Filesystem Hierarchy Standard
3.0, sections 3.13 (/opt) and 4.9 (/usr/local); the GNU Coding Standards, section 7.2.5 (installation directories).
The rule: each entry of /opt is one component; in /usr/local, everything with the same name is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from slimagent.inventory.reader import Image
from slimagent.inventory.rows import innermost
from slimagent.model.inventory import Found, Package, PackageKind
from slimagent.paths.algebra import ancestors, name, parent, to_text, within

_RSTUDIO = b"/usr/lib/rstudio-server"
_PARTS = ("quarto", "pandoc", "node", "copilot")  # how the names of what it bundles begin, in bin/
_NEEDS = {"rstudio-server": ("quarto", "pandoc"), "quarto": ("pandoc",), "copilot": ("node",)}
_TOOLS = re.compile(rb"/usr/lib/rstudio-server/bin/quarto/bin/tools/(?:.*/)?pandoc", re.DOTALL)
_PROGRAMS = (b"/usr/local/bin", b"/usr/local/sbin", b"/usr/bin", b"/usr/sbin")

_LOCAL = b"/usr/local"
_MULTIARCH = rb"(?:/[a-z0-9_]+-linux-gnu[a-z0-9]*)?"
# The directories of /usr/local that all components share, and how file names there contain the component's name. Each
# pattern has a fixed depth, so that the image cannot make `_local` recurse without end.
_SHARED = tuple(
    (re.compile(directory), re.compile(extra, re.DOTALL))
    for directory, extra in (
        (rb"/(?:bin|sbin|libexec|src|games|share)", rb"(.+)"),
        (rb"/share/(?:doc|licenses|metainfo)", rb"(.+)"),
        (rb"/share/(?:icons(?:/[^/]+){0,3}|pixmaps|applications)", rb"(.+?)(?:\.(?:png|svg|xpm|desktop))?"),
        (rb"/share/(?:bash-completion(?:/completions)?|zsh(?:/site-functions)?)", rb"_?(.+)"),
        (rb"/share/fish(?:/vendor_(?:completions|functions|conf)\.d)?", rb"(.+?)(?:\.fish)?"),
        (rb"/lib(?:32|64)?" + _MULTIARCH, rb"(?:lib(?!\.))?(.+?)(?:\.so(?:\.[0-9.]+)?|\.l?a)?"),
        (rb"/(?:lib(?:32|64)?" + _MULTIARCH + rb"|share)/(?:pkgconfig|cmake|aclocal)", rb"(?:lib)?(.+?)(?:\.pc|\.m4)?"),
        (rb"/include" + _MULTIARCH, rb"(.+?)(?:\.h|\.hh|\.hpp|\.hxx)?"),
        (rb"/etc(?:/[^/]+\.d)?", rb"(.+?)(?:\.conf|\.cfg|\.ini|\.ya?ml|\.toml|\.json|\.sh|\.d)?"),
        (rb"/(?:share/)?man(?:/[^/]+){0,2}", rb"(.+?)(?:\.[0-9ln][a-z]*)?(?:\.gz|\.bz2|\.xz|\.zst)?"),
        (rb"/share/info", rb"(.+?)(?:\.info(?:-[0-9]+)?)?(?:\.gz|\.bz2|\.xz|\.zst)?"),
        (rb"/share/locale(?:/[^/]+){0,2}", rb"(.+?)(?:\.mo)?"),
    )
)
# Directories that exist before any package manager installs into them.
_STANDING = re.compile(rb"/usr/local/lib/(?:python3[^/]*/(?:dist|site)-packages|R/(?:site-)?library)")


@dataclass(slots=True)
class _Part:
    """A component under construction: the ranges of entries (from, to) that it may own."""

    package: Package
    rows: list[tuple[int, int]] = field(default_factory=list)
    links: list[int] = field(default_factory=list)


def _nobody(at: int) -> bool:
    return False


def find(image: Image, claimed: Callable[[int], bool] = _nobody) -> list[Found]:
    """Every component, RStudio Server's first, the others by name.

    A component unpacked by hand owns only the entries that nobody else has `claimed`; without a regular file among them
    it is left out. Shared directories, and those that hold others' files, belong to no component. RStudio Server may
    also be a Debian package: its entries then have two owners.
    """
    rstudio = _rstudio(image)
    by_hand = _by_hand(image)
    _link(image, [*rstudio, *by_hand], claimed)
    found = [_own(image, each, _nobody) for each in rstudio]
    _require(found)
    for each in by_hand:
        component = _own(image, each, claimed)
        if any(image.is_file(at) for at in component.files):
            found.append(component)
    return found


def _rstudio(image: Image) -> list[_Part]:
    """RStudio Server, if present, and the components it bundles, each as ranges of entries."""
    if _RSTUDIO + b"/bin/rserver" not in image.inventory.index:
        return []
    below = image.below(_RSTUDIO)
    rows = [(below.start - 1, below.stop, "rstudio-server")]
    for at in below:
        inner = _bundled(image.inventory.paths[at])
        if inner:
            rows.append((at, max(image.below(image.inventory.paths[at]).stop, at + 1), inner))
    parts = {"rstudio-server": _Part(Package(kind=PackageKind.COMPONENT, name="rstudio-server"))}
    for start, stop, title in innermost(rows):
        package = Package(kind=PackageKind.COMPONENT, name=title, place=_RSTUDIO)
        parts.setdefault(title, _Part(package)).rows.append((start, stop))
    return list(parts.values())


def _bundled(path: bytes) -> str | None:
    """The name of the bundled component that begins at a path below RStudio Server, or None. Quarto bundles pandoc."""
    if _TOOLS.fullmatch(path):
        return "pandoc"
    if parent(path) != _RSTUDIO + b"/bin":
        return None
    return next((part for part in _PARTS if name(path).startswith(part.encode())), None)


def _require(found: list[Found]) -> None:
    """RStudio Server does not work without its quarto and pandoc, nor quarto without pandoc."""
    at = {each.package.name: number for number, each in enumerate(found)}
    for each in found:
        for wanted in _NEEDS.get(each.package.name, ()):
            if wanted in at:
                each.requires.append((at[wanted], wanted))


def _by_hand(image: Image) -> list[_Part]:
    """What is in /opt and /usr/local, grouped by name."""
    parts: dict[str, _Part] = {}
    for key, start, stop in (*_opt(image), *_local(image, _LOCAL)):
        title = to_text(key)
        part = parts.setdefault(title, _Part(Package(kind=PackageKind.COMPONENT, name=title)))
        part.rows.append((start, stop))
    return [parts[title] for title in sorted(parts)]


def _opt(image: Image) -> Iterator[tuple[bytes, int, int]]:
    for start, stop in _children(image, b"/opt"):
        yield name(image.inventory.paths[start]), start, stop


def _local(image: Image, directory: bytes) -> Iterator[tuple[bytes, int, int]]:
    """What is below a shared directory, as name and range of entries; it descends into shared directories only."""
    shape = _shape(directory)
    for start, stop in _children(image, directory):
        path = image.inventory.paths[start]
        if image.is_directory(start) and _shape(path) is not None:
            yield from _local(image, path)
        elif start not in image.inventory.targets or _shape(path) is None:  # /usr/local/man is a link on Debian
            stem = shape.fullmatch(name(path)) if shape is not None else None
            yield stem[1] if stem else name(path), start, stop


def _shape(directory: bytes) -> re.Pattern[bytes] | None:
    """The pattern of file names in a shared directory of /usr/local; None if it is not shared."""
    rest = directory[len(_LOCAL) :]
    return next((extra for shared, extra in _SHARED if shared.fullmatch(rest)), None)


def _children(image: Image, directory: bytes) -> Iterator[tuple[int, int]]:
    """The ranges of entries in a directory: each child with everything below it."""
    below = image.below(directory)
    here = below.start
    while here < below.stop:
        stop = max(image.below(image.inventory.paths[here]).stop, here + 1) if image.is_directory(here) else here + 1
        yield here, stop
        here = stop


def _link(image: Image, parts: list[_Part], claimed: Callable[[int], bool]) -> None:
    """Give links to a component's files to it: programs are unpacked to one place and linked to from another."""
    homes: dict[bytes, _Part] = {}
    rows: dict[int, _Part] = {}
    for part in parts:
        for start, stop in part.rows:
            homes[image.inventory.paths[start]] = part
            if stop == start + 1 and start in image.inventory.targets:
                rows[start] = part
    linked = {start: start + 1 for directory in _PROGRAMS for start, _ in _children(image, directory)}
    for at in sorted({*linked, *rows} & image.inventory.targets.keys()):
        end = image.end(image.inventory.paths[at])
        if end is None or claimed(at):
            continue
        home = _home(homes, image.inventory.paths[end])
        if home is None or home is rows.get(at):
            continue
        if at in rows:
            rows[at].rows.remove((at, at + 1))
        home.links.append(at)


def _home(homes: dict[bytes, _Part], path: bytes) -> _Part | None:
    """The innermost component that `path` lies in."""
    return next((homes[each] for each in (path, *ancestors(path)) if each in homes), None)


def _own(image: Image, part: _Part, claimed: Callable[[int], bool]) -> Found:
    """The component with the entries that it owns: unclaimed ones, and directories that hold nothing else."""
    files = list(part.links)
    shared: set[bytes] = set()
    paths = image.inventory.paths
    for start, stop in part.rows:
        for at in range(stop - 1, start - 1, -1):  # backwards: a directory's content before the directory
            path = paths[at]
            standing = within(path, _LOCAL) and _STANDING.fullmatch(path) and not image.is_file(at)
            if claimed(at) or path in shared or standing:
                shared.add(parent(path))
            else:
                files.append(at)
    return Found(package=part.package, files=sorted(files))
