"""Kind `command`: any command, by its arguments (`argv`) or as a line for the shell (`shell`)."""

from __future__ import annotations

import time

from slimagent.checks.context import Context
from slimagent.checks.kind import Finding, Kind, strings, text
from slimagent.checks.processes import captured, last_lines, started
from slimagent.errors import UsageError
from slimagent.model import CheckSpec, Outcome


def run(spec: CheckSpec, context: Context) -> Finding:
    """Passed if the command ends with status 0 in time. The detail of a failure holds the last lines of its output."""
    argv = _argv(spec)
    deadline = time.monotonic() + spec.seconds
    with captured() as output:
        with started(context, argv, output) as family:
            status = family.wait(deadline)
        shown = last_lines(output)
    if status == 0:
        return Finding(outcome=Outcome.PASSED, status=0)
    what = f"no end after {spec.seconds:g} s" if status is None else f"exit status {status}"
    return Finding(outcome=Outcome.FAILED, detail=f"{what}\n{shown}".rstrip(), status=status)


def _argv(spec: CheckSpec) -> tuple[str, ...]:
    argv, shell = strings(spec, "argv"), text(spec, "shell")
    if bool(argv) == bool(shell):
        raise UsageError(f"check {spec.name!r}: a command is either argv or shell", 'as argv = ["git", "--version"]')
    return argv or ("/bin/sh", "-c", shell)


KIND = Kind(run=run, parameters={"argv": tuple, "shell": str})
