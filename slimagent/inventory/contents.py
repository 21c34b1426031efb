"""What a file of the image drags in, as its first bytes say: an ELF file's needs, a script's interpreter."""

from __future__ import annotations

import os

from slimagent.inventory import elf
from slimagent.model import Needs

_SHEBANG_LIMIT = 256  # BINPRM_BUF_SIZE of <linux/binfmts.h>: the kernel reads no more of the first line
_ENV_OPTIONS_WITH_WORD = (b"-u", b"-C")
# Names whose files no loader maps and no kernel executes by their first bytes; they are not even opened.
_PLAIN = (
    b".py", b".pyc", b".pyi", b".js", b".mjs", b".map", b".ts", b".css", b".html", b".json", b".md", b".txt", b".rds",
    b".rdb", b".rdx", b".h", b".hpp", b".svg", b".png", b".gz", b".mo", b".pem", b".crt", b".conf", b".list",
    b".md5sums", b".yaml", b".yml", b".toml", b".xml", b".ttf",
)  # fmt: skip


class Contents:
    """Reads files of the image at `root` on demand. Paths come from an inventory, so no folder on the way is a link."""

    def __init__(self, root: bytes) -> None:
        self._prefix = b"" if root == b"/" else root
        self.unreadable: list[bytes] = []

    def needs(self, path: bytes, executable: bool) -> Needs | None:
        """What the regular file at `path` needs, None for nothing. `executable`: whether a mode bit says it may run.

        A file that cannot be read is remembered in `unreadable`.
        """
        if not executable and path.endswith(_PLAIN):
            return None
        try:
            descriptor = os.open(self._prefix + path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            self.unreadable.append(path)
            return None
        try:
            start = os.pread(descriptor, _SHEBANG_LIMIT, 0)
            if start[:4] == elf.MAGIC:
                return elf.needs(lambda offset, size: os.pread(descriptor, size, offset))
            return script_needs(start) if start[:2] == b"#!" else None
        except OSError:
            self.unreadable.append(path)
            return None
        finally:
            os.close(descriptor)


def script_needs(start: bytes) -> Needs | None:
    """The interpreter that a script's first line names (execve(2), "Interpreter scripts"), and what env(1) looks up.

    >>> script_needs(b"#!/usr/bin/env -S python3 -u\\n").via_env
    b'python3'
    """
    words = start[2:].split(b"\n", 1)[0].split()
    if not words or words[0][:1] != b"/":
        return None
    via_env = b""
    if words[0].rsplit(b"/", 1)[1] == b"env":
        arguments = iter(words[1:])
        for word in arguments:
            if word in _ENV_OPTIONS_WITH_WORD:
                next(arguments, None)
            elif not word.startswith(b"-") and b"=" not in word:
                via_env = word
                break
    return Needs(interpreter=words[0], via_env=via_env)
