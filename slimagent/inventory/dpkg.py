"""Debian packages: who owns the files by dpkg's own database (dpkg(1), deb822(5), dpkg-divert(1), deb-control(5)).

The database is /var/lib/dpkg: `status` with a paragraph for each package, `info/` with the list of its files,
`diversions` and `alternatives/`. Images built without dpkg ("distroless") instead have a file for each package in
`status.d/`, with its md5sums beside it.
"""

from __future__ import annotations

import re
import stat
from dataclasses import replace

from slimagent.inventory.dpkg_formats import choices, fields, paragraphs, sums, whole_lines
from slimagent.inventory.dpkg_packages import Record, is_there, named, package, require
from slimagent.inventory.licenses import copyright_licenses, copyright_terms
from slimagent.inventory.reader import Image
from slimagent.model.edit import EditKind
from slimagent.model.inventory import Found
from slimagent.paths.algebra import to_text

_HOME = b"/var/lib/dpkg"
_DOCUMENTATION = b"/usr/share/doc"  # Debian policy 12.5: each package has its copyright file here
_FOR_BUILDERS = b".symbols"  # deb-symbols(5): dpkg-shlibdeps reads it when another package is built
_SUMS = b".md5sums"
_NOTED = 50  # damaged paragraphs that are named one by one
_SEVERAL = -1


def find(image: Image) -> list[Found]:
    """The packages that dpkg has installed, wholly or in part: in `status` order, then those of `status.d`.

    A package is called NAME, or NAME:ARCHITECTURE if its architecture is foreign: neither `all` nor that of the package
    dpkg (without dpkg: the most common one). Its key in `status` is always NAME:ARCHITECTURE.
    """
    at = image.end(_HOME)
    if at is None or not image.is_directory(at):
        return []
    home = image.inventory.paths[at]
    database = _Database(image, home)
    records = database.records()
    found = named(records)
    database.files(records, found)
    require(records, found)
    database.alternatives(found)
    for record, each in zip(records, found, strict=True):
        data = image.read(b"%b/%b/copyright" % (_DOCUMENTATION, record.name.encode())) or b""
        each.description = replace(each.description, licenses=copyright_licenses(data))
        each.terms = copyright_terms(data)
    return found


