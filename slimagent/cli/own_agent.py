"""Check the agent that runs us: its directory must hold no files of the image, which we would not see there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import click

from slimagent.bundle.agent_directory import Named, is_mounted, require_own
from slimagent.profiles import shipped as profiles
from slimagent.workflows.session import own_directory

_FILE = re.compile(r"(NAME\|)?FILE|PLAN|TRACE(\.\.\.)?")  # metavars of options that name files
_DONE = f"{__name__}.done"


def require_own_agent(outputs: tuple[bytes, ...]) -> None:
    """Raise RefusedError if files of the image lie in the agent's directory: they would pass for the agent's.

    Files that the command line names are not the image's, nor are the `outputs` with all that is in them. A mounted
    agent hides what the image has there.
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
    """The files that a command line names, and the files of a profile."""
    for parameter in context.command.params:
        if _FILE.fullmatch(parameter.metavar or ""):
            value = context.params.get(parameter.name or "")
            yield from value if isinstance(value, tuple) else (value,) if value else ()
            if parameter.name == "profile" and value not in (None, profiles.AUTO):
                yield from profiles.files(value)
