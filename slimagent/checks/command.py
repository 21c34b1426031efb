"""Kind `command`: runs any command, and passes if its exit status is 0. `argv` is run as it is, `shell` by /bin/sh."""

from __future__ import annotations

import shlex

from slimagent.checks.context import Context
from slimagent.checks.finding import Finding, failed
from slimagent.checks.program import complete
from slimagent.errors import UsageError
from slimagent.linux.command import shell_status
from slimagent.model.profile import CheckSpec
from slimagent.model.result import Outcome

PARAMETERS: dict[str, type] = {"argv": tuple, "shell": str}


def run(spec: CheckSpec, context: Context) -> Finding:
    """Run the command in the context's directory. The detail of a failure ends with its last lines of output."""
    ended = complete(context, _argv(spec), env=context.env, cwd=context.cwd, seconds=spec.seconds, log=context.log)
    if ended.well:
        return Finding(outcome=Outcome.PASSED, status=0)
    log = ended.log()
    status = None if ended.returncode is None else shell_status(ended.returncode)
    return failed(f"{ended.how}\n{log}" if log else ended.how, status=status)


def _argv(spec: CheckSpec) -> tuple[str, ...]:
    argv, shell = spec.parameters.get("argv"), spec.parameters.get("shell")
    if isinstance(argv, tuple) and argv and shell is None:
        return argv
    if isinstance(shell, str) and argv is None:
        return ("/bin/sh", "-c", shell)
    raise UsageError(
        f"check {spec.name}: a command needs either argv or shell",
        f'write argv = ["program", "argument"] or shell = {shlex.quote("program argument")}',
    )
