"""Load stripped libraries with the image's own Python, as the image's programs would: each in a process of its own.

The Python and the constructors of a library are code that we do not trust, so they run without rights, in processes
that may crash or hang. The copy of a library lies elsewhere than the library. So what it needs is loaded first, from
where the library itself would look (ld.so(8), "$ORIGIN"): the loader finds a library that is loaded by its name.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Sequence
from queue import SimpleQueue

from slimagent.apply.strip.program import on_path
from slimagent.apply.strip.rights import user_options
from slimagent.elf.needs import needs
from slimagent.elf.tables import ET_DYN, PT_INTERP, Read, Tables
from slimagent.paths.algebra import parent

SECONDS = 60.0  # the most that one library may take
_LONGEST_WORD = 16  # bytes
_SILENT = 3  # missing answers after which no Python is asked any more

# Runs under the image's Python, 3.6 or later. A request is a line, [seconds, what to load first], with a descriptor of
# the library.
_CHILD = r"""
import _socket, ctypes, json, os, resource, signal, sys, time

peer = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, 0)

def requests():
    data, files = b"", []
    while True:
        piece, extra = peer.recvmsg(65536, 64)[:2]
        if not piece:
            return
        data += piece
        for _, _, value in extra:
            files += [int.from_bytes(value[at:at + 4], sys.byteorder) for at in range(0, len(value) - 3, 4)]
        if data.endswith(b"\n"):
            yield files[0], json.loads(data.decode())
            for each in files:
                os.close(each)
            data, files = b"", []

def load(file, first):
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for each in (0, 1, 2):
        os.dup2(null, each)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["HOME"] = "/nonexistent"
    for each in first:
        try:
            ctypes.CDLL(each, mode=os.RTLD_LAZY)
        except OSError:
            pass
    ctypes.CDLL("/proc/self/fd/%d" % file, mode=os.RTLD_NOW)

def serve(file, seconds, first):
    child = os.fork()
    if not child:
        status = 1
        try:
            load(file, [os.fsencode(each) for each in first])
            status = 0
        finally:
            os._exit(status)
    end = time.monotonic() + seconds
    wait = 0.001
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status == 0
        if time.monotonic() > end:
            try:
                os.killpg(child, signal.SIGKILL)
            except ProcessLookupError:
                os.kill(child, signal.SIGKILL)
        time.sleep(wait)
        wait = min(wait * 2, 0.05)

peer.sendall(b"ready\n")
for file, request in requests():
    peer.sendall(b"yes\n" if serve(file, *request) else b"no\n")
"""


def interpreters(excluded: tuple[bytes, ...] = ()) -> tuple[str, ...]:
    """The Pythons of the image that we run in, those of PATH first, without those in `excluded`, e.g. the agent's."""
    ours = tuple(directory + b"/" for directory in excluded)
    return tuple(each for each in on_path("python3") if not os.fsencode(each).startswith(ours))


def is_library(found: Tables) -> bool:
    """Whether a file is a shared library and not a program."""
    return found.kind == ET_DYN and not any(each.kind == PT_INTERP for each in found.segments)


def needed(read: Read, path: bytes) -> list[bytes]:
    """Where a library at `path` would look for the libraries that it needs, by its own search path."""
    found = needs(read)
    if found is None:
        return []
    directories = [_expanded(each, path) for each in found.search]
    return [os.path.join(each, name) for name in found.libraries for each in directories if b"/" not in name]


def _expanded(directory: bytes, path: bytes) -> bytes:
    return directory.replace(b"${ORIGIN}", parent(path)).replace(b"$ORIGIN", parent(path))


class Child:
    """A Python that loads libraries on request, as `user`, until it is closed. Threads must not share one.

    It gets descriptors for reading, and answers with a word. Raises OSError if it cannot be started.
    """

    def __init__(self, program: str, user: int | None = None, seconds: float = SECONDS) -> None:
        """`seconds` is the time that it has to start, and that a library has to load."""
        self._seconds = seconds
        self._socket, its = socket.socketpair()
        self._socket.settimeout(seconds)
        try:
            with its:
                self._process = subprocess.Popen(
                    [program, "-I", "-S", "-c", _CHILD],
                    stdin=its.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    start_new_session=True,
                    **user_options(user),
                )
        except BaseException:
            self._socket.close()
            raise
        self.is_ready = self._answer() == b"ready"

    def close(self) -> None:
        """End it."""
        self.is_ready = False
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def loads(self, library: int, first: list[bytes]) -> bool:
        """Whether the library of a descriptor can be loaded, with all its symbols, after those in `first`.

        A crash or a timeout is a no.
        """
        request = json.dumps([self._seconds, [os.fsdecode(each) for each in first]]).encode() + b"\n"
        self._socket.settimeout(2 * self._seconds)
        try:
            sent = socket.send_fds(self._socket, [request], [library])
            self._socket.sendall(request[sent:])
        except OSError:
            self.is_ready = False
            return False
        answer = self._answer()
        self.is_ready = answer in (b"yes", b"no")
        return answer == b"yes"

    def _answer(self) -> bytes:
        """A word, empty for none. The program is not ours: it may say anything, or nothing."""
        said = b""
        try:
            while not said.endswith(b"\n") and len(said) < _LONGEST_WORD:
                piece = self._socket.recv(_LONGEST_WORD)
                if not piece:
                    break
                said += piece
        except OSError:
            return b""
        return said.strip()


class Children:
    """At most `count` children of the first Python that `user` can run. One thread uses one at a time."""

    def __init__(self, programs: Sequence[str], user: int | None, seconds: float, count: int) -> None:
        self._programs = list(programs)
        self._user = user
        self._seconds = seconds
        self._silent = 0
        self._lock = threading.Lock()
        self._idle: SimpleQueue[Child | None] = SimpleQueue()
        for _ in range(count):
            self._idle.put(None)

    def close(self) -> None:
        """End the idle ones."""
        while not self._idle.empty():
            child = self._idle.get()
            if child is not None:
                child.close()

    def loads(self, library: int, first: list[bytes]) -> bool:
        """Do what `Child.loads` does; False if no Python can be run."""
        if not self._programs:
            return False
        child = self._idle.get()
        try:
            if child is None or not child.is_ready:
                if child is not None:
                    child.close()
                child = self._new()
            if child is None:
                return False
            loaded = child.loads(library, first)
            if not child.is_ready:  # no answer, which should come even after a crash
                with self._lock:
                    self._silent += 1
                    if self._silent >= _SILENT:
                        self._programs.clear()
            return loaded
        finally:
            self._idle.put(child)

    def _new(self) -> Child | None:
        for program in list(self._programs):
            with contextlib.suppress(OSError):
                child = Child(program, self._user, self._seconds)
                if child.is_ready:
                    return child
                child.close()
            with self._lock, contextlib.suppress(ValueError):  # another thread may have removed it
                self._programs.remove(program)
        return None
