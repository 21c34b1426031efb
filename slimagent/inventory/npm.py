"""npm packages: what is in a directory `node_modules`, whoever put it there (npm, yarn, pnpm, a build).

A program that was unpacked or copied (code-server's archive, an application in /srv) has a package.json with a
`node_modules` beside it, and is not in a `node_modules` itself. It is a package too, so that its dependencies stay
where it is used.

Sources: npm's manual pages package.json(5), folders(5) and package-lock-json(5) (for the hidden lock file), and
"Loading from node_modules folders" in the chapter "Modules" of Node.js's documentation.
"""

from __future__ import annotations

import re
from typing import Any

from slimagent.inventory import package_json
from slimagent.inventory.reader import LARGEST_JSON, Image, too_long
from slimagent.inventory.rows import innermost
from slimagent.model.edit import EditKind
from slimagent.model.inventory import Found, Package, PackageKind
from slimagent.paths.algebra import ancestors, name, parent, to_text

_MANIFEST = b"/package.json"
_MODULES = b"/node_modules"
_LOCK = _MODULES + b"/.package-lock.json"
_PART = "part of it"  # a requirement that no manifest states
# A name that begins with a dot is the manager's own: .bin, .cache, .pnpm.
_LOCATION = re.compile(rb"(.*)/node_modules/((?:@[^/]+/)?[^/@.][^/]*)", re.DOTALL)


def find(image: Image) -> list[Found]:
    """Every npm package, by path. Its place is the directory that holds its `node_modules`.

    Its name is the directory's, not the manifest's: two aliases of one package may exist side by side. A package that
    is a link to a directory elsewhere (`npm link`) owns only the link. Node reads manifests to resolve modules, so
    nothing counts as identity.

    Then every program outside of `node_modules`, by path. It owns only its manifest: Node reads it when the program's
    code asks for a package by name (LOAD_PACKAGE_SELF). Other readers say who owns the code.
    """
    tree = _Tree(image)
    tree.directories()
    tree.links()
    tree.share_out()
    for at in range(len(tree.found)):
        tree.require(at)
    tree.programs()
    tree.record()
    return tree.found


