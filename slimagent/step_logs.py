"""What each step says, in a file of its own: all of it up to a bound, then its end."""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import threading
from collections.abc import Iterator

from slimagent.files import explained, make_folder

LARGEST = 64 << 20  # bytes of a log; of what comes after that only the last TAIL bytes are kept
TAIL = 1 << 16
_PIECE = 1 << 16
_PATIENCE = 0.2  # seconds between two looks whether the end has been asked for
_LAST_WORDS = 1.0  # seconds that are waited for what is still in the pipe


def log_name(step: str) -> str:
    """The name of a step's log: what its name has besides letters, digits and `._-` is a dash."""
    return (re.sub(r"[^A-Za-z0-9._-]+", "-", step).strip("-.")[:100] or "step") + ".log"


class StepLogs:
    """A directory with a log for each step that runs a command. Raises UnavailableError where none can be made."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        make_folder(directory)

    def path(self, step: str) -> str:
        """Where the log of a step is."""
        return os.path.join(self.directory, log_name(step))

    @contextlib.contextmanager
    def recording(self, step: str) -> Iterator[int]:
        """A descriptor to be a command's output: it goes to the step's log, and to our own standard error.

        What a process that outlives the command says is still taken until the block ends.
        """
        try:
            log = os.open(self.path(step), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise explained(error, self.path(step)) from None
        reading, writing = os.pipe()
        os.fchmod(writing, 0o666)  # programs open /dev/stderr anew, as another user too
        pump = _Pump(reading, log)
        pump.start()
        try:
            yield writing
        finally:
            os.close(writing)
            pump.end()


class _Pump(threading.Thread):
    """Copies a pipe to a log and to standard error until its end, or until somebody asks for the end."""

    def __init__(self, reading: int, log: int) -> None:
        super().__init__(name="step log", daemon=True)
        self._reading = reading
        self._log = log
        self._written = 0
        self._left_out = 0
        self._tail = b""
        self._asked = threading.Event()

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        while True:
            if not poll.poll(_PATIENCE * 1000):
                if self._asked.is_set():
                    break
                continue
            data = os.read(self._reading, _PIECE)
            if not data:
                break
            self._take(data)
        self._finish()

    def end(self) -> None:
        """Take what is still there, then close the log. A pipe that others hold open is not waited for."""
        self.join(_LAST_WORDS)
        self._asked.set()
        self.join()

    def _take(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), data)
        room = max(LARGEST - self._written, 0)
        with contextlib.suppress(OSError):  # no space: the step goes on, and the terminal has seen it
            self._written += os.write(self._log, data[:room])
        rest = data[room:]
        self._left_out += len(rest)
        self._tail = (self._tail + rest)[-TAIL:]

    def _finish(self) -> None:
        if self._left_out:
            between = self._left_out - len(self._tail)
            with contextlib.suppress(OSError):
                os.write(self._log, b"\n[slimagent: %d bytes left out]\n%b" % (between, self._tail))
        os.close(self._log)
        os.close(self._reading)
