"""Which files a path names during its call: through links of the run or of the kernel, in any root.

The spelling of a path is enough evidence if the scan before the run knows every link on its way. It is not if the run
made, moved or replaced a link or a directory, if a link in /proc leads through a process, or if a process has another
root. Such paths are followed here while their call waits: afterwards the link may be gone.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from slimagent.linux import kernel
from slimagent.linux.mount_table import MountTable
from slimagent.paths.algebra import MAXIMUM_LINKS, ancestors, normalise, parent

_T = TypeVar("_T")

_PATH_MAX = 4096  # <linux/limits.h>, with the NUL
_COARSE = 5  # CLOCK_REALTIME_COARSE of <linux/time.h>: the clock of file timestamps
_MOST_KNOWN = 200_000  # paths and directories in memory: a run may use new ones for ever
# Links of a process or a thread, which the kernel follows without a name (proc(5)).
_MAGIC = re.compile(rb"/(\d+)(?:/task/(\d+))?/(root|cwd|exe|fd/\d+|map_files/[0-9a-f]+-[0-9a-f]+)")


class Caller(NamedTuple):
    """The caller: its thread, its process, and where a link of /proc/TASK leads (b"": to no file)."""

    task: int
    process: Callable[[], int]
    follow: Callable[[int, str], bytes]


class Walk(NamedTuple):
    """The symbolic links on a path and its end, by their names before the run.

    `plain`: the watched processes have not changed where the path leads. `end` is the present name of the last one, or
    the kernel's link to a file without a name.
    """

    names: tuple[bytes, ...]
    plain: bool
    end: bytes


class Changes:
    """How the watched processes have changed names. All supervisors of a watcher share it.

    `names`: where a link or a directory was made, moved or replaced; at first, where a part of the file systems of
    `directories` is mounted again. `began`: the start of the watch, by the clock of file timestamps.
    """

    def __init__(self, directories: Iterable[bytes]) -> None:
        self.began = time.clock_gettime_ns(_COARSE)
        self.mounts = MountTable(directories)
        self.names: set[bytes] = set(self.mounts.again)
        self.generation = 0
        self._caches: list[set[bytes] | dict[bytes, Any]] = []
        self._before: dict[tuple[int, int], bytes] = {}

    def close(self) -> None:
        """Close its descriptor."""
        self.mounts.close()

    def forgets(self, cache: set[bytes] | dict[bytes, Any]) -> None:
        """Clear `cache` whenever paths may lead somewhere else."""
        self._caches.append(cache)

    def change(self, name: bytes) -> None:
        """Note that `name` may become something else: no path through it is plain any more."""
        self.names |= {name, self.original(name)} - {b""}
        self.generation += 1
        for cache in self._caches:
            cache.clear()

    def move(self, old: bytes, new: bytes) -> None:
        """Note that a call is about to rename `old` to `new`, or to exchange them.

        A file that replaces a file changes nothing here: that is how files are written. A directory takes its names
        along. We recognise it by its identity, since we do not learn whether the call worked.
        """
        moved = [self._is_place(name) for name in (old, new) if name]  # no short circuit: look at each
        if any(moved):
            self.change(old)
            self.change(new)

    def _is_place(self, name: bytes) -> bool:
        """Whether `name` is a link or a directory, or unknown. Remembers a directory."""
        try:
            status = _looking(os.lstat, name)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        if stat.S_ISDIR(status.st_mode):
            self._before.setdefault((status.st_dev, status.st_ino), self.original(name))
        return not stat.S_ISREG(status.st_mode)

    def remove(self, name: bytes) -> None:
        """Note that a call is about to remove `name`. That matters only if it is a link."""
        try:
            is_link = stat.S_ISLNK(_looking(os.lstat, name).st_mode)
        except OSError:
            return
        if is_link:
            self.change(name)

    def original(self, name: bytes) -> bytes:
        """The name of a file before directories were moved, and not under a second mount."""
        if self.mounts.again:
            name = self.mounts.original(name)
        if self._before:
            for above in (name, *ancestors(name)):
                try:
                    status = _looking(os.lstat, above)
                except OSError:
                    continue
                before = self._before.get((status.st_dev, status.st_ino))
                if before is not None:
                    return before + name[len(above) :]
        return name


class Names:
    """Follow paths for one supervisor. `plain` are absolute paths that are known to be plain."""

    def __init__(self, changes: Changes) -> None:
        self.plain: set[bytes] = set()
        self._changes = changes
        self._directories: dict[bytes, bytes] = {b"": b"/"}  # spelling: where it really is
        self._mounts = changes.mounts
        changes.forgets(self.plain)
        changes.forgets(self._directories)  # the root too: it is learnt again

    def is_plain(self, path: bytes) -> bool:
        """Whether an absolute path from our root leads only through links that were there before the run.

        While no name has changed, a link at the end is not checked: the kernel's own lead only to files in use.
        """
        generation, changed = self._changes.generation, self._changes.names
        directory, _, last = path.rpartition(b"/")
        real = self._directories.get(directory)
        if real is None:
            real = self._learn(directory, generation)
        if not real or last in (b"", b".", b".."):
            return bool(real) and self._walk(None, b"/", b"/", path).plain
        there = real + last if real == b"/" else real + b"/" + last
        if there in changed or there in self._mounts.special:
            return False
        follow = changed or real == b"/dev"
        if follow and self._link(there) is not None and not self._walk(None, b"/", real, last).plain:
            return False
        if generation == self._changes.generation:  # no change meanwhile
            self._make_room()
            self.plain.add(path)
        return True

    def _learn(self, directory: bytes, generation: int) -> bytes:
        """Where a directory really is if its path is plain, else b""."""
        above, _, last = directory.rpartition(b"/")
        real, there = self._directories.get(above), b""
        if real is not None and last not in (b"", b".", b".."):
            there = real + last if real == b"/" else real + b"/" + last
            if there in self._changes.names or there in self._mounts.special:
                return b""
        if not there or self._link(there) is not None:
            way = self._walk(None, b"/", b"/", directory)
            there = way.end if way.plain and way.names else b""
        if there and generation == self._changes.generation:
            self._make_room()
            self._directories[directory] = there
        return there

    def _make_room(self) -> None:
        if len(self.plain) + len(self._directories) > _MOST_KNOWN:
            self.plain.clear()
            self._directories.clear()
            self._directories[b""] = b"/"

    def walk(self, caller: Caller, start: bytes, path: bytes, *, root: bytes, follow: bool = True) -> Walk:
        """Follow `path` from the directory `start`, or from `root` if it is absolute. `..` stops at `root`.

        With `follow=False` a link at the very end is not followed.
        """
        return self._walk(caller, root, start, path, follow)

    def _walk(self, caller: Caller | None, root: bytes, start: bytes, path: bytes, follow: bool = True) -> Walk:
        """Walk as the kernel does (path_resolution(7)). Without a caller the first kernel link ends the walk."""
        here = root if path[:1] == b"/" else start
        if self._mounts.covers(here):
            end = normalise(here + b"/" + path)
            return Walk((end,), False, end)
        plain = root == b"/" and not self._has_changed(here)
        names: list[bytes] = []
        ahead = path.split(b"/")[::-1]
        while ahead:
            part = ahead.pop()
            if part in (b"", b".", b".."):
                here = parent(here) if part == b".." and here != root else here
                continue
            there = here + part if here == b"/" else here + b"/" + part
            plain = plain and there not in self._changes.names
            if self._mounts.covers(there):
                end = normalise(there + b"/" + b"/".join(ahead[::-1]))
                return Walk((*names, end), False, end)
            target, jumps = self._link_at(caller, there) if follow or any(ahead) else (None, None)
            if target is None:
                here = there
                continue
            if jumps is None:
                names.append(self._changes.original(there))
            else:
                plain = False
            if len(names) > MAXIMUM_LINKS or (jumps is not None and (caller is None or not target)):
                return Walk(tuple(names), plain, there)
            if jumps:
                here = target
            else:
                here = root if target[:1] == b"/" else here
                ahead += target.split(b"/")[::-1]
        if self._mounts.of_kernel(here) is None:
            names.append(self._changes.original(here))
        return Walk(tuple(dict.fromkeys(names)), plain, here)

    def _has_changed(self, directory: bytes) -> bool:
        """Whether an open or working directory has another name than before the run."""
        changed = self._changes.names
        return bool(changed) and (directory in changed or any(above in changed for above in ancestors(directory)))

    def _link_at(self, caller: Caller | None, there: bytes) -> tuple[bytes | None, bool | None]:
        """The target of a link (None: not a link). In /proc also whether the walk jumps there, elsewhere None."""
        below = self._mounts.of_kernel(there)
        if below is None:
            return self._link(there), None
        is_own = below in (b"/self", b"/thread-self")
        magic = None if is_own else _MAGIC.fullmatch(below)
        if not is_own and magic is None:
            return self._link(there), False
        if caller is None:
            return b"", True
        if magic is not None:
            return caller.follow(int(magic[2] or magic[1]), magic[3].decode()), True
        process = b"%d" % caller.process()
        return (process if below == b"/self" else b"%s/task/%d" % (process, caller.task)), False

    def _link(self, path: bytes) -> bytes | None:
        """The target of a symbolic link, or None. Raises OSError for a link of the run that is too deep."""
        try:
            return _looking(os.readlink, path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG and len(path) >= _PATH_MAX and path in self._changes.names:
                raise
            return None


def _looking(look: Callable[[bytes], _T], path: bytes) -> _T:
    """Call `look` with this thread's present user, else as ourselves. Raises OSError."""
    try:
        return look(path)
    except PermissionError:
        kernel.set_file_system_user(os.geteuid(), os.getegid())
        return look(path)
