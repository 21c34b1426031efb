"""Remove a directory that others wrote to. Follows no link, and works at any depth."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Iterator

from slimagent.linux.descriptors import closing

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str | bytes) -> None:
    """Remove a directory and everything in it, without following links. Raises OSError.

    Each directory below moves to the top before it is emptied, so neither stack nor path length is a limit.
    """
    holder, name = os.path.split(os.path.abspath(path))
    with closing(os.open(holder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as parent:
        with closing(_opened(name, parent)) as top:
            numbers = itertools.count()
            while directories := _without_files(top):
                for each in directories:
                    _flatten(top, each, numbers)
        os.rmdir(name, dir_fd=parent)


def _flatten(top: int, name: bytes, numbers: Iterator[int]) -> None:
    """Move the subdirectories of a directory to the top, and remove it with its files."""
    with closing(_opened(name, top)) as at:
        for each in _without_files(at):
            os.chmod(each, 0o700, dir_fd=at)  # to move a directory is to write to it
            os.rename(each, _free(top, numbers), src_dir_fd=at, dst_dir_fd=top)
    os.rmdir(name, dir_fd=top)


def _without_files(at: int) -> list[bytes]:
    """Remove everything but directories from a directory, and return the names of those."""
    directories = []
    for name in map(os.fsencode, os.listdir(at)):
        if stat.S_ISDIR(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            directories.append(name)
        else:
            os.unlink(name, dir_fd=at)
    return directories


def _free(top: int, numbers: Iterator[int]) -> bytes:
    """A name that is free at the top."""
    while True:
        name = b"%d" % next(numbers)
        try:
            os.stat(name, dir_fd=top, follow_symlinks=False)
        except FileNotFoundError:
            return name


def _opened(name: str | bytes, parent: int) -> int:
    """Open a directory, and change its mode if it could not be emptied otherwise."""
    with contextlib.suppress(PermissionError):
        at = os.open(name, _DIRECTORY, dir_fd=parent)
        if os.geteuid() == 0 or os.fstat(at).st_mode & 0o700 == 0o700:
            return at
        os.close(at)
    if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        os.chmod(name, 0o700, dir_fd=parent)
    return os.open(name, _DIRECTORY, dir_fd=parent)
