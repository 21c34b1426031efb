"""The agent that runs a command: its directory must hold no files of the image, which no command would see there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import click

from slimagent.bundle.agent_directory import Named, is_mounted, require_own
from slimagent.profiles import shipped as profiles
from slimagent.workflows.session import own_directory

_FILE = re.compile(r"(NAME\|)?FILE|PLAN|TRACE(\.\.\.)?")  # metavars of what names a file
_DONE = f"{__name__}.done"


def require_own_agent(outputs: tuple[bytes, ...]) -> None:
    """Refuse to go on if something of the image lies in the agent's directory: it would be taken for the agent's.

    What the command line names there is not the image's; `outputs` count with all that is in them. An agent that is
    mounted hides what the image has there. Raises RefusedError.
    """
    context = click.get_current_context(silent=True)
    home = own_directory()
    if home is None or is_mounted(home) or (context is not None and context.meta.get(_DONE)):
        return
    files = [] if context is None else map(os.fsencode, _files(context))
    require_own(home, Named(frozenset(map(os.path.realpath, files)), frozenset(map(os.path.realpath, outputs))))
    if context is not None:
        context.meta[_DONE] = True  # some commands make several sessions


def _files(context: click.Context) -> Iterator[str]:
    """The files that a command line names, and those that a profile consists of."""
    for parameter in context.command.params:
        if _FILE.fullmatch(parameter.metavar or ""):
            value = context.params.get(parameter.name or "")
            yield from value if isinstance(value, tuple) else (value,) if value else ()
            if parameter.name == "profile" and value not in (None, profiles.AUTO):
                yield from profiles.files(value)
