"""Write the output directory of one run. It says whether it is complete, and no one else's files are touched.

`run.json` in it names the run that wrote it, the state of that run, and the SHA-256 of every file that it wrote. A file
is listed there before it appears, so slimagent knows its own files even after a SIGKILL. No link in the directory is
followed.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import fnmatch
import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from types import TracebackType

from slimagent.errors import RefusedError, SlimagentError, UnavailableError
from slimagent.image.directories import DIRECTORY, LARGEST, open_inside, pieces
from slimagent.image.run_record import COMPLETE, FAILED, NAME, Record, read_record
from slimagent.linux.descriptors import write_all
from slimagent.linux.files import explained, hand_over, make_directory
from slimagent.linux.signals import deferred
from slimagent.paths.algebra import to_text

_SHOWN = 3  # names in a message
_FOREIGN = "no `slimagent image` wrote this, or it was changed since:"
_ELSEWHERE = "move it away, or choose another directory: --out DIR"


class Output:
    """The output directory of one run. Use as a context manager.

    `key` is the run's (owner.py). `names` are the files that the run may write: paths below `path` or fnmatch patterns.
    Entering locks the directory, marks it unfinished and removes the last run's files if they are unchanged. It raises
    RefusedError, and changes nothing, if another run uses the directory or if one of these files is not slimagent's.
    """

    def __init__(self, path: str, *, key: str, image: str, tag: str, version: str, names: Collection[str]) -> None:
        self.path = os.path.abspath(path)
        self._names = names
        self._partial = f".slimagent-{key}.partial"
        self._record = Record(image=image, tag=tag, version=version, started=_now())
        self._at = -1

    def __enter__(self) -> Output:
        make_directory(self.path)
        try:
            self._at = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise explained(error, self.path) from None
        try:
            self._lock()
            before = self._last_run()
            self._refuse_foreign(before)
            self._record.files.update(before)
            self._save()
            self._remove_last_run(before)
        except BaseException:
            os.close(self._at)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None and not self._record.ended:
                with contextlib.suppress(SlimagentError):  # e.g. the disk is full: "unfinished" is still true
                    self.finish(FAILED, _reason(error))
        finally:
            os.close(self._at)  # this releases the lock

    def write(self, name: str, data: bytes) -> None:
        """Write a file completely or not at all. Raises UnavailableError."""
        self._put(name, (data,))

    def adopt(self, root: str, source: str, name: str = "", limit: int = LARGEST) -> bool:
        """Copy a regular file below `root` to `name`, by default to the same name. False if it does not exist.

        Raises RefusedError if it is not a regular file or is larger than `limit` bytes.
        """
        try:
            descriptor = open_inside(root, source, limit)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise RefusedError(f"cannot read {source}: {error.strerror}", "find out what wrote it") from None
        self._put(name or source, pieces(descriptor, source, limit))
        return True

    def finish(self, state: str, reason: str = "") -> None:
        """Record that the run has ended: `complete`, or `failed` with a reason. Raises UnavailableError."""
        if state not in (COMPLETE, FAILED):
            raise ValueError(state)
        self._record.state, self._record.reason, self._record.ended = state, reason, _now()
        self._save()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._at, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "wait until it ends, or choose another directory: --out DIR"
            raise RefusedError(f"another run of slimagent writes to {self._shown()}", hint) from None
        except OSError as error:
            hint = "choose a directory on another file system: --out DIR"
            raise UnavailableError(f"cannot lock {self._shown()}: {error.strerror}", hint) from None

    def _last_run(self) -> dict[str, tuple[str, ...]]:
        """The names and digests of the last run's files. Raises RefusedError if the record is not slimagent's."""
        try:
            data = b"".join(pieces(open_inside(self.path, NAME), NAME, LARGEST))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise explained(error, self.path) from None
        return read_record(data, self._shown(NAME), _ELSEWHERE)

    def _refuse_foreign(self, before: dict[str, tuple[str, ...]]) -> None:
        """Raise RefusedError if one of our names is taken by a file that slimagent did not write, or that changed."""
        foreign = [name for name in self._taken() if not self._is_as_written(name, before.get(name, ()))]
        if foreign:
            more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
            shown = ", ".join(map(self._shown, foreign[:_SHOWN]))
            raise RefusedError(f"{_FOREIGN} {shown}{more}", _ELSEWHERE)

    def _taken(self) -> list[str]:
        """The entries, of any kind, that have one of our names. Parent directories of our names do not count."""
        found = []
        for directory in sorted({name.rpartition("/")[0] for name in self._names}):
            try:
                with self._inside(directory) as at:
                    names = [f"{directory}/{each}" if directory else each for each in os.listdir(at)]
            except FileNotFoundError:
                continue
            except RefusedError:  # a file or a link in place of a directory
                found.append(directory)
                continue
            found += [name for name in names if any(fnmatch.fnmatchcase(name, each) for each in self._names)]
        return sorted(found)

    def _is_as_written(self, name: str, digests: Sequence[str]) -> bool:
        try:
            descriptor = open_inside(self.path, name)
        except (OSError, RefusedError):
            return False
        sha256 = hashlib.sha256()
        for piece in pieces(descriptor, name, LARGEST):
            sha256.update(piece)
        return sha256.hexdigest() in digests

    def _remove_last_run(self, before: dict[str, tuple[str, ...]]) -> None:
        """Remove the last run's files if they are unchanged, then its directories if they are empty."""
        for name, digests in before.items():
            if self._is_as_written(name, digests):
                directory, _, base = name.rpartition("/")
                with self._inside(directory) as at:
                    os.unlink(base, dir_fd=at)
            del self._record.files[name]
        for directory in sorted({name.rpartition("/")[0] for name in before} - {""}, reverse=True):
            with contextlib.suppress(OSError):
                os.rmdir(directory, dir_fd=self._at)
        self._save()

    def _put(self, name: str, data: Iterable[bytes]) -> None:
        """Write a temporary file, list it in the record, and then rename it, in this order.

        Raises RefusedError if the name is not in `names`, or if someone else has taken it in the meantime.
        """
        self._require_ours(name)
        with deferred(), self._explaining(name):
            with self._new_file() as descriptor:
                sha256 = hashlib.sha256()
                for piece in data:
                    sha256.update(piece)
                    write_all(descriptor, piece)
                hand_over(descriptor, os.fsencode(self.path))
            old = self._record.files.get(name, ())
            self._record.files[name] = (*old[-1:], sha256.hexdigest())
            self._save()
            self._rename(name)
            self._record.files[name] = (sha256.hexdigest(),)

    def _require_ours(self, name: str) -> None:
        known = self._record.files.get(name, ())
        if not any(fnmatch.fnmatchcase(name, each) for each in self._names):
            raise RefusedError(f"this run may not write {self._shown(name)}", _ELSEWHERE)
        if self._exists(name) and not self._is_as_written(name, known):
            raise RefusedError(f"{_FOREIGN} {self._shown(name)}", _ELSEWHERE)

    def _exists(self, name: str) -> bool:
        directory, _, base = name.rpartition("/")
        try:
            with self._inside(directory) as at:
                os.stat(base, dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _save(self) -> None:
        """Write the record completely or not at all."""
        with deferred(), self._explaining(NAME):
            with self._new_file(".json") as descriptor:
                write_all(descriptor, self._record.encoded())
                hand_over(descriptor, os.fsencode(self.path))
            self._rename(NAME, ".json")

    @contextlib.contextmanager
    def _explaining(self, name: str) -> Iterator[None]:
        """Raise UnavailableError if a file cannot be written."""
        try:
            yield
        except OSError as error:
            raise explained(error, os.path.join(self.path, name)) from None

    @contextlib.contextmanager
    def _new_file(self, suffix: str = "") -> Iterator[int]:
        """Create a temporary file and yield its descriptor. The file is removed if the block fails."""
        name = self._partial + suffix
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=self._at)
        try:
            yield descriptor
        except BaseException:
            os.unlink(name, dir_fd=self._at)
            raise
        finally:
            os.close(descriptor)

    def _rename(self, name: str, suffix: str = "") -> None:
        directory, _, base = name.rpartition("/")
        try:
            with self._inside(directory, make=True) as at:
                os.rename(self._partial + suffix, base, src_dir_fd=self._at, dst_dir_fd=at)
        except BaseException:
            os.unlink(self._partial + suffix, dir_fd=self._at)
            raise

    @contextlib.contextmanager
    def _inside(self, directory: str, *, make: bool = False) -> Iterator[int]:
        """Open a directory below without following a link. Raises RefusedError if it is not a directory."""
        with contextlib.ExitStack() as rest:
            at = self._at
            for each in filter(None, directory.split("/")):
                made = False
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(each, 0o755, dir_fd=at)
                        made = True
                try:
                    at = os.open(each, DIRECTORY, dir_fd=at)
                except OSError as error:
                    if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                        raise
                    raise RefusedError(f"{self._shown(directory)} is not a directory", _ELSEWHERE) from None
                rest.callback(os.close, at)
                if made:
                    hand_over(at, os.fsencode(self.path))
            yield at

    def _shown(self, name: str = "") -> str:
        return to_text(os.fsencode(os.path.join(self.path, name) if name else self.path))


def _reason(error: BaseException) -> str:
    if isinstance(error, SlimagentError):
        return error.message
    return f"{type(error).__name__}: {error}" if isinstance(error, Exception) else "interrupted"


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
