"""Options of the commands that exercise an image: where the output of steps goes, and a start that was watched."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from slimagent.errors import UsageError
from slimagent.exercise import Start
from slimagent.files import read
from slimagent.started import decode
from slimagent.step_logs import StepLogs

_OPTIONS = (
    click.option("--logs", "directory", metavar="DIR", help="Write what each step says to a file in this directory."),
    click.option(
        "--started",
        "diary",
        metavar="FILE",
        help="How the image was started, written by `slimagent start`: its steps count, too.",
    ),
    click.option(
        "--started-status",
        "status",
        type=int,
        default=0,
        metavar="N",
        help="With --started: the exit status of that container.",
    ),
)


def evidence_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command; it gets them as `logs` (a StepLogs or None) and `start` (a Start or None)."""

    @functools.wraps(function)
    def gather(*arguments: Any, directory: str | None, diary: str | None, status: int, **others: Any) -> Any:
        if diary is None and status:
            raise UsageError("--started-status says nothing without --started", "add --started FILE")
        start = None if diary is None else Start(seen=decode(read(diary), diary), status=status)
        logs = None if directory is None else StepLogs(directory)
        return function(*arguments, logs=logs, start=start, **others)

    command: Callable[..., Any] = gather
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
