"""Find the trees of files that no package owns: an application, a database, a model. Each stays or goes whole. Pure."""

from __future__ import annotations

import stat
from array import array

from slimagent.model.inventory import Inventory, Owners, PackageKind
from slimagent.paths.algebra import ancestors, name, parent, within
from slimagent.paths.hierarchy import is_home, is_shared
from slimagent.paths.manifests import is_manifest

# Packages of the system, which lie in directories that they share. Those of other kinds lie inside applications, too.
_OF_SYSTEM = frozenset({PackageKind.DPKG, PackageKind.CONDA, PackageKind.COMPONENT})


class Trees:
    """The trees of an image: `roots` are their directories, `members` the entries of their regular files without owner.

    A tree begins at the topmost directory that is not shared (paths/hierarchy.py) and has no file of a system's package
    anywhere below it. Files directly in somebody's home, in /mnt, or in the root of an image without packages,
    are a tree of their own, and the trees in that directory lie beside it. `of` has each entry's tree, or -1.
    `manifests` are entries in which programs declare what they require, `links` symbolic links. `of_components` has the
    manifests in the directories of components, by the component's number.
    """

    def __init__(self, inventory: Inventory, owners: Owners) -> None:
        self.roots: list[bytes] = []
        self.members: list[array[int]] = []
        self.manifests: list[array[int]] = []
        self.links: list[array[int]] = []
        self.loose: dict[int, bytes] = {}  # the trees of files that lie directly in a shared directory, with that one
        self.of_components: dict[int, list[int]] = {}
        self.of = array("i", [-1]) * len(inventory)
        self._mixed = _mixed(inventory, owners)
        self._is_bare = not any(each.kind in (PackageKind.DPKG, PackageKind.CONDA) for each in owners.packages)
        self._homes = _homes(inventory, owners)
        self._at: dict[bytes, int] = {}  # directory, to its tree
        self._loose: dict[bytes, int] = {}  # shared directory, to the tree of the files in it
        for at, path in enumerate(inventory.paths):
            owner, mode = owners.of[at], inventory.modes[at]
            if owner >= 0 and not (declares(path, at, owners) and stat.S_ISREG(mode)):
                continue
            if stat.S_ISREG(mode):
                self._put(at, path, owners)
            elif stat.S_ISLNK(mode) and (tree := self._tree(parent(path))) >= 0:
                self.links[tree].append(at)

    def _put(self, at: int, path: bytes, owners: Owners) -> None:
        """Put a file without an owner, or a manifest, into its tree."""
        tree = self._tree(parent(path))
        if tree < 0:
            tree = self._lying_loose(path)
        if owners.of[at] >= 0:
            component = next((self._homes[each] for each in ancestors(path) if each in self._homes), -1)
            if tree >= 0:
                self.manifests[tree].append(at)
            elif component >= 0:
                self.of_components.setdefault(component, []).append(at)
        elif tree >= 0:
            self.of[at] = tree
            self.members[tree].append(at)

    def beside(self, tree: int) -> list[int]:
        """The trees in the directory of loose files: an application that was copied there has its parts in them."""
        if tree not in self.loose:
            return []
        directory = self.loose[tree]
        return [
            each
            for each, root in enumerate(self.roots)
            if each not in self.loose and parent(root) == directory and not name(root).startswith(b".")
        ]

    def _lying_loose(self, path: bytes) -> int:
        """The tree of the files that lie directly in a file's directory, or -1 if they are no application."""
        directory = parent(path)
        is_everybodys = not (is_home(directory) or (directory == b"/" and self._is_bare))
        if is_everybodys or name(path).startswith(b"."):
            return -1
        if directory not in self._loose:
            self._loose[directory] = self._new(directory)
            self.loose[self._loose[directory]] = directory
        return self._loose[directory]

    def _new(self, root: bytes) -> int:
        self.roots.append(root)
        self.members.append(array("I"))
        self.manifests.append(array("I"))
        self.links.append(array("I"))
        return len(self.roots) - 1

    def find(self, path: bytes) -> int:
        """The tree that a path lies in, or -1. The path may not exist."""
        return next((self._at[each] for each in (path, *ancestors(path)) if each in self._at), -1)

    def _tree(self, directory: bytes) -> int:
        """The tree that a directory lies in, or -1; a new one if it begins one."""
        way = [directory]
        while way[-1] != b"/" and way[-1] not in self._at:
            way.append(parent(way[-1]))
        found = self._at.get(way[-1], -1)
        for each in reversed(way):
            if found < 0 and each not in self._mixed and not is_shared(each):
                found = self._new(each)
            self._at[each] = found
        return found


def declares(path: bytes, at: int, owners: Owners) -> bool:
    """Whether an owned file declares what a program requires that no package manager installed.

    It is the only file of its package (inventory/npm.py, inventory/python_projects.py). Its author wrote it, like the
    unowned code beside it: no package manager could restore it.
    """
    if not is_manifest(path) or owners.weak[at] or b"/node_modules/" in path:
        return False
    owner = owners.of[at]
    return owners.packages[owner].kind in (PackageKind.NPM, PackageKind.PYTHON) and len(owners.files[owner]) == 1


def _mixed(inventory: Inventory, owners: Owners) -> set[bytes]:
    """The directories with a file of a system's package anywhere below them; of a conda package, in its environment.

    An environment can lie inside an application: `conda create -p ./env`.
    """
    tops = [package.place if package.kind == PackageKind.CONDA else b"/" for package in owners.packages]
    system = [package.kind in _OF_SYSTEM for package in owners.packages]
    of, modes = owners.of, inventory.modes
    holding: set[tuple[bytes, bytes]] = set()
    last = b""  # its files follow each other
    for at, path in enumerate(inventory.paths):
        owner = of[at]
        if owner < 0 or not system[owner] or not stat.S_ISREG(modes[at]):
            continue
        directory = path[: path.rindex(b"/")]
        if directory != last or tops[owner] != b"/":
            holding.add((directory or b"/", tops[owner]))
            last = directory
    mixed: set[bytes] = set()
    for directory, top in holding:
        for each in (directory, *ancestors(directory)):
            if each in mixed or not within(each, top):
                break
            mixed.add(each)
    return mixed


def _homes(inventory: Inventory, owners: Owners) -> dict[bytes, int]:
    """The directories in which components have files, with the component's number."""
    return {
        parent(inventory.paths[at]): number
        for number, package in enumerate(owners.packages)
        if package.kind == PackageKind.COMPONENT
        for at in owners.files[number]
    }
