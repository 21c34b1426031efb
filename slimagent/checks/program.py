"""Programs of the image that are run to their end, and a short account of how they ended."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slimagent.checks.context import Context
from slimagent.checks.finding import NOT_REACHED, FaultError
from slimagent.checks.output import Output, last_lines
from slimagent.checks.processes import started, wait_until
from slimagent.linux.command import ending

_HEAD = 4096  # bytes of the beginning of the output
_SAID = 4 << 20  # bytes of it that are kept as they are
_KEPT = 200  # lines
_LONGEST = 300  # characters of a line in a detail
# What says why, wherever it stands: ld.so(8) first, then compilers and linkers as GCC and
# binutils write, then shells and the C library, then R and pip.
_CAUSES = (
    re.compile(
        r"error while loading shared libraries|cannot open shared object file|symbol lookup error|undefined symbol"
    ),
    re.compile(
        r"\bfatal error:|\berror: (?!command |subprocess|failed-|metadata-)|undefined reference to|cannot find -l"
    ),
    re.compile(r"[Cc]ommand not found|: not found$|[Nn]o module named|No such file or directory|Permission denied"),
    re.compile(r"^(?:Error|ERROR)\b"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended: a Popen's return code, or None if it did not end in `seconds`.

    `said` is the raw output of both its streams. `first` and `last` are the first and last lines that are not empty,
    printable and without colours.
    """

    returncode: int | None
    seconds: float
    said: bytes
    first: tuple[str, ...]
    last: tuple[str, ...]

    @property
    def well(self) -> bool:
        """Whether it ended with status 0."""
        return self.returncode == 0

    @property
    def how(self) -> str:
        """How it ended, in words."""
        return f"no end after {self.seconds:g} s" if self.returncode is None else ending(self.returncode)

    @property
    def why(self) -> str:
        """How it ended, and the line of its output that names a cause, else the last line."""
        found = (line for cause in _CAUSES for line in self.last if cause.search(line))
        line = next(found, self.last[-1] if self.last else "").strip()[:_LONGEST]
        return f"{self.how}: {line}" if line else self.how

    def log(self, count: int = 10) -> str:
        """The last lines."""
        return "\n".join(self.last[-count:])


def complete(
    context: Context, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, seconds: float, log: str = ""
) -> Ended:
    """Run a program as the context's user, for `seconds` at most. Raises OSError if it cannot be started.

    Its standard input is empty. Neither it nor what it started is left running. `log` is a file for all its output.
    """
    deadline = time.monotonic() + seconds
    with Output() as output, started(context, argv, env=env, cwd=cwd, stdout=output, stderr=output) as process:
        returncode = wait_until(process, deadline, output)
        said = os.pread(output.fileno(), _SAID, 0)
        last = output.last_lines(_KEPT)
        if log:
            with contextlib.suppress(OSError):  # no space for it: that says nothing about the program
                output.save(log)
    first = last_lines(said[:_HEAD], _HEAD)
    return Ended(
        returncode=returncode,
        seconds=seconds,
        said=said,
        first=tuple(first.splitlines()),
        last=tuple(last.splitlines()),
    )


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where a check runs its programs: environment, working directory, and the deadline of them all."""

    context: Context
    env: Mapping[str, str]
    directory: str
    deadline: float

    def find(self, program: str) -> str:
        """The path of a program on the image's PATH; empty if it is not there."""
        return shutil.which(program, path=self.env.get("PATH", os.defpath)) or ""

    def complete(self, argv: Sequence[str], seconds: float, more: Mapping[str, str] | None = None) -> Ended:
        """Run a program to its end, with `more` variables. Raises OSError, and FaultError if no time is left."""
        left = min(seconds, self.deadline - time.monotonic())
        if left <= 0:
            raise FaultError(NOT_REACHED)
        return complete(self.context, argv, env={**self.env, **(more or {})}, cwd=self.directory, seconds=left)