class _Tree:
    """The packages of the image under construction; `None` stands for a package with a damaged manifest."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.found: list[Found] = []
        self._inventory = image.inventory
        # The directories with a manifest, the root's as an empty path.
        self._manifested = [path[: -len(_MANIFEST)] for path in self._inventory.paths if path.endswith(_MANIFEST)]
        self._real: list[bytes] = []  # by package: the directory that its code is in
        self._manifests: list[dict[str, Any]] = []
        self._at: dict[bytes, int | None] = {}  # location, also of a link, to package
        self._homes: dict[bytes, int | None] = {}  # the directory that the code is in, to package
        self._programs: dict[bytes, int] = {}  # the directory of a program outside of node_modules, to package
        self._parts: list[tuple[int, int, int | None]] = []  # rows of entries (from, to) that a package has to itself

    def directories(self) -> None:
        """Packages that are directories."""
        index = self._inventory.index
        for directory in sorted((path for path in self._manifested if path in index), key=index.__getitem__):
            location = _LOCATION.fullmatch(directory)
            if location is None:
                continue
            below = self.image.below(directory)
            package = self._add(location, directory)
            self._homes[directory] = package
            self._parts.append((index[directory], below.stop, package))

    def links(self) -> None:
        """Packages that are links, links to packages, and links to their programs (in `.bin`, in /usr/local/bin)."""
        programs: list[int] = []
        for at, target in sorted(self._inventory.targets.items()):
            path = self._inventory.paths[at]
            inside = b"/node_modules/" in path
            location = _LOCATION.fullmatch(path) if inside else None
            if location is not None:
                self._link(at, location)
            elif b"node_modules/" in target or (inside and name(parent(path)) == b".bin"):
                programs.append(at)
        for at in programs:
            path = self._inventory.paths[at]
            end = self.image.end(path)
            package = None if end is None else self._inside(self._inventory.paths[end])
            # A link among a package's own files stays that package's, wherever it leads.
            if package is not None and (name(parent(path)) == b".bin" or self._inside(path) is None):
                self._parts.append((at, at + 1, package))

    def _link(self, at: int, location: re.Match[bytes]) -> None:
        end = self.image.end(location[0])
        if end is None:
            return
        directory = self._inventory.paths[end]
        if directory in self._homes:
            self._at[location[0]] = self._homes[directory]
        elif (b"" if directory == b"/" else directory) + _MANIFEST in self._inventory.index:
            self._homes[directory] = self._add(location, directory)
        else:
            return
        self._parts.append((at, at + 1, self._at[location[0]]))

    def _add(self, location: re.Match[bytes], directory: bytes) -> int | None:
        """The package at a location whose code is in `directory`; None if its manifest is not understood."""
        self._at[location[0]] = None
        path = (b"" if directory == b"/" else directory) + _MANIFEST
        manifest = package_json.manifest(self.image, path)
        if manifest is None:
            return None
        why = _why_unsound(manifest)
        if why:
            self.image.problem(path, why)
            return None
        package = Package(
            kind=PackageKind.NPM,
            name=to_text(location[2]),
            version=package_json.text(manifest.get("version")),
            place=location[1] or b"/",
        )
        self._at[location[0]] = len(self.found)
        description, terms = package_json.description(manifest, package.name), package_json.license_terms(manifest)
        self.found.append(Found(package=package, description=description, terms=terms))
        self._real.append(directory)
        self._manifests.append(manifest)
        return len(self.found) - 1

    def _inside(self, path: bytes) -> int | None:
        """The innermost package in whose directory `path` lies."""
        return next((self._homes[each] for each in (path, *ancestors(path)) if each in self._homes), None)

    def share_out(self) -> None:
        """Give each range of entries to its package, except the ranges inside it that belong to another."""
        for start, stop, package in innermost(self._parts):
            if package is not None:
                self.found[package].files.extend(range(start, stop))

    def require(self, at: int) -> None:
        """Fill in what package `at` requires by its own manifest."""
        self._require(at, self._manifests[at], self._real[at])

    def programs(self) -> None:
        """Programs with `node_modules` of their own, and what they require.

        Inside a package, such a program is part of it (VS Code in the npm package code-server). Elsewhere it becomes a
        package of its own, which requires the programs inside it.
        """
        parts: list[tuple[int, dict[str, Any], bytes]] = []
        for directory in self._manifested:
            if directory + _MODULES not in self._inventory.index or _LOCATION.fullmatch(directory) is not None:
                continue
            home, path = directory or b"/", directory + _MANIFEST
            manifest = package_json.manifest(self.image, path)
            if manifest is None:
                continue
            why = _why_unsound(manifest)
            if why:
                self.image.problem(path, why)
                continue
            package = self._inside(home)
            parts.append((self._program(home, path, manifest) if package is None else package, manifest, home))
        for part in parts:
            self._require(*part)
        for home, program in self._programs.items():
            outer = next((each for each in ancestors(home) if each in self._programs), None)
            if outer is not None:
                self.found[self._programs[outer]].requires.append((program, _PART))

    def _program(self, home: bytes, path: bytes, manifest: dict[str, Any]) -> int:
        """The new package for a program in the directory `home` with its manifest at `path`."""
        title = to_text(name(home)) or "/"
        version = package_json.text(manifest.get("version"))
        package = Package(kind=PackageKind.NPM, name=title, version=version, place=parent(home))
        self._programs[home] = len(self.found)
        description, terms = package_json.description(manifest, title), package_json.license_terms(manifest)
        files = [self._inventory.index[path]]
        self.found.append(Found(package=package, description=description, files=files, terms=terms))
        return self._programs[home]

    def _require(self, at: int, manifest: dict[str, Any], home: bytes) -> None:
        """What package `at` requires by a manifest in the directory `home`, looked up as Node does.

        That is in each `node_modules` on the way to the root. An optional dependency is required if it is installed
        (programs for one platform come that way); otherwise it is not missing.
        """
        each = self.found[at]
        taken = {at, *(known for known, _ in each.requires)}
        optional = manifest.get("optionalDependencies") or {}
        directories = self._search(home)
        for wanted, version in {**(manifest.get("dependencies") or {}), **optional}.items():
            text = f"{wanted}@{version}" if isinstance(version, str) else wanted
            places = (directory + wanted.encode() for directory in directories)
            there = next((self._at[place] for place in places if place in self._at), None)
            if there is None:
                if wanted not in optional:
                    each.missing.append(text)
            elif there not in taken:
                taken.add(there)
                each.requires.append((there, text))

    def _search(self, directory: bytes) -> list[bytes]:
        """The `node_modules` directories for code in `directory`, nearest first, each with a slash at its end.

        A `node_modules` may be a link (into a volume, to a shared installation): its target is used.
        """
        candidates = ((b"" if each == b"/" else each) + _MODULES for each in (directory, *ancestors(directory)))
        ends = (self.image.end(each) for each in candidates if each in self._inventory.index)
        return [self._inventory.paths[end] + b"/" for end in ends if end is not None]

    def record(self) -> None:
        """Note the packages' places in npm's hidden lock files: one beside each tree that npm itself installed."""
        for path in [path for path in self._inventory.paths if path.endswith(_LOCK)]:
            lock = package_json.read(self.image, path, LARGEST_JSON, is_known=True)
            packages = lock.get("packages") if isinstance(lock, dict) else None
            if not isinstance(packages, dict):
                if lock is not None:
                    self.image.problem(path, "not a lock file of npm's", is_known=True)
                continue
            for key in packages:
                package = self._at.get(path[: -len(_LOCK)] + b"/" + key.encode())
                if package is not None:
                    self.found[package].records.append((path, EditKind.NPM_LOCK, key))


def _why_unsound(manifest: dict[str, Any]) -> str:
    """Why a manifest describes no package; empty if it does."""
    if not all(isinstance(manifest.get(key) or {}, dict) for key in ("dependencies", "optionalDependencies")):
        return "the dependencies are not an object"
    return too_long(version=package_json.text(manifest.get("version")))
