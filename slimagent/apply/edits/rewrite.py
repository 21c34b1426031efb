"""Carry out one edit in an open folder: a file or link is made beside its place and renamed over it."""

from __future__ import annotations

import contextlib
import os
import stat

from slimagent.apply.decide import Deed
from slimagent.apply.source import Attributes
from slimagent.linux.descriptors import closing, write_all

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class AttributeRefusedError(OSError):
    """An extended attribute, `name`, that could not be set, for the reason of another error."""

    def __init__(self, error: OSError, name: bytes) -> None:
        super().__init__(error.errno, error.strerror)
        self.name = name


def replace(deed: Deed, folder: int, name: bytes, attributes: Attributes, temporary: bytes) -> None:
    """Put what the deed says at `name` in the open folder, at once: it is the old or the new, and never between.

    It is made as `temporary`, a name that nothing has. Its contents are on the disk before it has its own: a loss of
    power leaves no empty file (rename(2) alone does). Raises OSError; then the old one is still there and nothing
    beside it; FileExistsError if something has that name, and then that is still there.
    """
    try:
        place(deed, folder, temporary, attributes)
        if stat.S_ISREG(deed.mode):
            _sync(folder, temporary)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except FileExistsError:  # somebody else's
        raise
    except BaseException:
        discard(folder, temporary)
        raise


def _sync(folder: int, name: bytes) -> None:
    with closing(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)) as descriptor:
        os.fsync(descriptor)


def holds(deed: Deed, folder: int, name: bytes) -> bool:
    """Whether `name` in the open folder is what the deed makes of it already."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if (status.st_mode, status.st_uid, status.st_gid) != (deed.mode, deed.uid, deed.gid) or deed.data is None:
        return False
    if stat.S_ISLNK(deed.mode):
        return os.readlink(name, dir_fd=folder) == deed.data
    if (status.st_size, status.st_mtime_ns) != (len(deed.data), deed.mtime_ns):
        return False
    with open(name, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, dir_fd=folder)) as file:
        return file.read() == deed.data


def discard(folder: int, name: bytes) -> None:
    """Unlink what may be there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def place(deed: Deed, folder: int, name: bytes, attributes: Attributes) -> None:
    """Make the deed's file or symbolic link as `name`, which must be free, with owner, mode, attributes and time."""
    data = deed.data or b""
    if stat.S_ISLNK(deed.mode):
        link(data, folder, name, deed.uid, deed.gid, deed.mtime_ns)
        return
    with closing(os.open(name, NEW, 0o600, dir_fd=folder)) as descriptor:
        write_all(descriptor, data)
        finish(descriptor, deed.uid, deed.gid, deed.mode, attributes, deed.mtime_ns)


def link(target: bytes, folder: int, name: bytes, uid: int, gid: int, mtime_ns: int) -> None:
    """Make a symbolic link in an open folder, with owner and time."""
    os.symlink(target, name, dir_fd=folder)
    own(name, folder, uid, gid)
    date(name, folder, mtime_ns)


def own(name: bytes, folder: int, uid: int, gid: int) -> None:
    """Give what is new in an open folder its owner, if that is another one."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if (status.st_uid, status.st_gid) != (uid, gid):
        os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)


def date(name: bytes, folder: int, mtime_ns: int) -> None:
    """Give something in an open folder its time."""
    os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=folder, follow_symlinks=False)


def finish(descriptor: int, uid: int, gid: int, mode: int, attributes: Attributes, mtime_ns: int) -> None:
    """Give a new file or folder its owner, mode, attributes and time. Raises OSError, AttributeRefusedError of it."""
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) != (uid, gid):
        os.fchown(descriptor, uid, gid)  # before mode and attributes: it takes some of them off
    os.fchmod(descriptor, stat.S_IMODE(mode))
    give(descriptor, attributes)
    os.utime(descriptor, ns=(mtime_ns, mtime_ns))


def give(to: int | bytes, attributes: Attributes) -> None:
    """Set the extended attributes of an open file, or of a path. Raises AttributeRefusedError."""
    for name, value in attributes:
        try:
            os.setxattr(to, name, value, follow_symlinks=isinstance(to, int))
        except OSError as error:
            raise AttributeRefusedError(error, name) from None
