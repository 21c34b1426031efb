"""Load stripped libraries as the image's programs would: in a child of the image's own Python, each in its own process.

A library's constructors are somebody else's code: they run without rights, in a process that may crash or hang. What a
library needs is loaded first, from where the library itself would look (ld.so(8), "$ORIGIN"), because the copy lies
elsewhere; a library that is loaded is found by its name.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from types import TracebackType

from slimagent.apply.rewrite import write_all
from slimagent.elf_tables import ET_DYN, PT_INTERP, SHT_DYNAMIC, Read, Tables, tables
from slimagent.paths import USUAL_PATH, parent

SECONDS = 60  # one library may take so long
_DT_NEEDED, _DT_RPATH, _DT_RUNPATH = 1, 15, 29
_NOBODY = 65534
_LONGEST = 1 << 20  # bytes of dynamic entries or their names

# Runs under whatever Python the image has, from 3.6 on. A request is a line: [seconds, user, path, what to load first].
_CHILD = r"""
import ctypes, json, os, resource, signal, sys, time

def load(user, path, first):
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for each in (0, 1, 2):
        os.dup2(null, each)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    file = os.open(path, os.O_RDONLY)
    if user:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    os.environ["HOME"] = "/nonexistent"
    for each in first:
        try:
            ctypes.CDLL(each, mode=os.RTLD_LAZY)
        except OSError:
            pass
    ctypes.CDLL("/proc/self/fd/%d" % file, mode=os.RTLD_NOW)

def serve(seconds, user, path, first):
    child = os.fork()
    if not child:
        status = 1
        try:
            load(user, os.fsencode(path), [os.fsencode(each) for each in first])
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

print("ready", flush=True)
for line in sys.stdin:
    print("yes" if serve(*json.loads(line)) else "no", flush=True)
"""


def interpreter(excluded: tuple[bytes, ...] = ()) -> str | None:
    """The image's own Python, where the image is what we run in; None if it has none. The agent's does not count."""
    folders = [*os.environ.get("PATH", "").split(":"), *map(os.fsdecode, USUAL_PATH)]
    found = (shutil.which("python3", path=folder) for folder in folders if folder.startswith("/"))
    for each in found:
        if each is not None and not any(os.fsencode(each).startswith(folder + b"/") for folder in excluded):
            return each
    return None


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
    """A Python that loads libraries on request. Use as a context manager; not to be shared by threads."""

    def __init__(self, program: str) -> None:
        requests, self._requests = os.pipe()
        answers, its_answers = os.pipe()
        try:
            self._process = subprocess.Popen(
                [program, "-I", "-S", "-c", _CHILD],
                stdin=requests,
                stdout=its_answers,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            os.close(self._requests)
            os.close(answers)
            raise
        finally:
            os.close(requests)
            os.close(its_answers)
        self._answers = os.fdopen(answers, "rb")
        self.is_ready = self._answer() == b"ready"

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self.is_ready = False
        os.close(self._requests)
        self._answers.close()
        self._process.kill()
        self._process.wait()

    def loads(self, path: bytes, first: list[bytes], seconds: float = SECONDS) -> bool:
        """Whether the library at `path` can be loaded, with all its symbols, after those in `first`.

        A crash, and no end within `seconds`, is a no.
        """
        user = _NOBODY if os.geteuid() == 0 else 0
        request = [seconds, user, os.fsdecode(path), [os.fsdecode(each) for each in first]]
        try:
            write_all(self._requests, json.dumps(request).encode() + b"\n")
        except OSError:
            self.is_ready = False
            return False
        answer = self._answer()
        self.is_ready = answer in (b"yes", b"no")
        return answer == b"yes"

    def _answer(self) -> bytes:
        return self._answers.readline().strip()
