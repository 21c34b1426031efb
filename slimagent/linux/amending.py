"""Change a file that others may change at the same time: each change is made to what the one before has left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterator

from slimagent.errors import UnavailableError
from slimagent.linux.descriptors import closing, write_all
from slimagent.linux.files import explaining, replacing
from slimagent.paths.algebra import to_text

_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK


def amend(path: str | bytes, change: Callable[[bytes], bytes]) -> None:
    """Replace the content of a file, empty if there is none, by what `change` makes of it: completely or not at all.

    A link is followed, and the file's permissions stay. If `change` raises, or returns the same bytes, nothing is
    written. Raises UnavailableError.
    """
    target = os.path.realpath(os.fsencode(path))
    is_new = not os.path.lexists(target)
    with explaining(target), _held(target) as descriptor:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise UnavailableError(f"cannot write {to_text(target)}: it is not a regular file", "choose another target")
        try:
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read()
            changed = change(data)
        except BaseException:
            if is_new:
                _remove_empty(target)
            raise
        if changed != data:
            with replacing(target) as new:
                os.fchmod(new, stat.S_IMODE(before.st_mode))
                write_all(new, changed)


@contextlib.contextmanager
def _held(target: bytes) -> Iterator[int]:
    """Open a file and lock it. Whoever waited for the lock may hold a file that was replaced meanwhile."""
    while True:
        with closing(os.open(target, _OPEN, 0o644)) as descriptor:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is(descriptor, target):
                yield descriptor
                return


def _is(descriptor: int, target: bytes) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(target))
    except FileNotFoundError:
        return False


def _remove_empty(target: bytes) -> None:
    with contextlib.suppress(OSError):
        if not os.stat(target).st_size:
            os.unlink(target)
