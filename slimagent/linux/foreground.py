"""Wait for a command as a shell does: its signals are its own, and ours go on to it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from slimagent.linux.command import shell_status

_RELAYED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}


@dataclass(slots=True)
class Foreground:
    """The command that runs in our place. `asked_to_end` tells whether somebody wanted the whole run to end."""

    asked_to_end: bool = False

    def wait(self, process: subprocess.Popen[bytes], reap: Callable[[], None]) -> int:
        """The exit status of `process` as a shell gives it: 128 and the signal's number if one ended it.

        A signal from the terminal (`si_code` above 0, sigaction(2)) has reached the command by itself, since it is in
        our process group; one that another process sent to us alone is sent on. `reap` collects orphans.
        """
        while process.poll() is None:
            received = signal.sigtimedwait({*_RELAYED, signal.SIGCHLD}, 1.0)
            if received is None or received.si_signo == signal.SIGCHLD:
                if process.poll() is None:
                    reap()
                continue
            self.asked_to_end |= received.si_signo in _ENDING
            if received.si_code <= 0:
                process.send_signal(received.si_signo)
        # What ended the command may have come to us as well, while we were busy: it must not end us in turn.
        while (received := signal.sigtimedwait(_RELAYED, 0)) is not None:
            self.asked_to_end |= received.si_signo in _ENDING
        return shell_status(process.returncode)

    def until_asked_to_end(self, reap: Callable[[], None]) -> signal.Signals:
        """Wait for a signal that ends programs, and tell which one it was. `reap` collects orphans meanwhile."""
        while True:
            received = signal.sigtimedwait({*_RELAYED, signal.SIGCHLD}, 1.0)
            if received is None or received.si_signo == signal.SIGCHLD:
                reap()
            elif received.si_signo in _ENDING:
                self.asked_to_end = True
                return signal.Signals(received.si_signo)


@contextlib.contextmanager
def foreground() -> Iterator[Foreground]:
    """Hold the relayed signals back from this thread and those it starts; `wait` takes them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_RELAYED, signal.SIGCHLD})
    try:
        yield Foreground()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
