"""Read the output of an engine's program: start it as a child process, and read its lines or its tar."""

from __future__ import annotations

import contextlib
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from typing import IO

PATIENCE = 0.2  # seconds: the longest delay before a signal is noticed
LONGEST_LINE = 64 << 10  # bytes; a longer line comes in pieces
_CHUNK = 1 << 20  # bytes


@contextlib.contextmanager
def child(
    argv: list[str], *, stdin: int, stdout: int, stderr: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a child process in its own session, so that only we get the terminal's Ctrl-C. A failed block kills it."""
    with subprocess.Popen(argv, start_new_session=True, stdin=stdin, stdout=stdout, stderr=stderr) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


class Reader(threading.Thread):
    """Reads a stream to its end and passes on each line. It keeps nothing.

    `error` is what `say` raised. The stream is still read to its end, so that the writer does not block.
    """

    def __init__(self, name: str, stream: IO[bytes], say: Callable[[bytes], None]) -> None:
        super().__init__(name=name, daemon=True)
        self.error: Exception | None = None
        self._stream = stream
        self._say = say
        self.start()

    def run(self) -> None:
        while line := self._stream.readline(LONGEST_LINE):
            if self.error is None:
                try:
                    self._say(line)
                except Exception as error:  # the waiting thread raises it
                    self.error = error

    def wait(self) -> None:
        """Wait for the end of the stream, and let signals through.

        It makes short calls: the handler of a signal that comes just before a blocking call runs only after that call
        (signal, "Execution of Python signal handlers"), and one call could last an hour.
        """
        while self.is_alive():
            self.join(PATIENCE)


def last_bytes(stream: IO[bytes], size: int) -> bytes:
    """Read a stream to its end, and return its last bytes."""
    kept = b""
    while piece := stream.read(_CHUNK):
        kept = (kept + piece)[-size:]
    return kept


def first_file(stream: IO[bytes], limit: int) -> bytes | None:
    """Read the first member of a tar. None if it is not a regular file of at most `limit` bytes."""
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            member = archive.next()
            file = archive.extractfile(member) if member is not None and member.isfile() else None
            return file.read() if file is not None and member is not None and member.size <= limit else None
    except tarfile.TarError:
        return None


def holds_anything(stream: IO[bytes]) -> bool:
    """Whether a tar has anything but one directory."""
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            first = archive.next()
            return first is not None and (not first.isdir() or archive.next() is not None)
    except tarfile.ReadError:  # it is empty
        return False
