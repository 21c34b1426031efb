"""Temporary files and directories beside their target. A lock tells which of them a killed process left.

The lock (flock(2)) belongs to an open descriptor, so the kernel releases it however a process ends, and it works
between containers that share a directory. A name is `.slimagent-DIRECTORY-RANDOM.partial`, where DIRECTORY is the inode
number of its directory: no image can contain such a name, since where it will be unpacked is unknown.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator

from slimagent.linux.descriptors import closing
from slimagent.linux.removal import remove_tree

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # do not wait for the writer of a FIFO
_NAME = re.compile(rb"\.slimagent-([0-9]+)-[0-9a-f]{32}\.partial")


def new_file(directory: bytes, mode: int = 0o600) -> tuple[int, bytes]:
    """Make an empty file. Returns a descriptor for reading and writing, which holds the lock, and the path."""
    while True:
        path = _free(directory)
        descriptor = os.open(path, _NEW, mode)
        if _is_held(descriptor, path):
            return descriptor, path
        os.close(descriptor)


@contextlib.contextmanager
def new_directory(directory: bytes) -> Iterator[bytes]:
    """Make an empty directory of mode 0700, locked during the block. Raises OSError.

    If the block does not move it to its target, it is removed with its contents.
    """
    while True:
        path = _free(directory)
        os.mkdir(path, 0o700)
        descriptor = os.open(path, _DIRECTORY)
        if _is_held(descriptor, path):
            break
        os.close(descriptor)
    with closing(descriptor):
        try:
            yield path
        finally:
            with contextlib.suppress(FileNotFoundError):
                remove_tree(path)


def remove_left(directory: bytes) -> None:
    """Remove what dead processes left in a directory, as far as we may."""
    with contextlib.suppress(OSError):
        here = os.stat(directory)
        for name in os.listdir(directory):
            match = _NAME.fullmatch(name)
            if match and int(match[1]) == here.st_ino:
                with contextlib.suppress(OSError):
                    _remove_if_left(os.path.join(directory, name), (os.geteuid(), here.st_uid))


def _remove_if_left(path: bytes, owners: tuple[int, ...]) -> None:
    status = os.lstat(path)
    is_directory = stat.S_ISDIR(status.st_mode)
    if status.st_uid not in owners or not (is_directory or stat.S_ISREG(status.st_mode)):
        return
    with closing(os.open(path, _OLD)) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (remove_tree if is_directory else os.unlink)(path)


def _free(directory: bytes) -> bytes:
    number = os.stat(directory or b".").st_ino
    return os.path.join(directory, b".slimagent-%d-%b.partial" % (number, secrets.token_hex(16).encode()))


def _is_held(descriptor: int, path: bytes) -> bool:
    """Lock a new file or directory. False if another process took it for a leftover first.

    On a file system without locks nothing is taken for a leftover.
    """
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
