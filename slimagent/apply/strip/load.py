"""Load stripped libraries as the image's programs would: in a child of the image's own Python, each in its own process.

The Python, and a library's constructors, are somebody else's code: they run without rights, in processes that may crash
or hang. So it does not matter who may write them. What a library needs is loaded first, from where the library itself
would look (ld.so(8), "$ORIGIN"), because the copy lies elsewhere; a library that is loaded is found by its name.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Sequence
from queue import SimpleQueue

from slimagent.apply.strip.rights import whom
from slimagent.elf.tables import ET_DYN, PT_INTERP, SHT_DYNAMIC, Read, Tables, tables
from slimagent.paths.algebra import USUAL_PATH, parent

SECONDS = 60.0  # one library may take so long
_DT_NEEDED, _DT_RPATH, _DT_RUNPATH = 1, 15, 29
_LONGEST_WORD = 16  # bytes
_SILENT = 3  # answers that did not come: then no Python is asked any more
_LONGEST = 1 << 20  # bytes of dynamic entries or their names

# Runs under whatever Python the image has, from 3.6 on. A request is a line, [seconds, what to load first], and with it
# comes a descriptor of the library.
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
    """The image's own Pythons, where the image is what we run in, those of PATH first. The agent's does not count."""
    folders = [*os.environ.get("PATH", "").split(":"), *map(os.fsdecode, USUAL_PATH)]
    found = (shutil.which("python3", path=folder) for folder in dict.fromkeys(folders) if folder.startswith("/"))
    ours = tuple(folder + b"/" for folder in excluded)
    return tuple(each for each in found if each is not None and not os.fsencode(each).startswith(ours))


def is_library(found: Tables) -> bool:
    """Whether a file is a shared library, and no program."""
    return found.kind == ET_DYN and not any(each.kind == PT_INTERP for each in found.segments)


def needed(read: Read, path: bytes) -> list[bytes]:
    """Where a library at `path` would look for the libraries that it needs by a search path of its own."""
    found = tables(read)
    if found is None:
        return []
    names, folders = [], []
    for tag, text in _dynamic(found, read):
        if tag == _DT_NEEDED:
            names.append(text)
        elif tag in (_DT_RPATH, _DT_RUNPATH):
            folders += [_expanded(each, path) for each in text.split(b":") if each]
    return [os.path.join(folder, name) for name in names for folder in folders if b"/" not in name]


def _dynamic(found: Tables, read: Read) -> list[tuple[int, bytes]]:
    """The entries of the dynamic section that are names, as (tag, name)."""
    shape = struct.Struct("qQ" if found.wide else "iI")
    result = []
    for section in found.sections:
        if section.kind == SHT_DYNAMIC and section.link < len(found.sections):
            strings = found.sections[section.link]
            data, text = (read(each.offset, min(each.stored, _LONGEST)) for each in (section, strings))
            for tag, value in shape.iter_unpack(data[: len(data) // shape.size * shape.size]):
                if tag in (_DT_NEEDED, _DT_RPATH, _DT_RUNPATH):
                    result.append((tag, text[value : text.find(0, value)]))
    return result


def _expanded(folder: bytes, path: bytes) -> bytes:
    return folder.replace(b"${ORIGIN}", parent(path)).replace(b"$ORIGIN", parent(path))


class Child:
    """A Python that loads libraries on request, as `user`. Use as a context manager; not to be shared by threads.

    All that it gets is descriptors for reading, all that it gives is a word. Raises OSError if it cannot be started.
    """

    def __init__(self, program: str, user: int | None = None, seconds: float = SECONDS) -> None:
        """`seconds` is the time that it has to start, and a library to load; some more to say how that ended."""
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
                    **whom(user),
                )
        except BaseException:
            self._socket.close()
            raise
        self.is_ready = self._answer() == b"ready"

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self.is_ready = False
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def loads(self, library: int, first: list[bytes]) -> bool:
        """Whether the library that a descriptor leads to can be loaded, with all its symbols, after those in `first`.

        A crash, and no end in time, is a no.
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
        """A word, empty for none: it is somebody else's program, which may say anything, or nothing."""
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
    """Children of the first Python that who we become for it can run, `count` at most, one for a thread at a time."""

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
        """End those that are idle."""
        while not self._idle.empty():
            child = self._idle.get()
            if child is not None:
                child.close()

    def loads(self, library: int, first: list[bytes]) -> bool:
        """As `Child.loads`; False if there is no Python that can be run."""
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
            if not child.is_ready:
                self._note_silence()
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
            with self._lock, contextlib.suppress(ValueError):  # another thread has found out, too
                self._programs.remove(program)
        return None

    def _note_silence(self) -> None:
        """A Python gave no answer, though it has time to tell of a crash: after some times it is not asked any more."""
        with self._lock:
            self._silent += 1
            if self._silent >= _SILENT:
                self._programs.clear()
