"""Files that a command writes: refuse early what cannot be written, and never replace what slimagent did not write."""

from __future__ import annotations

import os
import re
import shlex
import stat
from dataclasses import dataclass

from slimagent.errors import RefusedError, UnavailableError
from slimagent.linux.temporary import remove_left


@dataclass(frozen=True, slots=True)
class Own:
    """How a file that slimagent wrote begins, and what to call it."""

    what: str
    beginning: re.Pattern[bytes]
    hint: str = "name another file, or move that one away"

    def wrote(self, path: str) -> bool:
        """Whether a file begins like ours. False also if it cannot be read."""
        try:
            with open(path, "rb") as file:
                return self.beginning.match(file.read(_BEGINNING)) is not None
        except OSError:
            return False

    def replaces(self, path: str) -> bool:
        """Whether writing loses nothing: the file is absent, empty, a device or a FIFO, or it begins like ours."""
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                return True
            with open(path, "rb") as file:
                found = file.read(_BEGINNING)
        except FileNotFoundError:
            return True
        except OSError:  # it exists, and we cannot tell what it is
            return False
        return not found or self.beginning.match(found) is not None


_BEGINNING = 1024  # bytes that show who wrote a file
FIRST_LINE = "Written by slimagent"  # as a comment, in files that people may also write by hand
OWN_TEXT = Own(
    "a file that slimagent wrote",
    re.compile(b"# %b \\d" % FIRST_LINE.encode()),
    "name another file, or give --overwrite",
)
# The comment in the second block of a tar (apply/export/pax.py).
OWN_TAR = Own(
    "a tar that slimagent wrote",
    re.compile(rb".{156}g.{355}\d+ comment=%b\n" % FIRST_LINE.encode(), re.DOTALL),
    OWN_TEXT.hint,
)
OWN_REPORT = Own("a report that slimagent wrote", re.compile(rb'(<\?xml[^>]*>\s*)?<testsuites name="slimagent"'))


def own_document(schema: str) -> Own:
    """How one of our documents begins, by the name of its schema."""
    return Own(f"a {schema} document", re.compile(rb'\{\s*"schema":\s*"%b"' % schema.encode()))


def require_writable(path: str, own: Own | None = None) -> None:
    """Fail now, not after an hour of tracing, if a document cannot be written. Raises UnavailableError.

    Raises RefusedError for a file that does not begin as `own` says: slimagent did not write it.
    """
    if os.path.isdir(path):
        raise UnavailableError(f"cannot write {path}: it is a directory", "name a file")
    require_directory_for(path)
    if own is not None and not own.replaces(path):
        raise RefusedError(f"{path} exists and is not {own.what}", own.hint)


def require_directory_for(path: str) -> None:
    """Fail early if nothing can be created at `path`, a file or a directory. Removes what killed runs left beside it.

    Raises UnavailableError.
    """
    directory = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(directory):
        raise UnavailableError(
            f"cannot write {path}: {directory} does not exist", f"create it: mkdir -p {shlex.quote(directory)}"
        )
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UnavailableError(f"cannot write {path}: Permission denied", "choose another place")
    remove_left(os.fsencode(directory))
