"""Programs that a check starts. Neither they nor what they start outlive the check."""

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
    """Start a program of the image in a new session, as the context's user. Raises OSError as Popen does.

    When the block ends, by whatever way, nothing that it started is left running.
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
    """End a program and what it started. SIGTERM first goes to its group only: a server ends its own children."""
    deadline = time.monotonic() + _GRACE
    try:
        if process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGTERM)
            wait(process, _GRACE)
    finally:
        family.stop(grace=max(1.0, deadline - time.monotonic()), patience=_PATIENCE)


def wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The return code, or None if the process did not end in that time."""
    try:
        return process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return None


def wait_until(process: subprocess.Popen[bytes], deadline: float, output: Output) -> int | None:
    """The return code, or None if the process did not end by the deadline. The size of its output is limited."""
    returncode = None
    while returncode is None and (left := deadline - time.monotonic()) > 0:
        returncode = wait(process, min(left, _PIECE))
        output.limit()
    return returncode


def lives(process: psutil.Process) -> bool:
    """Whether a process still runs: it is neither gone nor a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
