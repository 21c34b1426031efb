"""Options of the commands that exercise an image: where the output of steps goes, and a start that was watched."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import Any

import click

from slimagent.cli import options
from slimagent.errors import DocumentError, UnavailableError
from slimagent.linux.files import read
from slimagent.model import hosted
from slimagent.model.hosted import Hosted
from slimagent.model.started import decode
from slimagent.workflows.step_logs import StepLogs
from slimagent.workflows.steps import Evidence, Start

_OPTIONS = (
    click.option(
        "--logs", "directory", metavar="DIR", help="Write the output of each step to a file in this directory."
    ),
    click.option(
        "--started",
        "diary",
        metavar="FILE",
        help="Add the start that `slimagent start` recorded in FILE. Waits until FILE exists.",
    ),
    click.option(
        "--hosted",
        "record",
        metavar="FILE",
        help="Add the tests on the host that `slimagent image` recorded in FILE. Waits until FILE exists.",
    ),
    click.option(
        "--expect",
        "expected",
        multiple=True,
        metavar="STEP",
        help="Refuse to begin if no step of this name would run. Can be repeated.",
    ),
)
_LOOK_EVERY = 0.05  # seconds
_PATIENCE = 86400.0  # seconds: tests may take hours


def evidence_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command; it gets them as the argument `evidence`, an `Evidence`."""

    @functools.wraps(function)
    def gather(
        *arguments: Any,
        directory: str | None,
        diary: str | None,
        record: str | None,
        expected: tuple[str, ...],
        **others: Any,
    ) -> Any:
        start = None if diary is None else functools.partial(_start, diary)
        hosted = None if record is None else functools.partial(_hosted, record)
        logs = None if directory is None else StepLogs(directory)
        evidence = Evidence(logs=logs, start=start, hosted=hosted, expected=expected)
        return function(*arguments, evidence=evidence, **others)

    return options.together(*_OPTIONS)(gather)


def _start(diary: str) -> Start:
    """Wait for a file, and return the start that it records. Raises UnavailableError if none appears, DocumentError."""
    await_file(diary)
    seen = decode(read(diary), diary)
    if seen.reached is None and seen.status is None:
        raise DocumentError(
            f"{diary}: the container ended by itself, and the file does not give its exit status",
            'add it as the last line, e.g. ["ended", 0]',
        )
    return Start(seen=seen, status=seen.status or 0)


def _hosted(record: str) -> Hosted:
    """Wait for a file, and return the tests that it records. Raises UnavailableError, DocumentError."""
    await_file(record)
    return hosted.decode(read(record), record)


def await_file(path: str) -> None:
    """Wait for a file that is moved into place whole. Raises UnavailableError if it does not appear."""
    deadline = time.monotonic() + _PATIENCE
    while not os.path.exists(path):
        if time.monotonic() >= deadline:
            raise UnavailableError(f"{path} did not appear within {_PATIENCE:.0f} s", "name a file that exists")
        time.sleep(_LOOK_EVERY)
