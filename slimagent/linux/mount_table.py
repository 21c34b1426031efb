"""The mounts of our namespace that change what a path means (proc_pid_mountinfo(5))."""

from __future__ import annotations

import contextlib
import os
import re
import select
from collections.abc import Iterable
from typing import NamedTuple

from slimagent.paths.algebra import within

_OCTAL = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """A mount: its point, the file system's device and type, and which directory of the file system it shows."""

    point: bytes
    device: bytes
    kind: bytes
    shows: bytes


class MountTable:
    """The mounts at the start of the watch, and whether they have changed since.

    `special`: where a proc file system is mounted, and covered paths.
    `again`: mount points that show a directory which another mount shows too, with that directory. Only for the file
    systems that hold `directories`.
    `cover` a path on which a watched process mounts something. We do not look there any more: if a watched process
    serves that file system, it would wait for us while we wait for it.
    """

    def __init__(self, directories: Iterable[bytes]) -> None:
        self._descriptor = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLPRI)
        with open(self._descriptor, "rb", closefd=False) as file:
            mounts = parse(file.read())
        self._kernels = [(each.point, each.shows.rstrip(b"/")) for each in mounts if each.kind == b"proc"][::-1]
        self.special = {point for point, _ in self._kernels}
        devices = set(map(_device, directories))
        self.again = shown_again([each for each in mounts if each.device in devices])
        self._covered: set[bytes] = set()
        self._have_changed = False

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)

    def cover(self, point: bytes) -> None:
        """Note that something is about to be mounted on `point`."""
        self._covered.add(point)
        self.special.add(point)

    def covers(self, path: bytes) -> bool:
        """Whether `path` or a directory above it was covered and the mounts have changed since."""
        return bool(self._covered) and any(within(path, point) for point in self._covered) and self.have_changed()

    def have_changed(self) -> bool:
        """Whether something was mounted, moved or unmounted in our namespace since the watch began."""
        if not self._have_changed:
            self._have_changed = any(events & (select.POLLPRI | select.POLLERR) for _, events in self._poll.poll(0))
        return self._have_changed

    def of_kernel(self, path: bytes) -> bytes | None:
        """The path within a proc file system, b"" for its root. None if `path` is not on one."""
        for point, shows in self._kernels:
            if path.startswith(point) and path[len(point) : len(point) + 1] in (b"", b"/"):
                return shows + path[len(point) :]
        return None

    def original(self, path: bytes) -> bytes:
        """The name of a file under the first of two mounts that show it."""
        for point, directory in self.again.items():
            if within(path, point):
                return (directory.rstrip(b"/") + path[len(point) :]) or b"/"
        return path


def _device(path: bytes) -> bytes:
    """The device of a file as mountinfo writes it. b"" if there is no file."""
    try:
        device = os.stat(path).st_dev
    except OSError:
        return b""
    return b"%d:%d" % (os.major(device), os.minor(device))


def parse(mountinfo: bytes) -> list[Mount]:
    """Read /proc/PID/mountinfo. Skips malformed rows."""
    mounts = []
    for line in mountinfo.split(b"\n"):
        with contextlib.suppress(IndexError):
            before, _, after = line.partition(b" - ")
            fields = before.split(b" ")
            point, shows = (_OCTAL.sub(lambda code: bytes([int(code[1], 8) & 0xFF]), fields[at]) for at in (4, 3))
            mounts.append(Mount(point, fields[2], after.split(b" ", 1)[0], shows))
    return mounts


def shown_again(mounts: list[Mount]) -> dict[bytes, bytes]:
    """Map mount points to where another mount of the same file system shows the same directory."""
    found = {}
    for at, each in enumerate(mounts):
        for before, other in enumerate(mounts):
            is_part = within(each.shows, other.shows) and (each.shows != other.shows or before < at)
            if not is_part or each.device != other.device or each.kind == b"proc":
                continue
            directory = (other.point.rstrip(b"/") + each.shows[len(other.shows.rstrip(b"/")) :]).rstrip(b"/") or b"/"
            if directory != each.point:
                found[each.point] = directory
                break
    return found
