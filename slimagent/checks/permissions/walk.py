"""Owner, group, mode, capabilities and access control lists of everything in the image, as they are on disk."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from slimagent.linux.posix_acl import Attributes, Identity
from slimagent.paths.algebra import join, mounted

_EXTENDED = ("security.capability", "system.posix_acl_access", "system.posix_acl_default")
_NONE: tuple[bytes, ...] = (b"", b"", b"")
# Programs fill these while the image runs, or the engine mounts them: their contents are skipped.
TRANSIENT = frozenset({b"/proc", b"/sys", b"/dev", b"/run", b"/tmp", b"/var/tmp"})
# Running programs create files here: only the directories in them are compared.
WRITTEN = frozenset({b"/var/cache", b"/var/log"})
_ENGINE_FILES = frozenset({b"/.dockerenv", b"/etc/mtab"})
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.ENODATA)


class TooSlowError(Exception):
    """The walk did not end in time; `paths` is how many it had read."""

    def __init__(self, paths: int) -> None:
        super().__init__(paths)
        self.paths = paths


@dataclass(slots=True, kw_only=True)
class Snapshot:
    """The attributes of all paths, in columns: `listings[DIRECTORY][NAME]` is an index into `attributes`.

    Directories are absolute and come after the one that holds them. Each has a listing, which may be empty. The first,
    of the directory b"", has the absolute paths where the walk began. `identity` is the user of the run. `unreadable`
    is what could not be read; it is not kept after the run.
    """

    identity: Identity
    attributes: list[Attributes] = field(default_factory=list)
    listings: dict[bytes, dict[bytes, int]] = field(default_factory=dict)
    unreadable: list[bytes] = field(default_factory=list)

    def count(self) -> int:
        """How many paths it knows."""
        return sum(map(len, self.listings.values()))


def below(directory: bytes, name: bytes) -> bytes:
    """The path of `name` in a listing of `Snapshot.listings`."""
    return name if not directory else b"/" + name if directory == b"/" else directory + b"/" + name


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What the walk skips: `paths`, what `fits`, the contents of the directories in `transient`.

    In the directories in `written`, and in hidden directories of `homes`, it skips the files.
    """

    paths: frozenset[bytes]
    homes: frozenset[bytes] = frozenset()
    fits: Callable[[bytes], int | None] | None = None
    transient: frozenset[bytes] = TRANSIENT
    written: frozenset[bytes] = WRITTEN


def look(directories: Sequence[bytes], identity: Identity, left_out: LeftOut, deadline: float) -> Snapshot:
    """Walk absolute directories. Raises TooSlowError after `deadline` (monotonic), OSError if one does not exist."""
    walk = _Walk(identity, left_out, deadline)
    walk.start(directories)
    return walk.snapshot


class _Walk:
    def __init__(self, identity: Identity, left_out: LeftOut, deadline: float) -> None:
        self.snapshot = Snapshot(identity=identity)
        self._left_out = left_out
        self._deadline = deadline
        self._numbers: dict[tuple[int | bytes, ...], int] = {}
        self._paths = 0

    def start(self, directories: Sequence[bytes]) -> None:
        first = {directory: self._number(directory, os.lstat(directory)) for directory in sorted(set(directories))}
        self.snapshot.listings[b""] = first
        pending = [(directory, False) for directory, number in first.items() if self._is_directory(number)]
        while pending:
            if time.monotonic() > self._deadline:
                raise TooSlowError(self._paths)
            directory, only_directories = pending.pop()
            listing = {} if directory in self._left_out.transient else self._list(directory, only_directories)
            self.snapshot.listings[directory] = listing
            self._paths += len(listing)
            for name, number in listing.items():
                if self._is_directory(number):
                    pending.append((below(directory, name), only_directories or self._is_written(directory, name)))

    def _is_directory(self, number: int) -> bool:
        return stat.S_ISDIR(self.snapshot.attributes[number].mode)

    def _is_written(self, directory: bytes, name: bytes) -> bool:
        left_out = self._left_out
        return below(directory, name) in left_out.written or (name[:1] == b"." and directory in left_out.homes)

    def _list(self, directory: bytes, only_directories: bool) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    number = self._look_at(entry, only_directories)
                    if number is not None:
                        found[entry.name] = number
        except (FileNotFoundError, NotADirectoryError):
            pass  # gone since it was found
        except OSError:
            self.snapshot.unreadable.append(directory)
        return dict(sorted(found.items()))

    def _look_at(self, entry: os.DirEntry[bytes], only_directories: bool) -> int | None:
        path, left_out = entry.path, self._left_out
        if path in left_out.paths or (left_out.fits is not None and left_out.fits(path) is not None):
            return None
        try:
            if only_directories and not entry.is_dir(follow_symlinks=False):
                return None
            return self._number(path, entry.stat(follow_symlinks=False))
        except FileNotFoundError:
            return None  # gone since it was found
        except OSError:  # in a directory that may be listed and not searched, or too long a path
            self.snapshot.unreadable.append(path)
            return None

    def _number(self, path: bytes, status: os.stat_result) -> int:
        mode = status.st_mode
        extended = _NONE
        if not stat.S_ISLNK(mode):  # links have neither of them
            names = _extended(path)
            if names:
                extended = tuple(_value(path, name) if name in names else b"" for name in _EXTENDED)
        found: tuple[int | bytes, ...] = (mode, status.st_uid, status.st_gid, *extended)  # plain: most are known
        number = self._numbers.get(found)
        if number is None:
            number = self._numbers[found] = len(self.snapshot.attributes)
            self.snapshot.attributes.append(Attributes._make(found))
        return number


def attributes_of(path: bytes) -> Attributes:
    """The attributes of one path that is not a link. Raises OSError."""
    status = os.lstat(path)
    return Attributes(status.st_mode, status.st_uid, status.st_gid, *(_value(path, name) for name in _EXTENDED))


def _extended(path: bytes) -> list[str]:
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return []
        raise


def _value(path: bytes, name: str) -> bytes:
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return b""
        raise


def usually_left_out(homes: Iterable[str], fits: Callable[[bytes], int | None] | None = None) -> LeftOut:
    """What is not part of the image (other file systems, the engine's files, the agent), and what runs create.

    Raises OSError if /proc/self/mountinfo cannot be read.
    """
    with open("/proc/self/mountinfo", "rb") as file:
        paths = {*mounted(file.read()), *_ENGINE_FILES}
    agent = os.environ.get("SLIMAGENT_HOME")
    if agent:
        paths.add(os.path.realpath(os.fsencode(agent)))
    found = set()
    for home in homes:
        with contextlib.suppress(OSError, ValueError):
            found.add(os.path.realpath(join(b"/", os.fsencode(home))))
    return LeftOut(paths=frozenset(paths - {b"/"}), homes=frozenset(found - {b"/"}), fits=fits)
