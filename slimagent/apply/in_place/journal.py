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
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from shlex import quote

from slimagent.apply.in_place.journal_format import (
    Start,
    decode_outcomes,
    decode_start,
    encode_outcome,
    encode_start,
)
from slimagent.apply.strip.outcome import Outcome
from slimagent.errors import DocumentError, RefusedError
from slimagent.linux.descriptors import closing, write_all
from slimagent.linux.files import explained
from slimagent.linux.temporary import new_file
from slimagent.model.inventory import Inventory
from slimagent.paths.algebra import to_text

_CHUNK = 1 << 20  # bytes
# NONBLOCK: opening a FIFO of that name must not wait for its writer
_OLD = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)


class Journal:
    """The journal at `path` for one plan and one root. Use as a context manager: entering takes up an interrupted run.

    `before` is then the image as it was, and None where there is nothing to take up; `outcomes` are those of stripping
    so far, by path; `token` is in the names of what the removal makes on its way. Entering raises RefusedError for the
    journal of another plan or root and for one that is in use, DocumentError for a damaged one.
    """

    def __init__(self, path: bytes, plan_digest: str, root: bytes) -> None:
        self._path = path
        self._plan = plan_digest
        self._root = root
        self.token = secrets.token_hex(16)
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

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise self._in_use() from None

    def _in_use(self) -> RefusedError:
        return RefusedError(
            f"another slimagent is at work with the journal {to_text(self._path)}", "let it come to its end"
        )

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
        if (start.plan, start.inventory.root) != (self._plan, self._root):
            its = to_text(start.inventory.root)
            raise RefusedError(
                f"{shown} is the journal of another removal, which was interrupted: of plan {start.plan[:12]} in {its}",
                f"finish that one: `slimagent apply PLAN --in-place --root {quote(its)} --journal {quote(shown)}`; "
                "or, for an image of its own, name another file with --journal",
            )
        self.before, self._contents, self.token = start.inventory, start.contents, start.token
        self.outcomes = decode_outcomes(rest, shown)

    def content(self, at: int) -> bytes | None:
        """What a file that the plan edits held before. Raises DocumentError if the journal lacks it."""
        if at not in self._contents:
            raise DocumentError(
                f"{to_text(self._path)} lacks the contents of entry {at}", "slim a new container of the image"
            )
        return self._contents[at]

    def begin(self, inventory: Inventory, contents: Mapping[int, bytes | None]) -> None:
        """Put down what the image is. When this returns, it is on the disk.

        Raises RefusedError if somebody else has begun with this journal meanwhile.
        """
        data = encode_start(Start(plan=self._plan, token=self.token, inventory=inventory, contents=contents))
        try:
            with _same_time(self._path):
                self._write(data)
            _sync_folder(self._path)
        except FileExistsError:
            raise self._in_use() from None
        except OSError as error:
            raise explained(error, self._path) from None

    def _write(self, data: bytes) -> None:
        """Make the journal under another name, locked, and give it its own only if nothing has that."""
        self._descriptor, temporary = new_file(os.path.dirname(self._path))
        try:
            write_all(self._descriptor, data)
            os.fsync(self._descriptor)
            try:
                os.link(temporary, self._path, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS or os.path.lexists(self._path):
                    raise
                os.rename(temporary, self._path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

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


@contextlib.contextmanager
def _same_time(path: bytes) -> Iterator[None]:
    """Let the folder that holds `path` be as old as it was: it may be a folder of the image."""
    folder = os.path.dirname(path) or b"."
    status = os.stat(folder)
    yield
    with contextlib.suppress(PermissionError):  # somebody else's folder that we may write in
        os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))


def _sync_folder(path: bytes) -> None:
    with closing(os.open(os.path.dirname(path) or b".", _DIRECTORY)) as descriptor:
        os.fsync(descriptor)


def _sync_file_system(folder: bytes) -> None:
    """syncfs(2): Python has only sync(2), which would wait for every disk of the machine."""
    with closing(os.open(folder, _DIRECTORY)) as descriptor:
        library = ctypes.CDLL(None, use_errno=True)
        if library.syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
