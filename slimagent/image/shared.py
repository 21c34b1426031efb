"""A directory that only one container writes to. Nothing in it is trusted."""

from __future__ import annotations

import itertools
import os

from slimagent.errors import RefusedError, UnavailableError
from slimagent.image.directories import read_inside
from slimagent.linux.files import make_directory, write


class Shared:
    """The directory that a container sees as its output.

    To pass a file from another container, read it first and then `give` it: so it cannot change any more.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        make_directory(path)

    def at(self, name: str) -> str:
        """The path of a file with that name."""
        return os.path.join(self.path, name)

    def give(self, name: str, data: bytes) -> None:
        """Put a file where the container sees it."""
        make_directory(os.path.dirname(self.at(name)))
        write(self.at(name), data)

    def read(self, name: str, limit: int = 1 << 30) -> bytes:
        """Read a regular file of at most `limit` bytes that the container wrote, without following a link.

        Raises UnavailableError if it does not exist, RefusedError if it is not such a file.
        """
        try:
            return read_inside(self.path, name, limit)
        except OSError as error:
            raise UnavailableError(f"the container did not write {name} ({error.strerror})", "run it again") from None

    def has(self, name: str) -> bool:
        """Whether the container has written something with that name."""
        return os.path.lexists(self.at(name))

    def names_in(self, name: str, most: int) -> list[str]:
        """The names in a directory that the container wrote. Empty if it does not exist.

        Raises RefusedError if there are more than `most`.
        """
        path = self.at(name)
        if not os.path.isdir(path) or os.path.islink(path):
            return []
        with os.scandir(path) as entries:
            names = [entry.name for entry in itertools.islice(entries, most + 1)]
        if len(names) > most:
            raise RefusedError(
                f"a container wrote more than {most} files to {name}",
                "change the test or start that writes to slimagent's own directory in the container",
            )
        return sorted(names)
