"""Python distributions, in any number of environments: what `pip list` shows, and the files that each one owns.

Found by their `.dist-info` (PEP 376, PEP 627), `.egg-info` and `.egg-link` (setuptools' "The Internal Structure of
Python Eggs") in directories named `site-packages` or `dist-packages`. Formats in `python_metadata`, environments in
`python_sites`, editable installs in `python_editable`, requirements in `python_requires`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from packaging.utils import canonicalize_name

from slimagent.inventory import python_metadata as meta
from slimagent.inventory.own_directories import listed_files, sole_holders, whole_directories
from slimagent.inventory.python_editable import Sources
from slimagent.inventory.python_projects import Project, projects
from slimagent.inventory.python_requires import Installed, Requirements, environments, machine_name
from slimagent.inventory.python_sites import Site, View, find_sites
from slimagent.inventory.reader import Image, too_long
from slimagent.model.inventory import EDITABLE, REQUIREMENTS, UNCLEAR, Description, Found, Package, PackageKind
from slimagent.paths.algebra import join, name, parent, to_text, within

_BYTECODE = b"__pycache__"
_ENDINGS = (b".dist-info", b".egg-info", b".egg-link", b".egg")


@dataclass(slots=True, kw_only=True)
class _Dist:
    """A distribution under construction. `info` describes it, `link` is its .egg-link, `root` its unpacked .egg.

    `claims` are its entries; `recorded`: they come from a list; `outside`: it lists these, too, but they lie outside of
    its environment; `in_place`: its source is used where it lies.
    """

    site: int
    info: bytes
    name: str
    version: str
    requires: tuple[str, ...]
    licenses: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    outside: list[int] = field(default_factory=list)
    link: bytes | None = None
    source: bytes | None = None
    root: bytes | None = None
    recorded: bool = False
    in_place: bool = False
    claims: set[int] = field(default_factory=set)


def find(image: Image) -> list[Found]:
    """Every distribution of the image, by site directory and name of its record; `place` is the site directory.

    A damaged record is noted as a problem; what can be read of it is used, as long as it has a name.
    """
    sites = find_sites(image)
    dists = [dist for index, site in enumerate(sites) for dist in _dists(image, index, site)]
    for dist in dists:
        _claim_recorded(image, sites[dist.site], dist)
    _claim_modules(image, sites, dists, _holders(image, sites, dists))
    _claim_directories(image, sites, dists, _holders(image, sites, dists))
    _claim_sources(image, sites, dists)
    found = [_found(image, sites[dist.site], dist) for dist in dists]
    own = projects(image, sites)
    _require(image, sites, dists, own, found)
    return found


def _dists(image: Image, index: int, site: Site) -> Iterable[_Dist]:
    for each in image.names(site.directory):
        stem, ending = each, b""
        for ending in _ENDINGS:
            if each.endswith(ending):
                stem = each[: -len(ending)]
                break
        if stem is each:
            continue
        path = site.directory + b"/" + each
        if each.startswith(b"~"):  # pip's name for what it is about to remove
            image.problem(path, "left behind by a removal that was cut short")
            continue
        dist = _linked(image, index, path, stem) if ending == b".egg-link" else _dist(image, index, path, stem)
        if dist is not None:
            yield dist


def _dist(image: Image, index: int, path: bytes, stem: bytes) -> _Dist | None:
    """The distribution recorded at `path`; None, and a problem, if the record has no name."""
    info, root = path, None
    if path.endswith(b".egg"):
        info, root = path + b"/EGG-INFO", path
        if info not in image.inventory.index:
            image.problem(path, "a zipped egg: not looked into")
            return None
    modern = path.endswith(b".dist-info")
    at = image.end(info)
    single = at is not None and image.is_file(at) and not modern  # distutils wrote a file
    source = info if single else info + (b"/METADATA" if modern else b"/PKG-INFO")
    data = image.read(source)
    if data is None:
        image.problem(path, "has no " + to_text(name(source)), is_known=True)
    fields = meta.metadata(data or b"")
    called, version = meta.from_directory_name(stem.decode("utf-8", "replace"))
    if meta.is_name(fields.name):
        called = fields.name
    elif not meta.is_name(called):
        image.problem(path, "has no valid name of a distribution")
        return None
    version = fields.version if fields.version.isprintable() and fields.version else version
    why = too_long(name=called, version=version)
    if why:
        image.problem(path, why)
        return None
    requires = fields.requires
    if not (requires or modern or single):
        requires = meta.egg_requires(image.read(info + b"/requires.txt") or b"")
    return _Dist(
        site=index,
        info=info,
        name=canonicalize_name(called),
        version=version,
        requires=requires,
        licenses=fields.licenses,
        terms=(UNCLEAR,) if data is None else meta.license_terms(data),
        root=root,
    )


def _linked(image: Image, index: int, path: bytes, stem: bytes) -> _Dist | None:
    """What `setup.py develop` left: a line with the directory of the egg-info, and one with the project's path."""
    data = image.read(path) or b""
    rows = [row.strip() for row in data.split(b"\n") if row.strip()]
    at = image.end(rows[0]) if rows and rows[0].startswith(b"/") and b"\0" not in data else None
    if at is None:
        image.problem(path, "leads to nothing in the image")
        return None
    directory = image.inventory.paths[at]
    wanted = canonicalize_name(stem.decode("utf-8", "replace"))
    for each in image.names(directory):
        if each.endswith(b".egg-info"):
            called, _ = meta.from_directory_name(each[: -len(b".egg-info")].decode("utf-8", "replace"))
            if canonicalize_name(called) == wanted:
                dist = _dist(image, index, join(directory, each), stem)
                if dist is not None:
                    dist.link, dist.source = path, join(directory, rows[1] if len(rows) > 1 else b".")
                return dist
    image.problem(path, f"no egg-info of that name in {to_text(directory)}")
    return None


