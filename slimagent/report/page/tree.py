"""The bytes of an image as a tree in columns: image, package manager, package, directory, file. Pure.

Columns and not objects: an image has hundreds of thousands of files. Files below a size are counted in their directory,
by reason: nothing is lost, and a sum at any level is what the plan says.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise

from slimagent.model.plan import Plan, counted_entries
from slimagent.paths.algebra import name, parent, to_text
from slimagent.report.fates import Fates

NAMED = 100_000  # files that have a name of their own in the picture: the largest


class Sort(IntEnum):
    """What a node is."""

    IMAGE = 0
    MANAGER = 1
    PACKAGE = 2
    DIRECTORY = 3
    FILE = 4
    SMALL = 5  # several small files of one directory, with one reason


@dataclass(slots=True)
class Tree:
    """Nodes in columns, each before what it holds; `up` is the node that holds it, -1 for the first.

    `names` are as they are shown: a directory's is the path below the node that holds it. `bytes`, `saved` (what is
    stripped), `files` and `reason` (its index in the plan) are of leaves. `base` is the directory in which the names
    below a package or a manager begin. `entry` is the index of a file's entry in the plan, of a package's in its
    packages.
    """

    sort: list[int] = field(default_factory=list)
    up: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    reason: list[int] = field(default_factory=list)
    entry: list[int] = field(default_factory=list)
    base: dict[int, str] = field(default_factory=dict)

    def add(self, sort: Sort, up: int, named: str, *, reason: int = -1, entry: int = -1) -> int:
        """Add a node without bytes. Returns its number."""
        self.sort.append(sort)
        self.up.append(up)
        self.names.append(named)
        self.reason.append(reason)
        self.entry.append(entry)
        for column in (self.bytes, self.saved, self.files):
            column.append(0)
        return len(self.sort) - 1

    def count(self, node: int, size: int, saved: int) -> None:
        """Count one more file in a leaf."""
        self.bytes[node] += size
        self.saved[node] += saved
        self.files[node] += 1


def tree(plan: Plan, fates: Fates, title: str, named: int = NAMED) -> tuple[Tree, int]:
    """The tree of a plan's image, and the size from which files have a name of their own."""
    at_least = _threshold(plan, fates, named)
    owned: list[list[int]] = [[] for _ in range(len(plan.packages) + 1)]  # the last one's have no owner
    for at, (_, reason, size, _, owner) in enumerate(counted_entries(plan)):
        if size and fates.of[reason] is not None:
            owned[owner].append(at)
    made = Tree()
    image = made.add(Sort.IMAGE, -1, title)
    by_kind: dict[str, list[int]] = {}
    for number, each in plan.installed:
        by_kind.setdefault(str(each.package.kind), []).append(number)
    for kind in sorted(by_kind):
        manager = made.add(Sort.MANAGER, image, kind)
        for number in by_kind[kind]:
            planned = plan.packages[number]
            node = made.add(Sort.PACKAGE, manager, planned.package.name, reason=planned.reason, entry=number)
            _place(made, plan, fates, owned[number], node, at_least)
    if owned[-1]:
        _place(made, plan, fates, owned[-1], made.add(Sort.MANAGER, image, ""), at_least)
    return made, at_least


def _threshold(plan: Plan, fates: Fates, named: int) -> int:
    sizes = [size for _, reason, size, _, _ in counted_entries(plan) if size and fates.of[reason] is not None]
    return heapq.nlargest(named, sizes)[-1] if len(sizes) > named > 0 else 0


def _place(made: Tree, plan: Plan, fates: Fates, entries: Iterable[int], owner: int, at_least: int) -> None:
    """Add the files of one owner below its node, in directories that hold a file or part ways."""
    held: dict[bytes, list[int]] = {}
    for at in entries:
        held.setdefault(parent(plan.entries[at].path), []).append(at)
    open_directories: list[tuple[tuple[bytes, ...], int]] = []
    for directory in _junctions(held):
        while open_directories and directory[: len(open_directories[-1][0])] != open_directories[-1][0]:
            open_directories.pop()
        if not open_directories:  # the first of all, which all others lie in
            node = owner
            made.base[owner] = _shown(directory) or "/"
        else:
            above, up = open_directories[-1]
            node = made.add(Sort.DIRECTORY, up, _shown(directory[len(above) :]).lstrip("/"))
        open_directories.append((directory, node))
        _fill(made, plan, fates, held.get(b"/".join(directory) or b"/", ()), node, at_least)


def _shown(parts: tuple[bytes, ...]) -> str:
    return to_text(b"/".join(parts))


def _junctions(held: Iterable[bytes]) -> list[tuple[bytes, ...]]:
    """Directories as their components, sorted: those that hold something, and the last one above any two of them."""
    found = sorted({(b"",) if each == b"/" else tuple(each.split(b"/")) for each in held})
    junctions = set(found)
    for one, other in pairwise(found):
        apart = (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
        junctions.add(one[: next(apart, min(len(one), len(other)))])
    return sorted(junctions)


def _fill(made: Tree, plan: Plan, fates: Fates, entries: Iterable[int], directory: int, at_least: int) -> None:
    """Add the files of one directory: the large ones by name, and the small ones of each reason together."""
    small: dict[int, list[int]] = {}
    for at in entries:
        path, reason, size, _, _ = plan.entries[at]
        if size >= at_least:
            node = made.add(Sort.FILE, directory, to_text(name(path)), reason=reason, entry=at)
            made.count(node, size, fates.saved.get(path, 0))
        else:
            small.setdefault(reason, []).append(at)
    for reason, those in small.items():
        if len(those) == 1:
            alone = to_text(name(plan.entries[those[0]].path))
            node = made.add(Sort.FILE, directory, alone, reason=reason, entry=those[0])
        else:
            node = made.add(Sort.SMALL, directory, "", reason=reason)
        for at in those:
            made.count(node, plan.entries[at].size, fates.saved.get(plan.entries[at].path, 0))
