"""Walk the image's own file system into an Inventory: other mounts, the agent and its output are left out."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Collection

from slimagent.errors import UsageError
from slimagent.model.inventory import Inventory
from slimagent.paths.algebra import mounted, sort_key, to_text, within

CAN_READ_ALL = frozenset({1, 2})  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH of <linux/capability.h>
_REPORT_EVERY = 4096


def scan(
    root: bytes,
    scopes: tuple[bytes, ...] = (b"/",),
    excluded: Collection[bytes] = (),
    progress: Callable[[int], None] | None = None,
    volumes: Collection[bytes] = (),
) -> Inventory:
    """Every path below `scopes` of the image at `root`, which is absolute and canonical.

    What this process cannot list or read is named in `Inventory.unreadable`. A file or directory on which another file
    system is mounted is not part of the image; such a directory is listed (it is a mount point), such a file is not.
    Mounts at `volumes` are part of it all the same.
    Raises UsageError if a scope is not there.
    """
    walk = _Walk(root, scopes, frozenset(excluded), progress, frozenset(volumes))
    for scope in sorted(set(scopes), key=sort_key):
        if scope in walk.inventory.index:
            continue  # inside an earlier scope
        walk.start(scope)
    return walk.inventory


class _Walk:
    def __init__(
        self,
        root: bytes,
        scopes: tuple[bytes, ...],
        excluded: frozenset[bytes],
        progress: Callable[[int], None] | None,
        volumes: frozenset[bytes],
    ) -> None:
        self.inventory = Inventory(root=root, scopes=scopes)
        self._prefix = b"" if root == b"/" else root
        self._excluded = excluded
        self._mounts = mount_points(root) - volumes
        self._may_read = _reader()
        self._progress = progress

    def start(self, scope: bytes) -> None:
        try:
            status = os.lstat(self._prefix + scope)
        except OSError as error:
            raise UsageError(
                f"cannot scan {to_text(scope)}: {error.strerror}", "name a directory of the image"
            ) from None
        if not stat.S_ISDIR(status.st_mode):
            raise UsageError(f"cannot scan {to_text(scope)}: it is not a directory", "name a directory of the image")
        self._add(scope, status)
        # Directories still to list, the next one last: depth first, so that entries come out in order.
        self._below(scope)

    def _below(self, scope: bytes) -> None:
        pending = [iter(self._list(scope))]
        while pending:
            found = next(pending[-1], None)
            if found is None:
                pending.pop()
                continue
            path, status = found
            is_directory = stat.S_ISDIR(status.st_mode)
            if path in self._mounts:
                self.inventory.mount_points.add(path)
                if is_directory:
                    self._add(path, status)
                continue
            self._add(path, status)
            if is_directory:
                pending.append(iter(self._list(path)))

    def _list(self, directory: bytes) -> list[tuple[bytes, os.stat_result]]:
        base = b"" if directory == b"/" else directory
        found = []
        try:
            with os.scandir(self._prefix + directory) as entries:
                for entry in entries:
                    path = base + b"/" + entry.name
                    if path in self._excluded:
                        continue
                    try:
                        found.append((path, entry.stat(follow_symlinks=False)))
                    except FileNotFoundError:
                        continue  # gone between the two calls: not part of a resting image
        except (FileNotFoundError, NotADirectoryError):
            pass  # gone as well; nothing says that it could not be read
        except OSError:
            self.inventory.unreadable.append(directory)
        found.sort()
        return found

    def _add(self, path: bytes, status: os.stat_result) -> None:
        inventory = self.inventory
        at = len(inventory.paths)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFLNK:
            try:
                inventory.targets[at] = os.readlink(self._prefix + path)
            except OSError:
                return  # gone, or another kind of file, since its directory was listed
        inventory.index[path] = at
        inventory.paths.append(path)
        inventory.modes.append(status.st_mode)
        inventory.uids.append(status.st_uid)
        inventory.gids.append(status.st_gid)
        inventory.sizes.append(status.st_size)
        inventory.mtimes.append(status.st_mtime_ns)
        inventory.ctimes.append(status.st_ctime_ns)
        inventory.devices.append(status.st_dev)
        inventory.inodes.append(status.st_ino)
        inventory.links.append(status.st_nlink)
        if kind == stat.S_IFREG and not self._may_read(status):
            inventory.unreadable.append(path)
        if self._progress is not None and at % _REPORT_EVERY == 0:
            self._progress(at)


def _reader() -> Callable[[os.stat_result], bool]:
    """A test by mode and owner whether this process may read a file: no system call per file.

    Access control lists are not looked at: they are rare in images, and reading the file finds out.
    """
    with open("/proc/self/status", "rb") as file:
        match = re.search(rb"^CapEff:\s*([0-9a-f]+)", file.read(), re.MULTILINE)
    capabilities = int(match[1], 16) if match else 0
    if any(capabilities >> each & 1 for each in CAN_READ_ALL):
        return lambda status: True
    user, groups = os.geteuid(), {os.getegid(), *os.getgroups()}

    def may_read(status: os.stat_result) -> bool:
        if status.st_uid == user:
            return bool(status.st_mode & stat.S_IRUSR)
        return bool(status.st_mode & (stat.S_IRGRP if status.st_gid in groups else stat.S_IROTH))

    return may_read


def mount_points(root: bytes) -> frozenset[bytes]:
    """Paths below `root`, seen from it, on which another file system is mounted."""
    with open("/proc/self/mountinfo", "rb") as file:
        mounts = mounted(file.read())
    cut = 0 if root == b"/" else len(root)
    return frozenset(mount[cut:] for mount in mounts if mount != root and within(mount, root))
