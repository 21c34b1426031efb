"""Carry out one edit in an open directory: make a file or link under another name, and rename it over the old one."""

from __future__ import annotations

import contextlib
import os
import stat

from slimagent.apply.decide import Action
from slimagent.apply.source import Attributes
from slimagent.linux.descriptors import closing, write_all

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class AttributeRefusedError(OSError):
    """The extended attribute `name` could not be set."""

    def __init__(self, error: OSError, name: bytes) -> None:
        super().__init__(error.errno, error.strerror)
        self.name = name


def replace(action: Action, directory: int, name: bytes, attributes: Attributes, temporary: bytes) -> None:
    """Put what the action says at `name` in the open directory, at once: it is the old or the new, and never between.

    It is made under the unused name `temporary`. Its contents are on the disk before it is renamed: rename(2) alone
    could leave an empty file after a loss of power. Raises OSError: then the old one is still there and nothing is
    left beside it. Raises FileExistsError if something has the name `temporary`, and leaves that alone.
    """
    try:
        place(action, directory, temporary, attributes)
        if stat.S_ISREG(action.mode):
            with closing(os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)) as made:
                os.fsync(made)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except FileExistsError:  # not ours
        raise
    except BaseException:
        discard(directory, temporary)
        raise


def holds(action: Action, directory: int, name: bytes) -> bool:
    """Whether `name` in the open directory already is what the action makes of it."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if (status.st_mode, status.st_uid, status.st_gid) != (action.mode, action.uid, action.gid) or action.data is None:
        return False
    if stat.S_ISLNK(action.mode):
        return os.readlink(name, dir_fd=directory) == action.data
    if (status.st_size, status.st_mtime_ns) != (len(action.data), action.mtime_ns):
        return False
    with open(name, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, dir_fd=directory)) as file:
        return file.read() == action.data


def discard(directory: int, name: bytes) -> None:
    """Unlink a file, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def place(action: Action, directory: int, name: bytes, attributes: Attributes) -> None:
    """Make the action's file or symbolic link as the unused `name`, with owner, mode, attributes and time."""
    data = action.data or b""
    if stat.S_ISLNK(action.mode):
        link(data, directory, name, action.uid, action.gid, action.mtime_ns)
        return
    with closing(os.open(name, NEW, 0o600, dir_fd=directory)) as descriptor:
        write_all(descriptor, data)
        finish(descriptor, action.uid, action.gid, action.mode, attributes, action.mtime_ns)


def link(target: bytes, directory: int, name: bytes, uid: int, gid: int, mtime_ns: int) -> None:
    """Make a symbolic link in an open directory, with owner and time."""
    os.symlink(target, name, dir_fd=directory)
    own(name, directory, uid, gid)
    date(name, directory, mtime_ns)


def own(name: bytes, directory: int, uid: int, gid: int) -> None:
    """Give something new in an open directory its owner, if it has another one."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if (status.st_uid, status.st_gid) != (uid, gid):
        os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)


def date(name: bytes, directory: int, mtime_ns: int) -> None:
    """Give something in an open directory its time."""
    os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=directory, follow_symlinks=False)


def finish(descriptor: int, uid: int, gid: int, mode: int, attributes: Attributes, mtime_ns: int) -> None:
    """Give a new file or directory its owner, mode, attributes and time. Raises OSError, AttributeRefusedError."""
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) != (uid, gid):
        os.fchown(descriptor, uid, gid)  # before mode and attributes: it removes some of them
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
