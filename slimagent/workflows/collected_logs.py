"""The logs of steps that ran in containers: copied out within limits, and read for what went wrong."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable

from slimagent.errors import RefusedError
from slimagent.image.directories import tail_inside
from slimagent.image.output import Output
from slimagent.image.shared import Shared
from slimagent.image.work import LOGS
from slimagent.workflows import step_logs
from slimagent.workflows.starts_from_outside import OUTSIDE

_NAME = re.compile(r"[\w.+-]{1,200}\.log", re.ASCII)
_TAIL = 1 << 14  # bytes of a log that we read
# Limits for what a container can make us copy. No honest agent reaches them.
_LOG, _ALL_LOGS, _MOST_LOGS = step_logs.LARGEST + (1 << 20), 1 << 30, 10_000  # bytes, bytes, files


def take(output: Output, shared: Shared, which: str) -> None:
    """Copy a container's logs to the output. Their names begin with `which`, the image that they belong to.

    Files with names that no step's log has (`log_name`) are left where they are: a test wrote them.
    """
    left = _ALL_LOGS
    for name in shared.names_in(LOGS, _MOST_LOGS):
        target = f"logs/{which}-{name}"
        if _NAME.fullmatch(name) and output.adopt(shared.path, f"{LOGS}/{name}", target, min(left, _LOG)):
            left -= os.stat(os.path.join(output.path, target), follow_symlinks=False).st_size


def ends(output: Output, which: str, steps: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The log file of each step that has one, and the end of its text."""
    found: dict[str, tuple[str, str]] = {}
    for step in steps:
        name = f"logs/{OUTSIDE}.log" if step == OUTSIDE else f"logs/{which}-{step_logs.log_name(step)}"
        with contextlib.suppress(OSError, RefusedError):
            text = tail_inside(output.path, name, _TAIL).decode("utf-8", "replace")
            found[step] = (os.path.join(output.path, name), text)
    return found
