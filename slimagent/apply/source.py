"""Read an image's files, and fail if one is no longer as the inventory says."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from slimagent.apply.decide import Decision
from slimagent.apply.directories import Directories, changed, unreadable
from slimagent.errors import UnavailableError
from slimagent.linux.descriptors import closing
from slimagent.model.inventory import Inventory
from slimagent.paths.algebra import to_text

# NONBLOCK: if a FIFO has replaced the file, opening must not wait for its writer
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Attributes = tuple[tuple[bytes, bytes], ...]


class Source:
    """The image's root, read component by component. Use as a context manager.

    Every method raises RefusedError for a path that has changed or vanished since the inventory was made, and
    UnavailableError for a path that cannot be read.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        try:
            self._directories = Directories(inventory.root)
        except OSError as error:
            raise unreadable(inventory.root, error) from None

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._directories.__exit__()

    def open(self, at: int) -> int:
        """A descriptor of a regular file that is still as the inventory has it. The caller closes it."""
        path = self._inventory.paths[at]
        try:
            directory, name = self._directories.holding(path)
            descriptor = os.open(name, _FLAGS, dir_fd=directory)
        except OSError as error:
            raise unreadable(path, error) from None
        try:
            self.check(at, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def read(self, at: int) -> bytes:
        """The contents of a regular file."""
        try:
            with open(self.open(at), "rb") as file:
                data = file.read()
                self.check(at, file.fileno())
        except OSError as error:
            raise unreadable(self._inventory.paths[at], error) from None
        if len(data) != self._inventory.sizes[at]:
            raise changed(self._inventory.paths[at], "changed")
        return data

    def check(self, at: int, descriptor: int) -> None:
        """Raise RefusedError if an open regular file is not as the inventory has it."""
        status = os.fstat(descriptor)
        inventory = self._inventory
        if not stat.S_ISREG(status.st_mode):
            raise changed(inventory.paths[at], "changed its kind")
        if status.st_size != inventory.sizes[at] or status.st_mtime_ns != inventory.mtimes[at]:
            raise changed(inventory.paths[at], "changed")

    def device(self, at: int) -> tuple[int, int]:
        """Major and minor number of a device file."""
        path = self._inventory.paths[at]
        try:
            directory, name = self._directories.holding(path)
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            raise unreadable(path, error) from None
        if stat.S_IFMT(status.st_mode) != stat.S_IFMT(self._inventory.modes[at]):
            raise changed(path, "changed its kind")
        return os.major(status.st_rdev), os.minor(status.st_rdev)

    def directory_attributes(self, at: int) -> Attributes:
        """The extended attributes of a directory."""
        path = self._inventory.paths[at]
        try:
            descriptor = self._directories.directory(path)
        except OSError as error:
            raise unreadable(path, error) from None
        return self.attributes(at, descriptor)

    def special_attributes(self, at: int) -> Attributes:
        """The extended attributes (access lists) of a FIFO, socket or device, which must not be opened."""
        path = self._inventory.paths[at]
        try:
            directory, name = self._directories.holding(path)
        except OSError as error:
            raise unreadable(path, error) from None
        if not os.path.isdir(b"/proc/self/fd/%d" % directory):
            return ()
        return self.attributes(at, b"/proc/self/fd/%d/%b" % (directory, name))

    def file_attributes(self, at: int) -> Attributes:
        """The extended attributes of a regular file."""
        with closing(self.open(at)) as descriptor:
            return self.attributes(at, descriptor)

    def attributes(self, at: int, of: int | bytes) -> Attributes:
        """The extended attributes of a descriptor or a path that belong to the image (xattr(7)).

        `trusted.*` belongs to the overlay file system; `security.selinux`, `ima` and `evm` belong to the host.
        """
        follow = isinstance(of, int)
        try:
            names = os.listxattr(of, follow_symlinks=follow)
            return tuple(
                (os.fsencode(name), os.getxattr(of, name, follow_symlinks=follow))
                for name in names
                if name.startswith(("user.", "system.posix_acl_")) or name == "security.capability"
            )
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                return ()
            raise unreadable(self._inventory.paths[at], error) from None


def require_readable(inventory: Inventory, decision: Decision) -> None:
    """Raise UnavailableError if something that stays could not be read when the inventory was made.

    A directory that could not be listed counts even if the plan drops it, because what it holds is unknown.
    """
    lacking = list(_lacking(inventory, decision))
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise UnavailableError(f"cannot read {to_text(lacking[0])}{more}", "run as root")


def _lacking(inventory: Inventory, decision: Decision) -> Iterator[bytes]:
    if not inventory.unreadable:
        return
    kept = set(decision.kept)
    for path in inventory.unreadable:
        at = inventory.index.get(path)
        if at is None or at in kept or stat.S_ISDIR(inventory.modes[at]):
            yield path
