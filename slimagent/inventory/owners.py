"""Whose file is it: what every reader found, as one table over the inventory."""

from __future__ import annotations

import stat
from array import array
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from slimagent.inventory import component, conda, dpkg, foreign, npm, python_dist, r_library, vscode
from slimagent.inventory.reader import Image, Reader
from slimagent.model.inventory import OTHER_KIND, Found, Inventory, Owners, PackageKind
from slimagent.paths.algebra import source_of

# What each finds. In this order: of several owners the first is the one that put the file there, the others what it is
# besides.
_KINDS: Mapping[Reader, str] = MappingProxyType(
    {
        dpkg.find: PackageKind.DPKG,
        conda.find: PackageKind.CONDA,
        python_dist.find: PackageKind.PYTHON,
        r_library.find: PackageKind.R,
        vscode.find: PackageKind.VSCODE,
        npm.find: PackageKind.NPM,
        foreign.find: OTHER_KIND,
    }
)
READERS = tuple(_KINDS)
_NONE, _SEVERAL = -1, -2
_CARRIED = "part of it"  # the text of a requirement that no record states


def owners(inventory: Inventory, readers: Sequence[Reader] = READERS) -> Owners:
    """Every package of the image and its files. What cannot be understood is in `problems`, and has no owner."""
    image = Image(inventory)
    table = Owners(
        of=array("i", [-1]) * len(inventory), weak=bytearray(len(inventory)), adopted=bytearray(len(inventory))
    )
    unread = set[tuple[bytes, str]]()
    for find in readers:
        noted = len(image.unread)
        _add(table, find(image))
        unread.update((path, _KINDS.get(find, OTHER_KIND)) for path in image.unread[noted:])
    _adopt(image, table)
    _add(table, component.find(image, lambda at: table.of[at] >= 0))
    _adopt(image, table)
    _nest(image, table)
    table.problems, table.unread = sorted(set(image.problems)), sorted(unread)
    return table


def _add(table: Owners, found: list[Found]) -> None:
    """Append a reader's packages; indices into its list become indices into the table."""
    base = len(table.packages)
    of, weak = table.of, table.weak
    for number, each in enumerate(found, base):
        entries = array("I", sorted({*each.files, *each.identity}))
        for at in entries:
            if of[at] < 0:
                of[at] = number
            else:
                table.more[at] = (*table.more.get(at, ()), number)
        for at in each.identity:
            weak[at] = 1
        for at in each.outside:
            table.outside[at] = (*table.outside.get(at, ()), number)
        table.packages.append(each.package)
        table.descriptions.append(each.description)
        table.terms.append(each.terms)
        table.files.append(entries)
        table.requires.append(tuple((base + at, text) for at, text in each.requires if base + at != number))
        table.missing.append(tuple(each.missing))
        table.records.append(tuple(each.records))


def _nest(image: Image, table: Owners) -> None:
    """A package all of whose files are another's as well (an R package that Debian packed) is required by that one."""
    for number, files in enumerate(table.files):
        carriers: set[int] | None = None
        for at in files:
            if not image.is_file(at):
                continue
            found = {each for each in table.owners(at) if each != number}
            carriers = found if carriers is None else carriers & found
            if not carriers:
                break
        for carrier in sorted(carriers or ()):
            table.requires[carrier] = (*table.requires[carrier], (number, _CARRIED))


def _adopt(image: Image, table: Owners) -> None:
    """Give files that no record names to the package that they can only belong to.

    Bytecode belongs with its source. Any other file, made at or after installation, belongs to the package that
    alone has the directory and has files of its own in it.
    """
    inventory, of = image.inventory, table.of
    sole = _sole_owners(inventory, of)
    holders: dict[bytes, int] = {}
    adopted: dict[int, list[int]] = {}
    for at, path in enumerate(inventory.paths):
        is_directory = stat.S_ISDIR(inventory.modes[at])
        inherited = holders.get(path[: path.rindex(b"/")], _NONE)
        if is_directory:
            mine = of[at] if of[at] >= 0 else inherited
            holders[path] = mine if sole[at] == mine or (sole[at] == _NONE and mine == inherited) else _NONE
        if of[at] >= 0:
            continue
        source = inventory.index.get(source_of(path)) if path.endswith(b".pyc") else None
        owners = table.owners(source) if source is not None else ()
        if not owners and inherited >= 0 and (not is_directory or holders[path] >= 0):
            owners = (inherited,)
        for owner in owners:
            adopted.setdefault(owner, []).append(at)
    for owner, entries in sorted(adopted.items()):
        for at in entries:
            table.adopted[at] = 1
            if of[at] < 0:
                of[at] = owner
            else:
                table.more[at] = (*table.more.get(at, ()), owner)
        table.files[owner] = array("I", sorted((*table.files[owner], *entries)))


def _sole_owners(inventory: Inventory, of: array[int]) -> array[int]:
    """For each directory the only package with regular files anywhere below it, or that there is none, or several."""
    sole = array("i", [_NONE]) * len(inventory)
    index = inventory.index
    for at in range(len(inventory) - 1, 0, -1):  # what a directory holds comes after it
        mode = inventory.modes[at]
        found = sole[at] if stat.S_ISDIR(mode) else of[at] if stat.S_ISREG(mode) else _NONE
        if found == _NONE:
            continue
        path = inventory.paths[at]
        holder = index.get(path[: path.rindex(b"/")] or b"/")
        if holder is not None and sole[holder] != found:
            sole[holder] = found if sole[holder] == _NONE else _SEVERAL
    return sole