class _Database:
    def __init__(self, image: Image, home: bytes) -> None:
        self._image = image
        self._home = home
        self._known: set[str] = set()  # packages with a paragraph, installed or not
        status = image.end(home + b"/status")
        self._status = home + b"/status" if status is None else image.inventory.paths[status]

    def records(self) -> list[Record]:
        """Every installed package, each once."""
        found: dict[str, Record] = {}
        for record in (*self._from_status(), *self._from_directory()):
            if found.setdefault(record.key, record) is not record:
                self._image.problem(record.file or self._status, f"{record.key}: listed twice", is_known=True)
        for path in self._children(b"updates"):
            if path.rpartition(b"/")[2].isdigit():
                self._image.problem(path, "dpkg was interrupted: its status may be out of date")
        return list(found.values())

    def _children(self, directory: bytes) -> list[bytes]:
        """The paths right in a directory of the database."""
        at = self._image.end(self._home + b"/" + directory)
        if at is None:
            return []
        paths = self._image.inventory.paths
        depth = paths[at].count(b"/") + 1
        return [paths[each] for each in self._image.below(paths[at]) if paths[each].count(b"/") == depth]

    def _from_status(self) -> list[Record]:
        data = self._image.read(self._status) or b""
        found, damaged = [], []
        parts = paragraphs(data)
        for number, part in enumerate(parts, 1):
            # dpkg ends each paragraph with an empty line. Where the last one's is not there, more may be missing.
            cut = number == len(parts) and not data.endswith(b"\n\n")
            try:
                record = self._record(part, cut)
            except ValueError as error:
                name = re.match(rb"Package: *([^\s]{1,80})", part)
                damaged.append(f"{to_text(name[1]) if name else f'paragraph {number}'}: {error}")
                continue
            if record is not None:
                found.append(record)
        for why in damaged[:_NOTED]:
            self._image.problem(self._status, why)
        if len(damaged) > _NOTED:
            self._image.problem(self._status, f"{len(damaged) - _NOTED} more paragraphs cannot be parsed")
        return found

    def _record(self, part: bytes, cut: bool) -> Record | None:
        """A paragraph of `status`; None for a package that is not there. Raises ValueError if it is not understood."""
        values = fields(part)
        self._known.add(values.get(b"package", b"").decode(errors="replace"))
        if cut:
            raise ValueError("the paragraph is cut short")
        return package(values) if is_there(values) else None

    def _from_directory(self) -> list[Record]:
        found = []
        for path in self._children(b"status.d"):
            data = None if path.endswith(_SUMS) else self._image.read(path)
            if data is None:
                continue
            parts = paragraphs(data)
            try:
                record = package(fields(parts[0]) if len(parts) == 1 else {}, path)
            except ValueError as error:
                self._image.problem(path, str(error))
                continue
            self._known.add(record.name)
            found.append(record)
        return found

    def files(self, records: list[Record], found: list[Found]) -> None:
        """Fill in what each package owns, which part of that is its identity, and its place in `status`."""
        info: dict[bytes, list[bytes]] = {}  # NAME or NAME:ARCHITECTURE, to the files about it
        for path in self._children(b"info"):
            stem = path.rpartition(b"/")[2].rpartition(b".")[0]
            if stem:
                info.setdefault(stem, []).append(path)
        lists = _Lists(self._image, self._diversions())
        for number, (record, each) in enumerate(zip(records, found, strict=True)):
            if record.file:
                mine, lines = self._of_directory(record, info)
            else:
                mine, lines = self._of_info(record, info)
                each.records.append((self._status, EditKind.DPKG_STATUS, record.key))
            each.identity = [self._image.inventory.index[path] for path in mine if not path.endswith(_FOR_BUILDERS)]
            each.files = lists.entries(number, record.name, lines)
            each.files += [self._image.inventory.index[path] for path in mine if path.endswith(_FOR_BUILDERS)]
        for number, each in enumerate(found):
            each.files = [*lists.own(number, each.files), *each.identity]
        numbers = {each.package.name: number for number, each in enumerate(found)}
        for number, who in sorted(lists.moved):
            diverter = numbers.get(who, number)
            if diverter != number:  # the diversion would outlive the package that made it
                found[number].requires.append((diverter, "diverts a file of it"))
        for stem, paths in info.items():
            path = paths[0].rpartition(b"/")[0] + b"/" + stem + b".list"
            if path in paths and stem.partition(b":")[0].decode(errors="replace") not in self._known:
                self._image.problem(path, "its package is not in the status")

    def _of_info(self, record: Record, info: dict[bytes, list[bytes]]) -> tuple[list[bytes], list[bytes]]:
        """The files in `info` about a package, and the lines of its list, which is one of them.

        They are named NAME:ARCHITECTURE for packages with Multi-Arch: same, else NAME (pkg_infodb_get_file in
        lib/dpkg/db-infodb.c); in a database of the old format always NAME. No two packages share them.
        """
        stems = (record.name.encode(), record.key.encode())
        for stem in stems[::-1] if record.same else stems:
            mine = info.pop(stem, None)
            if mine is not None:
                break
        else:
            mine = []
        path = next((path for path in mine if path.endswith(b".list")), None)
        if path is None:
            why = f"{record.key}: the list of its files is missing"
            self._image.problem(record.file or self._status, why, is_known=True)
            return mine, []
        return mine, self._lines(path)

    def _of_directory(self, record: Record, info: dict[bytes, list[bytes]]) -> tuple[list[bytes], list[bytes]]:
        """The files about a package of `status.d`, and what it holds: of a list in `info`, or its md5sums.

        These have its regular files only. A link that such a package came with has no owner.
        """
        about = [path for path in (record.file, record.file + _SUMS) if path in self._image.inventory]
        if len(about) == 1 or not info.keys().isdisjoint((record.name.encode(), record.key.encode())):
            mine, lines = self._of_info(record, info)
            return [*about, *mine], lines
        lines, complete = sums(self._image.read(about[1]) or b"")
        if not complete:
            self._image.problem(about[1], "is damaged: not every line is a sum and a path", is_known=True)
        return about, lines

    def _lines(self, path: bytes) -> list[bytes]:
        """The paths in a package's list. A last line without a newline may be half a name and is left out.

        A crash leaves an empty list: even a package without files has the line `/.`.
        """
        lines, complete = whole_lines(self._image.read(path) or b"")
        if not lines or not complete or not all(line.startswith(b"/") for line in lines):
            self._image.problem(path, "is damaged: not every line is a path", is_known=True)
            return [line for line in lines if line.startswith(b"/")]
        return lines

    def _diversions(self) -> dict[bytes, tuple[bytes, str]]:
        """Where files lie instead, and which package's do not; "" for a local diversion, from which none is exempt.

        Three lines each (`ensure_diversions` in lib/dpkg/db-fsys-divert.c): path, path instead, package or `:`.
        """
        path = self._home + b"/diversions"
        data = self._image.read(path)
        lines, complete = whole_lines(data or b"")
        if not complete or len(lines) % 3:
            self._image.problem(path, "is cut short", is_known=True)
        found = {}
        for was, instead, who in zip(lines[::3], lines[1::3], lines[2::3], strict=False):
            if was.startswith(b"/") and instead.startswith(b"/"):
                found[was] = (instead, "" if who == b":" else who.decode(errors="replace"))
        return found

    def alternatives(self, found: list[Found]) -> None:
        """Note each package's places in the groups of alternatives: the choices that are files of its own."""
        wanted: dict[int, list[tuple[bytes, EditKind, str]]] = {}
        for path in self._children(b"alternatives"):
            at = self._image.end(path)
            data = None if at is None or path.endswith(b".dpkg-tmp") else self._image.read(path)
            if at is None or data is None:
                continue
            try:
                paths = choices(data)
            except ValueError as error:
                self._image.problem(path, str(error), is_known=True)
                continue
            for choice in paths:
                entry = self._image.entry(choice)
                if entry is not None:
                    record = (self._image.inventory.paths[at], EditKind.DPKG_ALTERNATIVES, to_text(choice))
                    wanted.setdefault(entry, []).append(record)
        for each in found:
            if not wanted.keys().isdisjoint(each.files):
                each.records += sorted({record for entry in each.files for record in wanted.get(entry, ())})


