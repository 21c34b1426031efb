"""The mounts of our namespace, as far as they change what a path means (proc_pid_mountinfo(5))."""

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
    """The mounts when the watch began, and whether there are others now.

    `special` are where a proc file system is mounted, and what was covered.
    `again` are mount points that show a directory which another mount shows as well: mount point → that directory. Only
    those count that show a part of the file systems on which `folders` are.
    What a watched process mounts something on may be `cover`ed. Nobody looks there any more: a file system that a
    watched process serves would wait for us, as that process waits for our answer.
    """

    def __init__(self, folders: Iterable[bytes]) -> None:
        self._descriptor = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLPRI)
        with open(self._descriptor, "rb", closefd=False) as file:
            mounts = parse(file.read())
        self._kernels = [(each.point, each.shows.rstrip(b"/")) for each in mounts if each.kind == b"proc"][::-1]
        self.special = {point for point, _ in self._kernels}
        devices = set(map(_device, folders))
        self.again = shown_again([each for each in mounts if each.device in devices])
        self._covered: set[bytes] = set()
        self._have_changed = False

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self._descriptor)

    def cover(self, point: bytes) -> None:
        """Something is about to be mounted on `point`."""
        self._covered.add(point)
        self.special.add(point)

    def covers(self, path: bytes) -> bool:
        """Whether `path`, or a directory above it, was covered, and the mounts are others since."""
        return bool(self._covered) and any(within(path, point) for point in self._covered) and self.have_changed()

    def have_changed(self) -> bool:
        """Whether something was mounted, moved or unmounted in our namespace since the watch began."""
        if not self._have_changed:
            self._have_changed = any(events & (select.POLLPRI | select.POLLERR) for _, events in self._poll.poll(0))
        return self._have_changed

    def of_kernel(self, path: bytes) -> bytes | None:
        """The path within a proc file system, b"" for its root; None for a path that is not on one."""
        for point, shows in self._kernels:
            if path.startswith(point) and path[len(point) : len(point) + 1] in (b"", b"/"):
                return shows + path[len(point) :]
        return None

    def original(self, path: bytes) -> bytes:
        """The name of a file by the other of two mounts that show it."""
        for point, directory in self.again.items():
            if within(path, point):
                return (directory.rstrip(b"/") + path[len(point) :]) or b"/"
        return path


def _device(path: bytes) -> bytes:
    """The device of a file as mountinfo names it, b"" for no file."""
    try:
        device = os.stat(path).st_dev
    except OSError:
        return b""
    return b"%d:%d" % (os.major(device), os.minor(device))


def parse(mountinfo: bytes) -> list[Mount]:
    """The rows of /proc/PID/mountinfo; what is no row of it is left out."""
    mounts = []
    for line in mountinfo.split(b"\n"):
        with contextlib.suppress(IndexError):
            before, _, after = line.partition(b" - ")
            fields = before.split(b" ")
            point, shows = (_OCTAL.sub(lambda code: bytes([int(code[1], 8) & 0xFF]), fields[at]) for at in (4, 3))
            mounts.append(Mount(point, fields[2], after.split(b" ", 1)[0], shows))
    return mounts


def shown_again(mounts: list[Mount]) -> dict[bytes, bytes]:
    """Mount points, and where another mount of the same file system shows the same directory."""
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
