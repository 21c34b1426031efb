"""Start a program: a `Command` says what, where and as which user; `start` starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from slimagent.linux import kernel
from slimagent.model.user import User

_starting = threading.Lock()  # catch_warnings replaces filters that all threads share


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start, searched on the PATH of `env`. Without `user` or `cwd` it keeps ours.

    The streams are those of `subprocess.Popen`. With `new_session` it leads a new session (setsid(2)).
    """

    argv: Sequence[str]
    _: KW_ONLY
    env: Mapping[str, str]
    cwd: str | None = None
    user: User | None = None
    stdin: Any = None
    stdout: Any = None
    stderr: Any = None
    new_session: bool = False


def start(command: Command, enter: Callable[[], None] = lambda: None) -> subprocess.Popen[bytes]:
    """Start a command. `enter` is called in the child before it changes its user.

    The command does not inherit the signals that we block (`foreground`).
    Raises OSError as Popen does, `subprocess.SubprocessError` if the child fails before it executes.
    """

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        kernel.prctl(kernel.SET_DUMPABLE, 1)  # we may not be: its calls must be readable
        enter()
        if command.user is not None:
            become(command.user)

    with _starting, warnings.catch_warnings():
        # Python 3.12 warns of every fork beside threads. This child only makes system calls before it executes.
        warnings.simplefilter("ignore", DeprecationWarning)
        return subprocess.Popen(
            list(command.argv), env=dict(command.env), cwd=command.cwd, stdin=command.stdin, stdout=command.stdout,
            stderr=command.stderr, start_new_session=command.new_session, preexec_fn=prepare,
        )  # fmt: skip


def become(user: User) -> None:
    """Become another user for good, just before executing. Raises OSError."""
    os.setgroups(user.groups)
    os.setgid(user.gid)
    os.setuid(user.uid)
    # A process that changed its user is unreadable until it executes, and we must see the execution.
    kernel.prctl(kernel.SET_DUMPABLE, 1)


def shell_status(returncode: int) -> int:
    """Turn a Popen's return code into a shell's `$?`: 128 plus the number of the signal that ended it."""
    return returncode if returncode >= 0 else 128 - returncode


def ending(returncode: int) -> str:
    """Say how a process ended, from a Popen's return code."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return f"ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"ended by signal {-returncode}"