def _claim_recorded(image: Image, site: Site, dist: _Dist) -> None:
    """Claim what RECORD lists, or else an egg's installed-files.txt (paths relative to the egg-info)."""
    if dist.root is not None:
        dist.claims, dist.recorded = _tree(image, dist.root), True
        return
    path, base = dist.info + b"/RECORD", site.directory
    data = image.read(path)
    if data is None:
        path, base = dist.info + b"/installed-files.txt", dist.info
        data = image.read(path)
        if data is None or dist.link is not None:
            return
    rows, whole = meta.recorded(data)
    if not whole or not rows:
        image.problem(path, "cut short: some files may have no owner" if rows else "empty", is_known=True)
    dist.recorded = bool(rows)
    listed = (base + b"/" + row if row[:1] not in (b".", b"/") else _joined(base, row) for row in rows)
    claims, dist.outside = listed_files(image, path, listed, site.directory + b"/", site.prefix)
    dist.claims |= claims


def _joined(directory: bytes, path: bytes) -> bytes:
    """`path` relative to `directory`, which contains no links: a leading `..` is a plain step upwards."""
    while path.startswith(b"../"):
        directory, path = parent(directory), path[3:].lstrip(b"/")
    return path if path.startswith(b"/") else (directory if directory != b"/" else b"") + b"/" + path


def _holders(image: Image, sites: list[Site], dists: list[_Dist]) -> dict[bytes, int | None]:
    """Who owns each directory by the claims so far; None if several distributions do."""
    tops = [sites[dist.site].prefix for dist in dists]
    return sole_holders(image.inventory.paths, [dist.claims for dist in dists], tops)


def _claim_modules(image: Image, sites: list[Site], dists: list[_Dist], holders: dict[bytes, int | None]) -> None:
    """Without a record, claim the top-level modules that nobody else has, and the scripts of the entry points."""
    bare = [dist for dist in dists if not dist.recorded and dist.link is None]
    listed = {id(dist): _top_level(image, dist) for dist in bare}
    rivals = Counter((dist.site, top) for dist in bare for top in listed[id(dist)])
    claimed = set().union(*(dist.claims for dist in dists)) if dists else set()
    stems: dict[int, dict[bytes, list[bytes]]] = {}
    for dist in bare:
        directory = sites[dist.site].directory
        if dist.site not in stems:
            stems[dist.site] = _by_stem(image.names(directory))
        entries: set[int] = set()
        shared = not listed[id(dist)]
        for top in listed[id(dist)]:
            alone = rivals[dist.site, top] == 1 and directory + b"/" + top not in holders
            shared = shared or not alone
            for each in stems[dist.site].get(top, ()) if alone else ():
                if each == top or each.endswith((b".py", b".so")):
                    entries |= _tree(image, directory + b"/" + each)
        if shared:
            entries |= _from_sources(image, directory, dist)
        dist.claims |= entries - claimed
    for dist in dists:
        if not dist.recorded:
            dist.claims |= _scripts(image, sites[dist.site], dist) - claimed


def _top_level(image: Image, dist: _Dist) -> set[bytes]:
    names = meta.lines(image.read(dist.info + b"/top_level.txt") or b"")
    found = {each.encode("utf-8", "surrogateescape") for each in names}
    return {each for each in found if b"/" not in each and b"." not in each and b"\0" not in each}


