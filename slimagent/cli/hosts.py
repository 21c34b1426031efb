"""Options for tests that run on this machine, and not in a container."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from typing import Any

import click

from slimagent.cli import options
from slimagent.errors import UsageError
from slimagent.image.request import FromHost

_PROBE = re.compile(r"(?:([A-Z]+):)?(?::?([0-9]{1,5}))?(/.*)")
_OPTIONS = (
    click.option(
        "--from-host",
        is_flag=True,
        help="Run COMMAND on this machine, while IMAGE runs as it is configured. It is told where in variables, and "
        "may start more containers of IMAGE.",
    ),
    click.option(
        "--http",
        "probes",
        multiple=True,
        metavar="[METHOD:][PORT]PATH",
        help="Ask the running IMAGE for this, e.g. GET:/health; a status below 400 passes. Can be repeated.",
    ),
    click.option(
        "--compose",
        multiple=True,
        metavar="FILE",
        help="With --from-host: run this Compose project in place of one container. Can be repeated.",
    ),
)


def host_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command that has COMMAND; it gets them as the argument `from_host`, None for none."""

    @functools.wraps(function)
    def gather(
        *arguments: Any, from_host: bool, probes: tuple[str, ...], compose: tuple[str, ...], **others: Any
    ) -> Any:
        command = others.get("command")
        if from_host and not command:
            raise UsageError("--from-host: nothing to run", "add `-- COMMAND`, or use --http")
        if probes and command and not from_host:
            raise UsageError("--http excludes a COMMAND in the container", "add --from-host, or use --also COMMAND")
        if compose and not from_host:
            raise UsageError("--compose needs --from-host", "add --from-host and `-- COMMAND`")
        for path in compose:
            if not os.path.isfile(path):
                raise UsageError(f"--compose {path}: no such file", "name a Compose file")
        asked = FromHost(probes=tuple(map(_probe, probes)), compose=compose) if from_host or probes else None
        return function(*arguments, from_host=asked, **others)

    return options.together(*_OPTIONS)(gather)


def _probe(text: str) -> tuple[str, int | None, str]:
    found = _PROBE.fullmatch(text)
    if found is None:
        raise UsageError(f"--http {text}: not a request", "write e.g. GET:/health, /health or GET:8080/health")
    return found[1] or "GET", int(found[2]) if found[2] else None, found[3]
