"""Find out what a package's own code and programs name: the data that they will read one day."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from slimagent.model.inventory import Inventory, PackageKind
from slimagent.paths.algebra import ancestors, name, parent
from slimagent.plan.closure import ContentReader
from slimagent.plan.parts import Part, part

_CODE = (b".py", b".rb", b".pl", b".pm", b".php", b".lua", b".tcl", b".sh")
_CODE_OF_NODE = (b".js", b".mjs", b".cjs")  # elsewhere it is a page's, and names what a page loads
_TEXT_LIMIT = 1 << 20  # bytes: longer files are data in the form of code
_PROGRAMS_LIMIT = 1 << 25  # bytes of all programs of a package that are looked into
_CODE_LIMIT = 1 << 26  # bytes of all code of a package that is looked into
_SEARCHED = 1 << 32  # bytes that are searched for a package: nobody must make us search for hours
_ABOVE = 4  # directories above the data in which code is looked into
_OF_PROGRAMS = frozenset({PackageKind.DPKG, PackageKind.CONDA})


class Naming:
    """What the package with these entries names.

    Code of an interpreter is looked into in the directory of the data and in those above, programs wherever they lie.
    Beyond what is looked into, everything counts as named: then it stays.
    """

    def __init__(
        self, inventory: Inventory, contents: ContentReader, entries: Iterable[int], kind: PackageKind
    ) -> None:
        self._inventory = inventory
        self._contents = contents
        self._entries = entries
        self._kind = kind
        self._suffixes = _CODE_OF_NODE if kind in (PackageKind.NPM, PackageKind.VSCODE) else _CODE
        self._texts: dict[bytes, list[bytes]] = {}
        self._code: dict[bytes, list[int]] | None = None
        self._programs: list[bytes] | None = None
        self._read_so_far = self._searched = 0

    def names_file(self, directory: bytes, names: Sequence[bytes], *, programs: bool = True) -> bool:
        """Whether one of the names of files in a directory occurs in the code, or with `programs` in those."""
        texts = (*self._texts_at(directory), *(self._binaries() if programs else ()))
        if self._is_exhausted(texts, len(names)):
            return True
        return any(each in text for text in texts for each in names)

    def names_directory(self, directory: bytes) -> bool:
        """Whether the directory's name occurs alone or in a path, in the code above it or in the programs."""
        quoted = re.compile(rb"[\"'/\0]" + re.escape(name(directory)) + rb"[\"'/\0]")
        texts = (*self._texts_at(parent(directory)), *self._binaries())
        return self._is_exhausted(texts, 1) or any(quoted.search(text) is not None for text in texts)

    def _is_exhausted(self, texts: Iterable[bytes], times: int) -> bool:
        self._searched += times * sum(map(len, texts))
        return self._searched > _SEARCHED or self._read_so_far > _CODE_LIMIT

    def _texts_at(self, directory: bytes) -> list[bytes]:
        """The package's code in a directory and in those above, no further up than the package has code."""
        nearest = [directory, *islice(ancestors(directory), _ABOVE)]
        return [text for each in nearest for text in self._text(each)]

    def _text(self, directory: bytes) -> list[bytes]:
        """The package's code in a directory."""
        if self._code is None:
            self._code = {}
            for at, path in self._files(self._suffixes, _TEXT_LIMIT):
                self._code.setdefault(parent(path), []).append(at)
        known = self._texts.get(directory)
        if known is None:
            known = self._texts[directory] = [self._read(at) for at in self._code.get(directory, ())]
        return known

    def _binaries(self) -> list[bytes]:
        """The package's programs and libraries, if it is a package of these: they name what they read."""
        if self._programs is None:
            self._programs, left = [], _PROGRAMS_LIMIT
            if self._kind in _OF_PROGRAMS:
                for at, path in self._files((), _PROGRAMS_LIMIT):
                    is_binary = part(path, self._inventory.modes[at], self._kind) is Part.BINARY
                    if is_binary and self._inventory.sizes[at] <= left:
                        left -= self._inventory.sizes[at]
                        self._programs.append(self._read(at))
        return self._programs

    def _files(self, suffixes: tuple[bytes, ...], limit: int) -> Iterator[tuple[int, bytes]]:
        """The package's regular files up to a size, with one of these suffixes if there are any."""
        for at in self._entries:
            path = self._inventory.paths[at]
            fits = self._inventory.sizes[at] <= limit and (not suffixes or path.endswith(suffixes))
            if fits and stat.S_ISREG(self._inventory.modes[at]):
                yield at, path

    def _read(self, at: int) -> bytes:
        self._read_so_far += self._inventory.sizes[at]
        if self._read_so_far > _CODE_LIMIT:
            return b""
        return self._contents.text(self._inventory.paths[at], self._inventory.sizes[at])
