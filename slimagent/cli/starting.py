"""Options of a start: what to wait for, how long, and whether to start the image at all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from slimagent.cli import options
from slimagent.errors import UsageError
from slimagent.image.starts import Waiting
from slimagent.model.started import Until

_DAY = 86400  # seconds
UNTIL = ("auto", *(each.value for each in Until))
_OPTIONS = (
    click.option("--no-start", is_flag=True, help="Do not start the image as it is configured."),
    click.option(
        "--start-until",
        type=click.Choice(UNTIL),
        default="auto",
        show_default=True,
        help="When the image counts as started. auto: healthy, else a port answers, else it keeps running.",
    ),
    click.option(
        "--start-seconds", default=60.0, show_default=True, metavar="N", help="Wait at most this many seconds for that."
    ),
    click.option(
        "--start-settle",
        default=5.0,
        show_default=True,
        metavar="N",
        help="Seconds that an image without a health check or port has to run.",
    ),
)


def start_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command; it gets them as the argument `waiting`, None for no start."""

    @functools.wraps(function)
    def gather(
        *arguments: Any, no_start: bool, start_until: str, start_seconds: float, start_settle: float, **others: Any
    ) -> Any:
        if not (0 < start_seconds <= _DAY and 0 < start_settle <= _DAY):
            raise UsageError(f"--start-seconds and --start-settle must be above 0 and at most {_DAY}", "leave them out")
        waiting = Waiting(until=start_until, seconds=start_seconds, settle=start_settle)
        if others.get("from_host") is not None:  # these tests need a running image in any case
            others["from_host"] = replace(others["from_host"], waiting=waiting)
        return function(*arguments, waiting=None if no_start else waiting, **others)

    return options.together(*_OPTIONS)(gather)