class _Lists:
    """Finds the entries of the inventory for the packages' lists, and which of them each package owns."""

    def __init__(self, image: Image, diverted: dict[bytes, tuple[bytes, str]]) -> None:
        self._image = image
        self._index = image.inventory.index
        self._root = self._index.get(b"/")  # nobody owns it
        self._modes = image.inventory.modes
        self._diverted = diverted
        self.moved: set[tuple[int, str]] = set()  # packages with a file that lies elsewhere, and who had it moved
        self._users: dict[int, int] = {}  # directories, links: the only package that lists it, or several

    def entries(self, number: int, name: str, lines: list[bytes]) -> list[int]:
        """The entries that package `number` lists, each once; what is not in the image is skipped."""
        if not self._diverted.keys().isdisjoint(lines):
            self.moved |= {(number, self._diverted[line][1]) for line in lines if line in self._diverted}
            lines = [self._place(line, name) for line in lines]
        found = []
        for line, at in zip(lines, map(self._index.get, lines), strict=True):
            # Not written as the image has it: by links among its directories, or `/.`.
            entry = self._image.entry(line) if at is None else at
            if entry is not None and entry != self._root:
                found.append(entry)
        found = list(dict.fromkeys(found))
        for entry in found:
            if not stat.S_ISREG(self._modes[entry]):
                self._use(number, entry)
        return found

    def own(self, number: int, entries: list[int]) -> list[int]:
        """Those of a package's entries that are its own, once all lists are read.

        A directory is its own if no other package lists it. So is a link to a directory: packages with files below /lib
        list /lib as a directory, though it is a link where /usr is merged. The lists do not say who owns the link.
        """
        users, modes = self._users, self._modes
        return [at for at in entries if stat.S_ISREG(modes[at]) or users[at] == number or not self._shared(at)]

    def _shared(self, at: int) -> bool:
        """Whether what several packages list is a directory to them: one, or a link to one."""
        end = self._image.end(self._image.inventory.paths[at]) if stat.S_ISLNK(self._modes[at]) else at
        return end is not None and self._image.is_directory(end)

    def _place(self, path: bytes, name: str) -> bytes:
        instead, who = self._diverted.get(path, (path, name))
        return path if who == name else instead

    def _use(self, number: int, at: int) -> None:
        self._users[at] = number if self._users.get(at, number) == number else _SEVERAL
