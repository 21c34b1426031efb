"""What every reader of a package data base shares: how it sees the image, and what it answers."""

from __future__ import annotations

import os
import stat
from typing import Protocol

from slimagent.model.inventory import Found, Inventory
from slimagent.paths.algebra import Resolver

_LIMIT = 1 << 28  # bytes: no package data base is larger, and a hostile one must not fill the memory
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CHUNK = 1 << 20


class Image:
    """The image as the readers see it: its inventory, and the contents of its regular files.

    `problems` are the package records that could not be read or understood, with the reason: what they speak of
    has no owner then.
    """

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.problems: list[tuple[bytes, str]] = []
        self._resolver = Resolver(inventory.link)
        self._prefix = b"" if inventory.root == b"/" else inventory.root
        self._folders: dict[bytes, list[bytes]] | None = None

    def entry(self, path: bytes) -> int | None:
        """The entry at `path`: links among its folders followed (merged /usr), a link at its end not; None if none."""
        at = self.inventory.index.get(path)
        if at is not None:
            return at
        end = self._resolver.resolve(path, follow=False).end
        return None if end is None else self.inventory.index.get(end)

    def end(self, path: bytes) -> int | None:
        """The entry that `path` leads to, all links followed; None if none."""
        end = self._resolver.resolve(path).end
        return None if end is None else self.inventory.index.get(end)

    def names(self, folder: bytes) -> list[bytes]:
        """The names in a folder of the image, sorted; its path must be free of links. Empty if there is none."""
        if self._folders is None:
            self._folders = {}
            for path in self.inventory.paths:
                holder, _, last = path.rpartition(b"/")
                if last:  # the root has none, and is in no folder
                    self._folders.setdefault(holder or b"/", []).append(last)
        return self._folders.get(folder, [])

    def below(self, folder: bytes) -> range:
        """The entries of everything below a folder of the image (not itself): they follow it, in one row."""
        at = self.inventory.index.get(folder)
        if at is None:
            return range(0)
        paths, prefix, end = self.inventory.paths, folder.rstrip(b"/") + b"/", at + 1
        low, high = at + 1, len(paths)
        while low < high:  # entries are sorted by components, so what is below is contiguous
            middle = (low + high) // 2
            if paths[middle].startswith(prefix) or middle < end:
                low = middle + 1
            else:
                high = middle
        return range(at + 1, low)

    def is_folder(self, at: int) -> bool:
        """Whether an entry is a folder."""
        return stat.S_ISDIR(self.inventory.modes[at])

    def is_file(self, at: int) -> bool:
        """Whether an entry is a regular file."""
        return stat.S_ISREG(self.inventory.modes[at])

    def read(self, path: bytes) -> bytes | None:
        """The bytes of the regular file that `path` leads to, links followed inside the image.

        None if there is none; None, and a problem noted, if it cannot be read whole.
        """
        at = self.end(path)
        if at is None or not self.is_file(at):
            return None
        if self.inventory.sizes[at] > _LIMIT:
            self.problem(path, "too large for a package record")
            return None
        try:
            descriptor = os.open(self._prefix + self.inventory.paths[at], _FLAGS)
        except OSError as error:
            self.problem(path, error.strerror or "cannot be read")
            return None
        try:
            parts = []
            while part := os.read(descriptor, _CHUNK):
                parts.append(part)
            return b"".join(parts)
        except OSError as error:
            self.problem(path, error.strerror or "cannot be read")
            return None
        finally:
            os.close(descriptor)

    def problem(self, path: bytes, why: str) -> None:
        """Note a record that is not understood."""
        self.problems.append((path, why))


class Reader(Protocol):
    """One kind of owner: reads its own data base of the image."""

    def __call__(self, image: Image) -> list[Found]:
        """Every package of this kind, in an order that the image alone determines.

        Raises nothing for a damaged record: that is a problem of the image's, and the package is left out.
        """