def _by_stem(names: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Names by the part before their first dot: a module's directory, its source, its extension module."""
    found: dict[bytes, list[bytes]] = {}
    for each in names:
        found.setdefault(each.partition(b".")[0], []).append(each)
    return found


def _tree(image: Image, path: bytes) -> set[int]:
    """The entry at `path` and all below it, except bytecode."""
    at = image.inventory.index[path]
    found, paths, end = {at}, image.inventory.paths, image.below(path).stop
    at += 1
    while at < end:
        if name(paths[at]) == _BYTECODE:
            at = image.below(paths[at]).stop
            continue
        found.add(at)
        at += 1
    return found


def _from_sources(image: Image, directory: bytes, dist: _Dist) -> set[int]:
    """The installed files of SOURCES.txt, which lists the source tree; packages may be in its `src` or `lib`."""
    found = set()
    for row in (image.read(dist.info + b"/SOURCES.txt") or b"").split(b"\n"):
        path = row.strip()
        for start in (b"src/", b"lib/"):
            path = path[len(start) :] if path.startswith(start) else path
        at = image.inventory.index.get(directory + b"/" + path)
        if at is not None and b"/" in path and not image.is_directory(at):
            found.add(at)
    return found


def _scripts(image: Image, site: Site, dist: _Dist) -> set[int]:
    names = meta.scripts(image.read(dist.info + b"/entry_points.txt") or b"")
    paths = (join(site.prefix, b"bin/" + each.encode("utf-8", "surrogateescape")) for each in names)
    found = (image.inventory.index.get(path) for path in paths)
    return {at for at in found if at is not None and not image.is_directory(at)}


def _claim_directories(image: Image, sites: list[Site], dists: list[_Dist], holders: dict[bytes, int | None]) -> None:
    """Claim the directories that belong to one distribution: by the records in its site directory, elsewhere only those
    that hold nothing else."""
    index = image.inventory.index
    elsewhere: dict[int, list[bytes]] = {}
    for directory, owner in holders.items():
        if owner is None:
            continue
        site = sites[dists[owner].site].directory
        if directory.startswith(site + b"/"):
            dists[owner].claims.add(index[directory])
        elif not within(site, directory):  # nobody owns a site directory, even if only one distribution is in it
            elsewhere.setdefault(owner, []).append(directory)
    for owner, directories in elsewhere.items():
        dists[owner].claims.update(whole_directories(image, directories, dists[owner].claims))


def _claim_sources(image: Image, sites: list[Site], dists: list[_Dist]) -> None:
    """Claim the source trees of editable distributions; a nested tree belongs to its own distribution."""
    sources, paths = Sources(image, sites), image.inventory.paths
    trees: dict[int, list[bytes]] = {}
    for number, dist in enumerate(dists):
        site = sites[dist.site]
        own = [paths[at] for at in sorted(dist.claims) if parent(paths[at]) == site.directory]
        found = sources.trees(site, dist.info, own, dist.source)
        if found:
            trees[number] = found
    every = {tree for each in trees.values() for tree in each}
    claimed = set().union(*(dist.claims for dist in dists)) if trees else set()
    for number, own_trees in trees.items():
        dist, others = dists[number], every.difference(own_trees)
        dist.in_place = bool(own_trees)
        for tree in own_trees:
            dist.claims.update(at for at in sources.entries(tree, others) if at not in claimed)


def _found(image: Image, site: Site, dist: _Dist) -> Found:
    at = image.inventory.index[dist.info]
    identity = {at, *image.below(dist.info)}
    if dist.link is not None:
        identity.add(image.inventory.index[dist.link])
        dist.claims |= _shared_path_file(image, site, parent(dist.info))
    kind, section = PackageKind.PYTHON, EDITABLE if dist.in_place else ""
    return Found(
        package=Package(kind=kind, name=dist.name, version=dist.version, place=site.directory, section=section),
        description=Description(licenses=dist.licenses),
        files=sorted(dist.claims | identity),
        identity=sorted(identity),
        terms=dist.terms,
        outside=dist.outside,
    )


def _shared_path_file(image: Image, site: Site, directory: bytes) -> set[int]:
    """easy-install.pth, if a line of it leads to `directory`; every distribution with such a line owns it."""
    path = site.directory + b"/easy-install.pth"
    for line in meta.path_lines(image.read(path) or b""):
        at = image.end(join(site.directory, line)) if b"\0" not in line else None
        if at is not None and image.inventory.paths[at] == directory:
            return {image.inventory.index[path]}
    return set()


def _require(image: Image, sites: list[Site], dists: list[_Dist], own: list[Project], found: list[Found]) -> None:
    """Fill in what the distributions require, and what of that is missing; and append the applications.

    Which environment runs an application is not known: its requirements are looked up in each.
    """
    machine = machine_name(image.read(b"/bin/sh") or b"")
    view = View(image, sites)
    asking = [Installed(index, "", project.requires) for project in own for index in range(len(sites))]
    requirements = Requirements(
        [*(Installed(dist.site, dist.name, dist.requires) for dist in dists), *asking],
        [view.of(index) for index in range(len(sites))],
        [environments(site, machine) for site in sites],
    )
    for number, dist in enumerate(dists):
        resolution = requirements.of(number)
        found[number].requires, found[number].missing = resolution.requires, resolution.missing
        for text in resolution.odd:
            image.problem(dist.info, f"cannot parse the requirement {text[:80]}", is_known=True)
    for number, project in enumerate(own):
        first = len(dists) + number * len(sites)
        required = dict(each for at in range(first, first + len(sites)) for each in requirements.of(at).requires)
        package = Package(kind=PackageKind.PYTHON, name=project.name, place=project.place, section=REQUIREMENTS)
        found.append(Found(package=package, files=[project.at], requires=sorted(required.items())))
