"""The program as a user starts it: real processes, their streams, and what a clear error looks like."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SLIMAGENT = (sys.executable, "-m", "slimagent")
LIMIT = 120  # seconds


def environment() -> dict[str, str]:
    """Ours, less what would make output depend on who runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SLIMAGENT_", "PYTHONDONT"))}


def slimagent(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    options.setdefault("env", environment())
    return subprocess.run(
        [*SLIMAGENT, *map(str, arguments)], capture_output=True, text=True, timeout=LIMIT, check=False, **options
    )


def tracing(scope: Path, output: Path, command: Sequence[str | Path], **options: Any) -> subprocess.Popen[bytes]:
    """`slimagent trace` of a command, started."""
    options.setdefault("env", environment())
    arguments = ("trace", "--quiet", "--scope", scope, "-o", output, "--", *command)
    return subprocess.Popen([*SLIMAGENT, *map(str, arguments)], **options)


def wait_until(true: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Look again and again. Fails when the time is over."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.02)


def assert_error(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """One line that says what happened to what, one that says what to do, the status, and no traceback."""
    lines = done.stderr.splitlines()
    assert done.returncode == status, done.stderr
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("slimagent: ")
    assert lines[1].startswith("  hint: ")
    assert len(lines[1]) > len("  hint: ")
    for word in words:
        assert word in done.stderr
