"""Find programs that gain rights when they are executed: under a tracer without CAP_SYS_ADMIN they do not.

The kernel then requires no_new_privs of traced processes (seccomp(2)), which makes execve(2) ignore the setuid and
setgid bits and file capabilities.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import replace

from slimagent.model.result import CheckResult, Outcome
from slimagent.model.trace import How, Trace
from slimagent.paths.algebra import to_text

_CAPABILITIES = "security.capability"  # capabilities(7), "File capabilities"


def advice(trace: Trace, steps: Collection[CheckResult]) -> str:
    """Explain in one line which program of failed steps did not gain its rights, and what helps; "" for none.

    Run this in the image that was traced: it looks at the programs themselves.
    """
    if not any(run.no_new_privileges for run in trace.runs):
        return ""
    failed = {index for index, step in enumerate(trace.steps) if step in steps}
    executed = (each for each in trace.accesses if each.how & How.EXECUTED and each.found and failed & {*each.steps})
    return without_rights([each.path for each in executed if gains_rights(each.path)])


def advised(trace: Trace) -> tuple[CheckResult, ...]:
    """The steps of a trace, with `advice` added to the first line of each failed step's detail."""
    found = []
    for step in trace.steps:
        note = advice(trace, [step]) if step.outcome is Outcome.FAILED else ""
        first, *more = step.detail.split("\n")
        found.append(replace(step, detail="\n".join((f"{first}; {note}", *more))) if note else step)
    return tuple(found)


def gains_rights(program: bytes) -> bool:
    """Whether a program has a setuid or setgid bit, or file capabilities."""
    try:
        if os.stat(program).st_mode & (stat.S_ISUID | stat.S_ISGID):
            return True
        return bool(os.getxattr(program, _CAPABILITIES))
    except OSError:  # gone, or a file system without attributes
        return False


def without_rights(programs: list[bytes]) -> str:
    """What to do about programs that did not gain their rights, "" for none."""
    if not programs:
        return ""
    more = f" and {len(programs) - 1} more" if len(programs) > 1 else ""
    return (
        f"setuid bits and file capabilities have no effect under this trace, and the step executed "
        f"{to_text(programs[0])}{more}; if it needs them, trace in a container with "
        "`--cap-add SYS_ADMIN --cap-add SYS_PTRACE` (with `slimagent image`: "
        "`--run-option=--cap-add=SYS_ADMIN --run-option=--cap-add=SYS_PTRACE`)"
    )
