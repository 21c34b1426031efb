"""What a started program writes: it goes to a nameless file, and its last lines are shown if the program fails."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from types import TracebackType

_LARGEST = 16 << 20  # a program that writes without end must not fill the disk
_TAIL = 16 << 10
_PIECE = 1 << 20
_LINES = 10
_WIDTH = 400
# Control sequences of terminals (ECMA-48: CSI … final byte; OSC … BEL or ST), then any other control character.
_CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Output:
    """A nameless temporary file for a program's standard output and error; gone when the block ends."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by our own __exit__
        self._before = b""
        # Programs may open /dev/stderr again, also as another user. Appending keeps what is there.
        os.fchmod(self.fileno(), 0o666)
        fcntl.fcntl(self.fileno(), fcntl.F_SETFL, os.O_APPEND)

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def fileno(self) -> int:
        """The descriptor to give to the program."""
        return self._file.fileno()

    def limit(self) -> None:
        """Discard all but the end of what was written if it became too much."""
        if os.fstat(self.fileno()).st_size > _LARGEST:
            self._before = self._tail()
            os.ftruncate(self.fileno(), 0)

    def save(self, path: str) -> None:
        """Write all output so far to a file; the program may go on writing. Raises OSError."""
        at, end = 0, os.fstat(self.fileno()).st_size
        with open(path, "wb") as file:
            file.write(self._before)
            while data := os.pread(self.fileno(), min(_PIECE, end - at), at):
                at += file.write(data)

    def last_lines(self, count: int = _LINES) -> str:
        """The last lines that are not empty, as printable text."""
        return last_lines(self._before + self._tail(), count)

    def _tail(self) -> bytes:
        # pread: the program shares our position in the file.
        return os.pread(self.fileno(), _TAIL, max(0, os.fstat(self.fileno()).st_size - _TAIL))


def last_lines(data: bytes, count: int = _LINES) -> str:
    """The last `count` lines of a program's output that are not empty, as printable text without colours."""
    text = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    lines = [_CONTROLS.sub("", line).rstrip() for line in text.split("\n")]
    return "\n".join(line[:_WIDTH] for line in [line for line in lines if line][-count:])
