"""Signals that end programs: ignore them, defer them, or pass them on to the command that runs in our place."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from slimagent.linux.command import shell_status

_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
_RELAYED = _ENDING | {signal.SIGUSR1, signal.SIGUSR2}


@contextlib.contextmanager
def undisturbed() -> Iterator[list[int]]:
    """Ignore signals that would end us: the work is done, and the rest takes no time.

    Yields the signals that come, in order.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only the main thread handles signals
        yield caught
        return
    before = {each: signal.signal(each, lambda number, _: caught.append(number)) for each in _ENDING}
    try:
        yield caught
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Defer signals that would end us until the block is over: what an engine has begun must have a known end."""
    caught: list[int] = []
    try:
        with undisturbed() as caught:
            yield
    finally:
        if caught:
            signal.raise_signal(caught[0])


@dataclass(slots=True)
class Foreground:
    """The command that runs in our place. `asked_to_end`: whether a signal asked the whole run to end."""

    asked_to_end: bool = False

    def wait(self, process: subprocess.Popen[bytes], reap: Callable[[], None]) -> int:
        """Wait for `process` and return its exit status as a shell gives it (see `shell_status`).

        A signal from the terminal (`si_code` above 0, sigaction(2)) has reached the command too, since it is in our
        process group. One that another process sent to us alone is passed on. `reap` collects orphans.
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
        # The signal that ended the command may have reached us too. It must not end us.
        while (received := signal.sigtimedwait(_RELAYED, 0)) is not None:
            self.asked_to_end |= received.si_signo in _ENDING
        return shell_status(process.returncode)

    def until_asked_to_end(self, reap: Callable[[], None]) -> signal.Signals:
        """Wait for a signal that ends programs, and return it. `reap` collects orphans meanwhile."""
        while True:
            received = signal.sigtimedwait({*_RELAYED, signal.SIGCHLD}, 1.0)
            if received is None or received.si_signo == signal.SIGCHLD:
                reap()
            elif received.si_signo in _ENDING:
                self.asked_to_end = True
                return signal.Signals(received.si_signo)


@contextlib.contextmanager
def foreground() -> Iterator[Foreground]:
    """Block the relayed signals in this thread and those that it starts; `wait` takes them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_RELAYED, signal.SIGCHLD})
    try:
        yield Foreground()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
