"""Kind `command`: any command; it passes if its exit status is 0. `argv` is run as it is, `shell` by /bin/sh."""

from __future__ import annotations

import shlex
import time

from slimagent.checks.context import Context
from slimagent.checks.finding import Finding, failed, passed
from slimagent.checks.output import Output
from slimagent.checks.processes import ending, shell_status, started
from slimagent.errors import UsageError
from slimagent.rules import CheckSpec

PARAMETERS: dict[str, type] = {"argv": tuple, "shell": str}
_PIECE = 0.1  # seconds between two looks at how much was written


def run(spec: CheckSpec, context: Context) -> Finding:
    """Run the command in the context's folder; the detail of a failure holds its last lines of output."""
    argv = _argv(spec)
    deadline = time.monotonic() + spec.seconds
    with Output() as output, started(
        context, argv, env=context.env, cwd=context.cwd, stdout=output, stderr=output
    ) as family:  # fmt: skip
        returncode = None
        while returncode is None and (left := deadline - time.monotonic()) > 0:
            returncode = family.wait(min(left, _PIECE))
            output.limit()
        log = output.last_lines()
    if returncode is None:
        return failed(_with_log(f"no end after {spec.seconds:g} s", log), status=None)
    if returncode == 0:
        return passed(status=0)
    return failed(_with_log(ending(returncode), log), status=shell_status(returncode))


def _with_log(what: str, log: str) -> str:
    return f"{what}\n{log}" if log else what


def _argv(spec: CheckSpec) -> tuple[str, ...]:
    argv, shell = spec.parameters.get("argv"), spec.parameters.get("shell")
    if isinstance(argv, tuple) and argv and shell is None:
        return argv
    if isinstance(shell, str) and argv is None:
        return ("/bin/sh", "-c", shell)
    raise UsageError(
        f"check {spec.name}: a command needs one of argv and shell",
        f'write argv = ["program", "argument"] or shell = {shlex.quote("program argument")}',
    )
