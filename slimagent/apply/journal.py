"""The journal of a removal in place: what the image was before, so that an interrupted removal can be taken up again.

It is written before the first change and removed after the last. With the plan, it says what each path was and what it
becomes: everything else is worked out from those two again, and so comes out the same. A file of lines, each a JSON
value: the first says what the image was (its columns, and the contents of what is edited), each further one how the
stripping of a file ended, which cannot be known beforehand.

The first line is on the disk (fsync(2), of the file and of the folder that names it) before anything is changed: a
file system may write removals before another file's data, and after a loss of power there would be an image half done
and no word of what it was. For the same reason all changes are on the disk (syncfs(2)) before the journal goes.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
from collections.abc import Iterator, Mapping
from types import TracebackType

from slimagent.apply.journal_format import (
    Outcome,
    Start,
    decode_outcomes,
    decode_start,
    encode_outcome,
    encode_start,
)
from slimagent.apply.rewrite import write_all
from slimagent.errors import DocumentError, RefusedError
from slimagent.files import explained
from slimagent.model import Inventory
from slimagent.paths import to_text

_CHUNK = 1 << 20  # bytes
# NONBLOCK: opening a FIFO of that name must not wait for its writer
_OLD = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Journal:
    """The journal at `path` for one plan. Use as a context manager: entering takes up what an earlier go left.

    `before` is then the image as it was, and None where there is nothing to take up; `outcomes` are those of stripping
    so far, by path. Entering raises RefusedError for another plan's journal and for one that is in use, DocumentError
    for a damaged one.
    """

    def __init__(self, path: bytes, plan_digest: str) -> None:
        self._path = path
        self._partial = temporary(path)
        self._plan = plan_digest
        self._descriptor = -1
        self._contents: Mapping[int, bytes | None] = {}
        self.before: Inventory | None = None
        self.outcomes: dict[bytes, Outcome] = {}

    def __enter__(self) -> Journal:
        try:
            self._descriptor = os.open(self._path, _OLD)
        except FileNotFoundError:
            return self
        except OSError as error:
            raise explained(error, self._path) from None
        try:
            self._lock()
            self._read()
        except BaseException:
            os.close(self._descriptor)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RefusedError(
                f"another slimagent is at work with the journal {to_text(self._path)}", "let it come to its end"
            ) from None

    def _read(self) -> None:
        shown = to_text(self._path)
        parts = []
        try:
            while part := os.read(self._descriptor, _CHUNK):
                parts.append(part)
        except OSError as error:
            raise DocumentError(f"cannot read {shown}: {error.strerror}", "name another file with --journal") from None
        line, _, rest = b"".join(parts).partition(b"\n")
        start = decode_start(line, shown)
        if start.plan != self._plan:
            raise RefusedError(
                f"{shown} is the journal of another plan, {start.plan[:12]}, which was not carried out to its end",
                "finish that plan first; if its image is no longer there, remove the journal",
            )
        self.before, self._contents = start.inventory, start.contents
        self.outcomes = decode_outcomes(rest, shown)

    def content(self, at: int) -> bytes | None:
        """What a file that the plan edits held before. Raises DocumentError if the journal lacks it."""
        if at not in self._contents:
            raise DocumentError(
                f"{to_text(self._path)} lacks the contents of entry {at}", "slim a new container of the image"
            )
        return self._contents[at]

    def begin(self, inventory: Inventory, contents: Mapping[int, bytes | None]) -> None:
        """Put down what the image is. When this returns, it is on the disk."""
        data = encode_start(Start(plan=self._plan, inventory=inventory, contents=contents))
        try:
            with _same_time(self._path), contextlib.suppress(FileNotFoundError):
                os.unlink(self._partial)  # of a killed go
            with _same_time(self._path):
                self._descriptor = os.open(self._partial, _NEW, 0o600)
                self._lock()
                write_all(self._descriptor, data)
                os.fsync(self._descriptor)
                os.rename(self._partial, self._path)
            _sync_folder(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(self._partial)
            raise explained(error, self._path) from None

    def note(self, outcome: Outcome) -> None:
        """Put down how the stripping of a file ends, before the file is replaced. It outlives us, if not the power."""
        self.outcomes[outcome.path] = outcome
        try:
            write_all(self._descriptor, encode_outcome(outcome))
        except OSError as error:
            raise explained(error, self._path) from None

    def finish(self, root: bytes) -> None:
        """Everything below `root` is done and proved by a receipt: see that it is on the disk, and forget."""
        if self._descriptor < 0:
            return
        try:
            _sync_file_system(root)
            _sync_file_system(os.path.dirname(self._path) or b".")
            with _same_time(self._path):
                os.unlink(self._path)
            _sync_folder(self._path)
        except OSError as error:
            raise explained(error, self._path) from None


def temporary(path: bytes) -> bytes:
    """The file as which a journal is written: always the same name, so that it can be known as ours."""
    folder, base = os.path.split(path)
    return os.path.join(folder, b".%b.partial" % base[:200])


@contextlib.contextmanager
def _same_time(path: bytes) -> Iterator[None]:
    """Let the folder that holds `path` be as old as it was: it may be a folder of the image."""
    folder = os.path.dirname(path) or b"."
    status = os.stat(folder)
    yield
    with contextlib.suppress(PermissionError):  # somebody else's folder that we may write in
        os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))


def _sync_folder(path: bytes) -> None:
    descriptor = os.open(os.path.dirname(path) or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_file_system(folder: bytes) -> None:
    """syncfs(2): Python has only sync(2), which would wait for every disk of the machine."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if library.syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)
