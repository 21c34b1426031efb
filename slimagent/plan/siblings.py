"""Keep or drop the data files of one directory together: half of them give wrong answers without an error. Pure.

A program that finds some of its language profiles, dictionaries, tables or fonts goes on with those. Without any of
them it fails, and says what it misses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from slimagent.model.inventory import Inventory, PackageKind
from slimagent.model.reason import ReasonKind
from slimagent.paths.algebra import name, parent
from slimagent.plan.naming import Naming
from slimagent.plan.parts import Part

_SUFFIX = re.compile(rb".*(\.[A-Za-z][A-Za-z0-9]{0,7})", re.DOTALL)
# Extras that a browser, an editor, a compiler or a person opens, and hardly ever the package's own code.
_FOR_OTHERS = frozenset(
    b".js .mjs .cjs .jsx .ts .tsx .css .scss .sass .less .map .pyi .typed .md .markdown .adoc .rst .pod .h .hh .hpp"
    b" .hxx .cuh .cu .c .cc .cpp .cxx .f .f90 .pyx .pxd .pxi .po .pot .cmake".split()
)
_FEW = 50  # files whose names are looked for in code

_WITH_CODE = frozenset({PackageKind.PYTHON, PackageKind.NPM, PackageKind.VSCODE})

# Limits in budgets (levels.py).
UNKNOWN = 8  # a budget divided by this: nothing of a package that is only required was seen in use
_UNREAD = 20  # a directory of which nothing was read, of a package whose code could name it
_SOME = 340  # a directory of which something was read, or a single file that code names
_WHOLE = 2000  # a directory that code names


class Key(NamedTuple):
    """What the files of a group have in common."""

    directory: bytes
    suffix: bytes
    is_extra: bool
    name: bytes = b""  # of the file, if each file of its name is judged for itself or together


@dataclass(slots=True)
class Group:
    """Files of one package, directory and suffix: all of them, and those that have no reason yet."""

    entries: list[int] = field(default_factory=list)
    undecided: list[int] = field(default_factory=list)


def key(path: bytes, what: Part) -> Key:
    """The group that a file belongs to."""
    suffix = _SUFFIX.fullmatch(name(path))
    own = name(path) if what is Part.SINGLE else b""
    return Key(parent(path), suffix[1] if suffix else b"", what is not Part.DATA, own)


def joined(groups: dict[Key, Group], paths: Sequence[bytes]) -> dict[Key, Group]:
    """The same groups, but those of one file of the same name in directories side by side are one: `de/profile.json`.

    Two such directories may be chance.
    """
    alone: dict[tuple[bytes, bytes, bytes, bool], list[Key]] = {}
    for where, group in groups.items():
        if len(group.entries) == 1 and not where.name:
            called = name(paths[group.entries[0]])
            alone.setdefault((parent(where.directory), called, where.suffix, where.is_extra), []).append(where)
    found = dict(groups)
    for (directory, called, suffix, is_extra), members in alone.items():
        if len(members) > 2 and directory != b"/":
            whole = Group()
            for where in members:
                group = found.pop(where)
                whole.entries += group.entries
                whole.undecided += group.undecided
            found[Key(directory, suffix, is_extra, called)] = whole
    return found


class Siblings:
    """Decides about the groups of one package."""

    def __init__(self, inventory: Inventory, naming: Naming, kind: PackageKind, budget: int) -> None:
        self._inventory = inventory
        self._naming = naming
        self._budget = budget
        # Where there is code to look into, it names what it reads.
        self._unread = _UNREAD if kind in _WITH_CODE else _SOME

    def why(self, where: Key, group: Group, *, known: bool) -> ReasonKind | None:
        """Why the undecided files of a group stay, or None. `known`: the package was used."""
        is_extra, sizes, several = where.is_extra, self._inventory.sizes, len(group.entries) > 1
        largest = max(sizes[at] for at in group.undecided)
        total = sum(sizes[at] for at in group.entries)
        if not known:
            is_small = largest <= self._budget // UNKNOWN or (several and total <= self.limit(group, known=known))
            return ReasonKind.SMALL if is_small and not is_extra else None
        if largest <= self._budget and not is_extra:
            return ReasonKind.SMALL
        is_used = len(group.undecided) < len(group.entries)
        if several and total <= self.limit(group, known=known) and (is_used or not is_extra):
            return ReasonKind.SIBLING
        return ReasonKind.NAMED if self._is_named(where, group, total) else None

    def limit(self, group: Group, *, known: bool) -> int:
        """Up to how many bytes the files of such a group stay unread and unnamed."""
        if len(group.entries) == 1:
            return self._budget if known else self._budget // UNKNOWN
        is_used = len(group.undecided) < len(group.entries)
        return self._budget * ((_SOME if is_used else self._unread) if known else 1)

    def _is_named(self, where: Key, group: Group, total: int) -> bool:
        """Whether the package's code names one of the files or the directory."""
        directory, is_extra = where.directory, where.is_extra
        is_for_others = is_extra and not where.name and where.suffix.lower() in _FOR_OTHERS
        if total > _WHOLE * self._budget or is_for_others:
            return False
        if total <= _SOME * self._budget and len(group.undecided) <= _FEW:
            names = [name(self._inventory.paths[at]) for at in group.undecided]
            if self._naming.names_file(directory, names, programs=not is_extra):
                return True
        return len(group.entries) > 1 and not is_extra and self._naming.names_directory(directory)
