"""Start a program: what is started, where and as whom is one value, and one function starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from slimagent.linux import kernel
from slimagent.model.user import User


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start, looked up on the PATH of `env`. `user` None is who we are, `cwd` None is where we are.

    The streams are what `subprocess.Popen` takes. With `new_session` it leads a session of its own (setsid(2)).
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
    """Start a command. `enter` is called in the child, while that is still as we are.

    The signals that we block (`foreground`) are none of the command's business.
    Raises OSError as Popen does, `subprocess.SubprocessError` if the child failed before it executed.
    """

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        kernel.prctl(kernel.SET_DUMPABLE, 1)  # unlike us, perhaps: its calls are to be read
        enter()
        if command.user is not None:
            become(command.user)

    with warnings.catch_warnings():
        # Python 3.12 warns of any fork beside threads; the child only makes system calls until it executes.
        warnings.simplefilter("ignore", DeprecationWarning)
        return subprocess.Popen(
            list(command.argv), env=dict(command.env), cwd=command.cwd, stdin=command.stdin, stdout=command.stdout,
            stderr=command.stderr, start_new_session=command.new_session, preexec_fn=prepare,
        )  # fmt: skip


def become(user: User) -> None:
    """Become another user for good, before executing what is theirs to run. Raises OSError."""
    os.setgroups(user.groups)
    os.setgid(user.gid)
    os.setuid(user.uid)
    # A process that changed its user is unreadable until it executes; its execution is to be seen.
    kernel.prctl(kernel.SET_DUMPABLE, 1)


def shell_status(returncode: int) -> int:
    """A Popen's return code as a shell's `$?`: 128 and the signal's number if one ended it."""
    return returncode if returncode >= 0 else 128 - returncode


def ending(returncode: int) -> str:
    """How a process ended, in words, from a Popen's return code."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return f"ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"ended by signal {-returncode}"
