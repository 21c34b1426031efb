"""Let the image's own program be process 1 of the container: the agent starts there and hands its place over.

Some programs insist on being process 1 (s6-overlay's /init), and every server behaves a little differently there
(signals without a handler are ignored, orphans become its children; pid_namespaces(7)). So the agent forks: the child
becomes the watcher, and process 1 takes the filter and executes what the image is configured to start.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable
from typing import NoReturn

from slimagent.linux.command import Command, become
from slimagent.model.user import User
from slimagent.text.escapes import printable

_READY, _HERE = b"w", 3  # the first descriptor that is the agent's own
# Signals that end or stop a process without a handler, and that others send.
_ENDING = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2),
    *(signal.SIGTSTP, signal.SIGPWR, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO),
)
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # exit statuses of engines and shells


def hand_over(
    command: Command, *, enter: Callable[[socket.socket], None], watch: Callable[[socket.socket], None]
) -> None:
    """Fork and continue in the child. This process becomes `command` once the child is ready to watch.

    The command keeps our streams and our session; it ignores those of `command`.
    `watch` runs in the child with one end of a socket, before the other process does anything. `enter` runs in the
    process that becomes the command, with the other end. Returns in the child only.
    """
    ours, theirs = socket.socketpair()
    ready, tell = os.pipe()
    if os.fork():
        ours.close()
        os.close(tell)
        _become(command, ready, lambda: enter(theirs))
    _be_left_alone()
    theirs.close()
    os.close(ready)
    watch(ours)
    os.write(tell, _READY)
    os.close(tell)


def _become(command: Command, ready: int, enter: Callable[[], None]) -> NoReturn:
    def entered() -> None:
        if os.read(ready, 1) != _READY:  # the watcher failed and said why
            os._exit(_NOT_EXECUTABLE)
        enter()

    turn_into(command, entered)


def turn_into(command: Command, enter: Callable[[], None]) -> NoReturn:
    """Become a command, with our streams and our session. `enter` is called before its user and directory are taken.

    If that fails, say why and exit as a shell would.
    """
    program, place = command.argv[0], ""
    try:
        _forget_ourselves()
        enter()
        if command.cwd is not None:
            place = f" in {command.cwd}"
            os.chdir(command.cwd)
            place = ""
        if command.user is not None:
            _give_streams(command.user)
            become(command.user)
        os.execvpe(program, list(command.argv), dict(command.env))  # noqa: S606  # the image's own command
    except OSError as error:
        with contextlib.suppress(OSError):
            os.write(2, _cannot_start(f"{program}{place}: {error.strerror}"))
        os._exit(_NOT_FOUND if error.errno in (errno.ENOENT, errno.ENOTDIR) else _NOT_EXECUTABLE)
    except BaseException as error:
        os.write(2, _cannot_start(f"{program}: {error!r}"))
    os._exit(_NOT_EXECUTABLE)


def _cannot_start(why: str) -> bytes:
    return f"slimagent: cannot start {printable(why)}\n".encode("utf-8", "replace")


def _be_left_alone() -> None:
    """Survive signals that the image's process sends to its group or, as an init, to all processes.

    We handle them and do nothing: programs that the watcher executes would inherit ignored signals.
    """
    os.setsid()
    for number in _ENDING:
        signal.signal(number, lambda *_: None)


def _give_streams(user: User) -> None:
    """Give the three streams to the container's user, as engines do: programs reopen /dev/stdout."""
    for descriptor in range(_HERE):
        with contextlib.suppress(OSError):
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode) or os.isatty(descriptor):
                os.fchown(descriptor, user.uid, -1)


def _forget_ourselves() -> None:
    """Undo what Python and the agent changed in the process: signal handlers and inheritable descriptors."""
    sys.stdout.flush()
    sys.stderr.flush()
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor >= _HERE:
            with contextlib.suppress(OSError):
                os.set_inheritable(descriptor, False)
