"""Read files of the image: what each needs (libraries, an interpreter), its text, its digest, its code for GPUs."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator

from slimagent.elf import needs as elf
from slimagent.elf import sections
from slimagent.elf.tables import MAGIC, Symbols
from slimagent.gpu.architectures import Target
from slimagent.gpu.weigh import Inside, Weight, inside, weigh
from slimagent.model.inventory import Needs

_SHEBANG_LIMIT = 256  # BINPRM_BUF_SIZE of <linux/binfmts.h>: the kernel reads no more of the first line
# Options of env(1) that take the next word, and those whose own rest is a command line to split.
_ENV_OPTIONS_WITH_WORD = (b"-u", b"-C", b"-a", b"--unset", b"--chdir", b"--argv0")
_ENV_SPLIT = re.compile(rb"(?:-[0iv]*S|--split-string=)(.+)", re.DOTALL)
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_BLANKS = b" \t"  # not a carriage return: to the kernel it is part of the name
_BLANK = re.compile(rb"[ \t]+")
_CHUNK = 1 << 20  # bytes
_LEAST = 100_000  # bytes: GPU code is larger
_ARCHIVE = b"!<arch>\n"  # ar(5)
_CAPABILITIES = "security.capability"  # capabilities(7), "File capabilities"
_INTEGRITY = "security.ima"  # the kernel refuses to open a file whose contents differ from this (evmctl(1))
# Files that no loader maps and no kernel executes; they are not even opened.
_PLAIN = (
    b".py", b".pyc", b".pyi", b".js", b".mjs", b".map", b".ts", b".css", b".html", b".json", b".md", b".txt", b".rds",
    b".rdb", b".rdx", b".h", b".hpp", b".svg", b".png", b".gz", b".mo", b".pem", b".crt", b".conf", b".list",
    b".md5sums", b".yaml", b".yml", b".toml", b".xml", b".ttf",
)  # fmt: skip


class Contents:
    """Reads files of the image at `root` on demand. Paths come from an inventory: no directory in them is a link.

    `target` are the GPUs that the image is for. Without it no file is read for its GPU code.
    """

    def __init__(self, root: bytes, target: Target | None = None) -> None:
        self._prefix = b"" if root == b"/" else root
        self._target = target
        self._symbols: dict[bytes, Symbols] = {}
        self._machine_code: set[bytes] = set()  # the ELF files that may hold GPU code
        self._weights: dict[bytes, Weight | None] = {}
        self.unreadable: list[bytes] = []

    def needs(self, path: bytes, executable: bool) -> Needs | None:
        """What the regular file at `path` needs; None for nothing. `executable`: whether an execute bit is set.

        A file that cannot be read is added to `unreadable`.
        """
        if not executable and path.endswith(_PLAIN):
            return None
        try:
            descriptor = os.open(self._prefix + path, _FLAGS)
        except OSError:
            self.unreadable.append(path)
            return None
        try:
            start = os.pread(descriptor, _SHEBANG_LIMIT, 0)
            if start[:4] == MAGIC:
                self._weigh(path, descriptor)
                if self._target is not None and os.fstat(descriptor).st_size >= _LEAST:
                    self._machine_code.add(path)
                return elf.needs(lambda offset, size: os.pread(descriptor, size, offset))
            if start[:8] == _ARCHIVE:
                self._symbols[path] = Symbols(0, "a static library: linkers need its symbols")
            return script_needs(start) if start[:2] == b"#!" else None
        except OSError:
            self.unreadable.append(path)
            return None
        finally:
            os.close(descriptor)

    def text(self, path: bytes, limit: int) -> bytes:
        """The first `limit` bytes of the regular file at `path`; empty if it cannot be read."""
        try:
            with self._opened(path) as descriptor:
                return os.pread(descriptor, limit, 0)
        except OSError:
            return b""

    def digest(self, path: bytes) -> bytes | None:
        """The SHA-256 of the regular file at `path`; None if it cannot be read."""
        hashed = hashlib.sha256()
        try:
            with self._opened(path) as descriptor:
                while data := os.read(descriptor, _CHUNK):
                    hashed.update(data)
        except OSError:
            return None
        return hashed.digest()

    def capabilities(self, path: bytes) -> bytes | None:
        """The capabilities that a regular file gives, as the kernel stores them; None if they cannot be read."""
        try:
            with self._opened(path) as descriptor:
                return os.getxattr(descriptor, _CAPABILITIES)
        except OSError as error:
            return b"" if error.errno == errno.ENODATA else None

    def gpu_code(self, path: bytes) -> Inside | None:
        """The GPU code in a library; None for any other file."""
        if b".so" not in path.rpartition(b"/")[2]:
            return None
        try:
            with self._opened(path) as descriptor:
                if os.fstat(descriptor).st_size < _LEAST or os.pread(descriptor, len(MAGIC), 0) != MAGIC:
                    return None
                return inside(lambda offset, size: os.pread(descriptor, size, offset))
        except OSError:
            return None

    @contextlib.contextmanager
    def _opened(self, path: bytes) -> Iterator[int]:
        """A descriptor of the regular file at `path`. Raises OSError."""
        descriptor = os.open(self._prefix + path, _FLAGS)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            yield descriptor
        finally:
            os.close(descriptor)

    def symbols(self, path: bytes) -> Symbols | None:
        """What `strip` would remove from the file at `path`, once `needs` has read it; None for nothing."""
        return self._symbols.get(path)

    def gpu(self, path: bytes) -> Weight | None:
        """What GPU code the file at `path` holds and would lose, once `needs` has read it; None for nothing."""
        if self._target is None or path not in self._machine_code:
            return None
        if path not in self._weights:
            self._weights[path] = self._gpu(path, self._target)
        return self._weights[path]

    def _gpu(self, path: bytes, target: Target) -> Weight | None:
        try:
            with self._opened(path) as descriptor:
                size = os.fstat(descriptor).st_size
                found = weigh(lambda offset, count: os.pread(descriptor, count, offset), size, target)
                if found is not None and not found.why and _is_measured(descriptor):
                    return found._replace(saves=0, why="the kernel checks its contents (security.ima)")
                return found
        except OSError:
            return None

    def _weigh(self, path: bytes, descriptor: int) -> None:
        if path in self._symbols:
            return
        size = os.fstat(descriptor).st_size
        found = sections.symbols(lambda offset, count: os.pread(descriptor, count, offset), size)
        if found is not None:
            if not found.why and _is_measured(descriptor):
                found = Symbols(0, "the kernel checks its contents (security.ima)", found.machine)
            self._symbols[path] = found


def _is_measured(descriptor: int) -> bool:
    try:
        return bool(os.getxattr(descriptor, _INTEGRITY))
    except OSError:
        return False


def script_needs(start: bytes) -> Needs | None:
    """The interpreter that a script's first line names (execve(2), "Interpreter scripts"), and what env(1) looks up.

    >>> script_needs(b"#!/usr/bin/env -S python3 -u\\n").via_env
    b'python3'
    """
    line, newline, _ = start[2:_SHEBANG_LIMIT].partition(b"\n")
    line, nul, _ = line.partition(b"\0")
    interpreter, *rest = _BLANK.split(line.lstrip(_BLANKS), maxsplit=1)
    if not (newline or nul) and len(start) >= _SHEBANG_LIMIT:  # cut off: the last byte can end a name, and no more
        if not rest:
            return None
        rest = [rest[0][:-1]]
    if interpreter[:1] != b"/":
        return None
    via_env = b""
    if interpreter.rsplit(b"/", 1)[1] == b"env":
        via_env = _looked_up(iter(b"".join(rest).split()))
    return Needs(interpreter=interpreter, via_env=via_env)


def _looked_up(words: Iterator[bytes]) -> bytes:
    for word in words:
        if word in _ENV_OPTIONS_WITH_WORD:
            next(words, None)
            continue
        split = _ENV_SPLIT.fullmatch(word)
        program = split[1] if split else word
        if not program.startswith(b"-") and b"=" not in program:
            return program
    return b""
