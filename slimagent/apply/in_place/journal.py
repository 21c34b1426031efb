"""The journal of a removal in place: what the image was before, so that an interrupted removal can continue.

It is written before the first change and removed after the last. With the plan it says what each path was and what it
becomes; everything else is worked out again from these two, with the same result. Each line is a JSON value: the first
says what the image was (its columns, and the contents of edited files), each later one how the stripping of a file
ended, which nobody can know beforehand.

The first line is on the disk (fsync(2), of the file and of its directory) before anything changes. Otherwise, after a
loss of power, the image could be half done without a record of what it was. For the same reason all changes are on the
disk (syncfs(2)) before the journal is removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from shlex import quote

from slimagent.apply.in_place.journal_format import Start, decode_outcomes, decode_start, encode_outcome, encode_start
from slimagent.apply.strip.outcome import Outcome
from slimagent.errors import DocumentError, RefusedError
from slimagent.linux import kernel
from slimagent.linux.descriptors import closing, write_all
from slimagent.linux.files import explained
from slimagent.linux.temporary import new_file
from slimagent.model.inventory import Inventory
from slimagent.paths.algebra import to_text

_CHUNK = 1 << 20  # bytes
# NONBLOCK: opening a FIFO must not wait for its writer
_OLD = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)
_WAIT = "wait until it has ended, and run the same command again"


@contextlib.contextmanager
def alone(root: bytes) -> Iterator[None]:
    """Keep other removals out of the image at `root` during the block, by a lock that ends with this process.

    Raises RefusedError if another one is at work. On a file system without locks (flock(2)), only the journal keeps
    them apart.
    """
    try:
        descriptor = os.open(root, _DIRECTORY)
    except OSError as error:
        raise explained(error, root) from None
    with closing(descriptor):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(f"another slimagent is removing files from {to_text(root)}", _WAIT) from None
        except OSError:
            pass
        yield


class Journal:
    """The journal at `path` for one plan and one root. Use as a context manager: entering continues an interrupted run.

    `before` is then the image as it was, and None if no run was interrupted. `outcomes` are those of stripping so far,
    by path. `token` is in the names of temporary files. Entering raises RefusedError for the journal of another plan or
    root and for one in use, DocumentError for a damaged one.
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
        return RefusedError(f"another slimagent is using the journal {to_text(self._path)}", _WAIT)

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
        """The former contents of a file that the plan edits. Raises DocumentError if the journal lacks them."""
        if at not in self._contents:
            raise DocumentError(
                f"{to_text(self._path)} lacks the contents of entry {at}", "slim a new container of the image"
            )
        return self._contents[at]

    def begin(self, inventory: Inventory, contents: Mapping[int, bytes | None]) -> None:
        """Write what the image is. When this returns, it is on the disk.

        Raises RefusedError if another process has begun with this journal meanwhile.
        """
        data = encode_start(Start(plan=self._plan, token=self.token, inventory=inventory, contents=contents))
        try:
            with _same_time(self._path):
                self._write(data)
            _sync_directory(self._path)
        except FileExistsError:
            raise self._in_use() from None
        except OSError as error:
            raise explained(error, self._path) from None

    def _write(self, data: bytes) -> None:
        """Write the journal under another name, locked, and rename it only if its own name is free."""
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
        """Write how stripping a file ends, before the file is replaced. It survives a kill, not a loss of power."""
        self.outcomes[outcome.path] = outcome
        try:
            write_all(self._descriptor, encode_outcome(outcome))
        except OSError as error:
            raise explained(error, self._path) from None

    def finish(self, root: bytes) -> None:
        """Remove the journal, when a receipt exists and all changes below `root` are on the disk."""
        if self._descriptor < 0:
            return
        try:
            _sync_file_system(root)
            _sync_file_system(os.path.dirname(self._path) or b".")
            with _same_time(self._path):
                os.unlink(self._path)
            _sync_directory(self._path)
        except OSError as error:
            raise explained(error, self._path) from None


@contextlib.contextmanager
def _same_time(path: bytes) -> Iterator[None]:
    """Keep the time of the directory that holds `path`, which may belong to the image."""
    directory = os.path.dirname(path) or b"."
    status = os.stat(directory)
    yield
    with contextlib.suppress(PermissionError):  # we may write there, but the directory is not ours
        os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))


def _sync_directory(path: bytes) -> None:
    with closing(os.open(os.path.dirname(path) or b".", _DIRECTORY)) as descriptor:
        os.fsync(descriptor)


def _sync_file_system(directory: bytes) -> None:
    """syncfs(2): Python has only sync(2), which would wait for every disk of the machine."""
    with closing(os.open(directory, _DIRECTORY)) as descriptor:
        kernel.call("syncfs", descriptor)
