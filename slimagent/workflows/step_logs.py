"""Record the output of each step in its own file: all of it up to a limit, then the end of the rest."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import select
import sys
import threading
from collections.abc import Iterator

from slimagent.linux.files import explained, make_directory

LARGEST = 64 << 20  # bytes of a log; of the rest only the last TAIL bytes are kept
TAIL = 1 << 16
_PIECE = 1 << 16
_LONGEST = 100  # characters of a step's name
_PATIENCE = 0.2  # seconds between two checks for a request to end
_LAST_WORDS = 1.0  # seconds to wait for what is still in the pipe


def log_name(step: str) -> str:
    """The name of a step's log: a dash replaces what is not a letter, a digit or one of `._-`.

    Two steps never share a log: a name that changes gets a digest of the step's name.
    """
    shown = re.sub(r"[^A-Za-z0-9._-]+", "-", step).strip("-.")[:_LONGEST]
    if shown != step or not shown:
        digest = hashlib.sha256(step.encode("utf-8", "surrogatepass")).hexdigest()
        shown = f"{shown or 'step'}-{digest[:8]}"
    return shown + ".log"


class StepLogs:
    """A directory with a log for each step that runs a command. Raises UnavailableError if it cannot be created."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        make_directory(directory)

    def path(self, step: str) -> str:
        """The path of a step's log."""
        return os.path.join(self.directory, log_name(step))

    @contextlib.contextmanager
    def recording(self, step: str) -> Iterator[int]:
        """Yield a descriptor for a command's output: it goes to the step's log, and to our own standard error.

        What a process that outlives the command prints is still recorded until the block ends.
        """
        try:
            log = os.open(self.path(step), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise explained(error, self.path(step)) from None
        reading, writing = os.pipe()
        os.fchmod(writing, 0o666)  # programs reopen /dev/stderr, also as another user
        pump = _Pump(reading, log)
        pump.start()
        try:
            yield writing
        finally:
            os.close(writing)
            pump.end()


class _Pump(threading.Thread):
    """Copies a pipe to a log and to standard error until the pipe ends, or until `end` is called."""

    def __init__(self, reading: int, log: int) -> None:
        super().__init__(name="step log", daemon=True)
        self._reading = reading
        self._log = log
        self._written = 0
        self._left_out = 0
        self._tail = b""
        self._asked = threading.Event()
        self._finished = threading.Event()

    def run(self) -> None:
        ended = self._copy()
        self._finish()
        if ended:
            os.close(self._reading)
        self._finished.set()
        if not ended:
            self._keep_open()

    def end(self) -> None:
        """Copy what is still there, then close the log. Does not wait for a pipe that others hold open."""
        self._finished.wait(_LAST_WORDS)
        self._asked.set()
        self._finished.wait()

    def _copy(self) -> bool:
        """Copy until the pipe ends, or until what was in it when `end` was called. Returns whether it ended."""
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        left = fcntl.fcntl(self._reading, fcntl.F_GETPIPE_SZ)
        while left > 0:
            if poll.poll(_PATIENCE * 1000):
                data = os.read(self._reading, _PIECE)
                if not data:
                    return True
                self._take(data)
                left -= len(data) if self._asked.is_set() else 0
            elif self._asked.is_set():
                break
        return False

    def _keep_open(self) -> None:
        """Show what the other holders of the pipe print: without a reader, SIGPIPE would end them."""
        while data := os.read(self._reading, _PIECE):
            _show(data)
        os.close(self._reading)

    def _take(self, data: bytes) -> None:
        _show(data)
        room = max(LARGEST - self._written, 0)
        with contextlib.suppress(OSError):  # no space: the step goes on, and the terminal shows its output
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


def _show(data: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), data)
