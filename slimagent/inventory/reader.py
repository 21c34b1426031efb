"""What all readers of package databases share: how they see the image, and what they return."""

from __future__ import annotations

import os
import stat
from typing import Protocol

from slimagent.model.inventory import Found, Inventory
from slimagent.paths.algebra import Resolver

_LIMIT = 1 << 28  # bytes: no package database is larger, and a hostile one must not fill the memory
LARGEST_JSON = 1 << 25  # bytes: parsed, it takes up to thirty times as much memory; the longest real ones have some MB
LONGEST = 1000  # bytes of a name or a version; the longest real ones have some 100
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CHUNK = 1 << 20


class Image:
    """The image as the readers see it: its inventory, and the contents of its regular files.

    `problems` are the package records that could not be read or parsed, with the reason: their files have no owner.
    `unread` are the paths of those whose packages are not among the found ones, as far as one can tell.
    """

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.problems: list[tuple[bytes, str]] = []
        self.unread: list[bytes] = []
        self._resolver = Resolver(inventory.link)
        self._prefix = b"" if inventory.root == b"/" else inventory.root
        self._directories: dict[bytes, list[bytes]] | None = None

    def entry(self, path: bytes) -> int | None:
        """The entry at `path`, None if missing. Follows links among its directories (merged /usr), not at its end."""
        at = self.inventory.index.get(path)
        if at is not None:
            return at
        end = self._resolver.resolve(path, follow=False).end
        return None if end is None else self.inventory.index.get(end)

    def end(self, path: bytes) -> int | None:
        """The entry that `path` leads to, with all links followed; None if missing."""
        end = self._resolver.resolve(path).end
        return None if end is None else self.inventory.index.get(end)

    def names(self, directory: bytes) -> list[bytes]:
        """The sorted names in a directory of the image, whose path must contain no links; empty if it is missing."""
        if self._directories is None:
            self._directories = {}
            for path in self.inventory.paths:
                holder, _, last = path.rpartition(b"/")
                if last:  # the root has none, and is in no directory
                    self._directories.setdefault(holder or b"/", []).append(last)
        return self._directories.get(directory, [])

    def below(self, directory: bytes) -> range:
        """The entries of everything below a directory of the image, without itself: they follow it directly."""
        at = self.inventory.index.get(directory)
        if at is None:
            return range(0)
        paths, prefix, end = self.inventory.paths, directory.rstrip(b"/") + b"/", at + 1
        low, high = at + 1, len(paths)
        while low < high:  # entries are sorted by components, so what is below is contiguous
            middle = (low + high) // 2
            if paths[middle].startswith(prefix) or middle < end:
                low = middle + 1
            else:
                high = middle
        return range(at + 1, low)

    def is_directory(self, at: int) -> bool:
        """Whether an entry is a directory."""
        return stat.S_ISDIR(self.inventory.modes[at])

    def is_file(self, at: int) -> bool:
        """Whether an entry is a regular file."""
        return stat.S_ISREG(self.inventory.modes[at])

    def read(self, path: bytes, limit: int = _LIMIT) -> bytes | None:
        """The bytes of the regular file that `path` leads to, with links followed inside the image.

        None if it is missing; None, and a problem noted, if it has more than `limit` bytes or cannot be read whole.
        """
        at = self.end(path)
        if at is None or not self.is_file(at):
            return None
        if self.inventory.sizes[at] > limit:
            self.problem(path, "too large for a package record")
            return None
        try:
            descriptor = os.open(self._prefix + self.inventory.paths[at], _FLAGS)
        except OSError as error:
            self.problem(path, error.strerror or "cannot be read")
            return None
        try:
            parts, left = [], limit
            while part := os.read(descriptor, _CHUNK):
                parts.append(part)
                left -= len(part)
                if left < 0:  # it grew
                    self.problem(path, "too large for a package record")
                    return None
            return b"".join(parts)
        except OSError as error:
            self.problem(path, error.strerror or "cannot be read")
            return None
        finally:
            os.close(descriptor)

    def problem(self, path: bytes, why: str, *, is_known: bool = False) -> None:
        """Note a record that cannot be read or parsed. A reason can quote the record, so only its start is kept.

        `is_known`: no package is unknown for it, because the record is of one that is found all the same, or of none.
        """
        self.problems.append((path, why[:LONGEST]))
        if not is_known:
            self.unread.append(path)


def too_long(**texts: str) -> str:
    """Which of these texts, e.g. a name and a version, is longer than any real one; empty if none is.

    Plans, reports and bills of materials repeat them for each file, so a small record could fill the disk.
    """
    found = (each for each, text in texts.items() if len(text.encode("utf-8", "surrogatepass")) > LONGEST)
    return next((f"its {each} is longer than {LONGEST:,} bytes" for each in found), "")


class Reader(Protocol):
    """Reads the database of one kind of owner."""

    def __call__(self, image: Image) -> list[Found]:
        """Every package of this kind, in an order that depends only on the image.

        A damaged record raises nothing: it is noted in `image.problems`, and the package is left out.
        """
