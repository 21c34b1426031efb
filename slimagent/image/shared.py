"""A directory that one container writes to, and no other one: nothing in it is trusted."""

from __future__ import annotations

import itertools
import os

from slimagent.errors import RefusedError, UnavailableError
from slimagent.image.directories import read_inside
from slimagent.linux.files import make_directory, write


class Shared:
    """What a container sees as its output.

    A container gets what it needs of another one by `give`: what was read before, and cannot change any more.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        make_directory(path)

    def at(self, name: str) -> str:
        """Where a file of that name is."""
        return os.path.join(self.path, name)

    def give(self, name: str, data: bytes) -> None:
        """Put a file where the container sees it."""
        make_directory(os.path.dirname(self.at(name)))
        write(self.at(name), data)

    def read(self, name: str, limit: int = 1 << 30) -> bytes:
        """A file that the container wrote: a regular one, of at most `limit` bytes, over no link.

        Raises UnavailableError without one, RefusedError for what is not such a file.
        """
        try:
            return read_inside(self.path, name, limit)
        except OSError as error:
            raise UnavailableError(f"the container left no {name} ({error.strerror})", "run it again") from None

    def has(self, name: str) -> bool:
        """Whether the container has left something of that name."""
        return os.path.lexists(self.at(name))

    def names_in(self, name: str, most: int) -> list[str]:
        """The names in a directory that the container left; none if there is none.

        Raises RefusedError if there are more than `most`.
        """
        path = self.at(name)
        if not os.path.isdir(path) or os.path.islink(path):
            return []
        with os.scandir(path) as entries:
            names = [entry.name for entry in itertools.islice(entries, most + 1)]
        if len(names) > most:
            raise RefusedError(
                f"a container left more than {most} files in {name}",
                "a test or a start wrote into slimagent's own directory: see what it does",
            )
        return sorted(names)
