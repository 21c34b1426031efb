"""Programs that a check starts, with all that comes of them: nothing of it outlives the check."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psutil

from slimagent.checks.context import Context
from slimagent.checks.output import Output
from slimagent.linux.command import Command
from slimagent.linux.family import Family

_GRACE = 5.0  # seconds from SIGTERM to SIGKILL
_PATIENCE = 10.0  # seconds to wait for killed processes to be gone
_PIECE = 0.1  # seconds between two looks at how much was written


@contextlib.contextmanager
def started(
    context: Context, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, stdout: Any, stderr: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program of the image in a session of its own, as the context's user. Raises OSError as Popen does.

    However the block is left, nothing of what was started is left running.
    """
    command = Command(
        argv, env=env, cwd=cwd, user=context.user, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
        new_session=True,
    )  # fmt: skip
    with Family() as family:
        process = context.spawn(command)
        family.follow(process)
        try:
            yield process
        finally:
            _end(process, family)


def _end(process: subprocess.Popen[bytes], family: Family) -> None:
    """End a program and what it started. First only its group is asked to end: a server ends its own children."""
    deadline = time.monotonic() + _GRACE
    try:
        if process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGTERM)
            wait(process, _GRACE)
    finally:
        family.stop(grace=max(1.0, deadline - time.monotonic()), patience=_PATIENCE)


def wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The return code, or None if a process did not end in that time."""
    try:
        return process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return None


def wait_until(process: subprocess.Popen[bytes], deadline: float, output: Output) -> int | None:
    """The return code, or None if a process did not end by `time.monotonic()`. What it writes is kept small."""
    returncode = None
    while returncode is None and (left := deadline - time.monotonic()) > 0:
        returncode = wait(process, min(left, _PIECE))
        output.limit()
    return returncode


def lives(process: psutil.Process) -> bool:
    """Whether a process still runs: neither gone nor a zombie that waits for its parent."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
