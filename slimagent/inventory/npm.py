"""npm packages: what lies in a folder `node_modules`, whoever put it there (npm, yarn, pnpm, an application's build).

Sources: npm's manual pages package.json(5), folders(5) and package-lock-json(5) (which has the hidden lock file), and
"Loading from node_modules folders" in the chapter "Modules" of Node.js's documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from slimagent.inventory import package_json
from slimagent.inventory.reader import Image
from slimagent.inventory.rows import innermost
from slimagent.model import Found, Package
from slimagent.paths import name, parent, to_text

_MANIFEST = b"/package.json"
_LOCK = b"/node_modules/.package-lock.json"
_LOCK_LIMIT = 1 << 26  # bytes
# A name that begins with a dot is the manager's own: .bin, .cache, .pnpm.
_LOCATION = re.compile(rb"(.*)/node_modules/((?:@[^/]+/)?[^/@.][^/]*)", re.DOTALL)


def find(image: Image) -> list[Found]:
    """Every npm package, by path. Its place is the folder that holds its `node_modules`, its name that of its folder.

    The folder's name and not the manifest's: two aliases of one package may lie side by side. A package that is a link
    to a folder elsewhere (`npm link`) owns the link alone. Reading a manifest is how Node resolves a module, so nothing
    is identity.
    """
    tree = _Tree(image)
    tree.folders()
    tree.links()
    tree.share_out()
    for at in range(len(tree.found)):
        tree.require(at)
    tree.require_parts()
    tree.record()
    return tree.found


class _Tree:
    """The packages of the image while they are put together; `None` stands for one whose manifest is damaged."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.found: list[Found] = []
        self._inventory = image.inventory
        # The folders with a manifest, the root's as an empty path.
        self._manifested = [path[: -len(_MANIFEST)] for path in self._inventory.paths if path.endswith(_MANIFEST)]
        self._real: list[bytes] = []  # by package: the folder that its code is in
        self._manifests: list[dict[str, Any]] = []
        self._at: dict[bytes, int | None] = {}  # location, also of a link, to package
        self._homes: dict[bytes, int | None] = {}  # the folder that the code is in, to package
        self._parts: list[tuple[int, int, int | None]] = []  # rows of entries (from, to) that a package has to itself

    def folders(self) -> None:
        """Packages that are folders."""
        index = self._inventory.index
        for folder in sorted((path for path in self._manifested if path in index), key=index.__getitem__):
            location = _LOCATION.fullmatch(folder)
            if location is None:
                continue
            below = self.image.below(folder)
            package = self._add(location, folder)
            self._homes[folder] = package
            self._parts.append((index[folder], below.stop, package))

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
        folder = self._inventory.paths[end]
        if folder in self._homes:
            self._at[location[0]] = self._homes[folder]
        elif (b"" if folder == b"/" else folder) + _MANIFEST in self._inventory.index:
            self._homes[folder] = self._add(location, folder)
        else:
            return
        self._parts.append((at, at + 1, self._at[location[0]]))

    def _add(self, location: re.Match[bytes], folder: bytes) -> int | None:
        """The package at a location whose code is in `folder`; None if its manifest is not understood."""
        self._at[location[0]] = None
        path = (b"" if folder == b"/" else folder) + _MANIFEST
        manifest = package_json.manifest(self.image, path)
        if manifest is None:
            return None
        if not _is_sound(manifest):
            self.image.problem(path, "the dependencies are not an object")
            return None
        package = Package(
            kind="npm",
            name=to_text(location[2]),
            version=package_json.text(manifest.get("version")),
            place=location[1] or b"/",
        )
        self._at[location[0]] = len(self.found)
        self.found.append(Found(package=package))
        self._real.append(folder)
        self._manifests.append(manifest)
        return len(self.found) - 1

    def _inside(self, path: bytes) -> int | None:
        """The innermost package in whose folder `path` lies."""
        for folder in _ancestors(path):
            if folder in self._homes:
                return self._homes[folder]
        return None

    def share_out(self) -> None:
        """Give each row of entries to its package, less the rows inside it that are another's."""
        for start, stop, package in innermost(self._parts):
            if package is not None:
                self.found[package].files.extend(range(start, stop))

    def require(self, at: int) -> None:
        """Fill in what package `at` requires by its own manifest."""
        self._require(at, self._manifests[at], self._real[at])

    def require_parts(self) -> None:
        """The same for programs inside packages, with `node_modules` of their own (VS Code inside code-server)."""
        index = self._inventory.index
        for folder in self._manifested:
            if folder + b"/node_modules" not in index or _LOCATION.fullmatch(folder) is not None:
                continue
            package = self._inside(folder)
            manifest = None if package is None else package_json.manifest(self.image, folder + _MANIFEST)
            if package is not None and manifest is not None and _is_sound(manifest):
                self._require(package, manifest, folder)

    def _require(self, at: int, manifest: dict[str, Any], home: bytes) -> None:
        """What package `at` requires by a manifest in the folder `home`, looked up as Node does.

        That is in each `node_modules` on the way to the root. An optional dependency that is installed is required
        (programs for one platform come that way), one that is not is not missing.
        """
        each = self.found[at]
        taken = {at, *(known for known, _ in each.requires)}
        optional = manifest.get("optionalDependencies") or {}
        folders = self._search(home)
        for wanted, version in {**(manifest.get("dependencies") or {}), **optional}.items():
            text = f"{wanted}@{version}" if isinstance(version, str) else wanted
            places = (folder + wanted.encode() for folder in folders)
            there = next((self._at[place] for place in places if place in self._at), None)
            if there is None:
                if wanted not in optional:
                    each.missing.append(text)
            elif there not in taken:
                taken.add(there)
                each.requires.append((there, text))

    def _search(self, folder: bytes) -> list[bytes]:
        """The `node_modules` folders that are there for code in `folder`, with a slash at the end, nearest first."""
        candidates = ((b"" if each == b"/" else each) + b"/node_modules" for each in _ancestors(folder))
        return [each + b"/" for each in candidates if each in self._inventory.index]

    def record(self) -> None:
        """Note the packages' places in npm's hidden lock files: one beside each tree that npm itself installed."""
        for path in [path for path in self._inventory.paths if path.endswith(_LOCK)]:
            lock = package_json.read(self.image, path, _LOCK_LIMIT)
            packages = lock.get("packages") if isinstance(lock, dict) else None
            if not isinstance(packages, dict):
                if lock is not None:
                    self.image.problem(path, "not a lock file of npm's")
                continue
            for key in packages:
                package = self._at.get(path[: -len(_LOCK)] + b"/" + key.encode())
                if package is not None:
                    self.found[package].records.append((path, "npm-lock", key))


def _is_sound(manifest: dict[str, Any]) -> bool:
    """Whether the dependencies in a manifest are what they have to be."""
    return all(isinstance(manifest.get(key) or {}, dict) for key in ("dependencies", "optionalDependencies"))


def _ancestors(path: bytes) -> Iterator[bytes]:
    """A path and every folder above it, the root last."""
    while path != b"/":
        yield path
        path = parent(path)
    yield path
