"""Find the agent for containers: the named one, ourselves if we are one, or else one made once and cached."""

from __future__ import annotations

import os

from slimagent.cli.console import Console
from slimagent.image.agent import Bundle, bundle


def agent_bundle(directory: str | None, console: Console) -> Bundle:
    """The bundle in `directory`, or by default that of this state of our sources, made when first needed.

    Raises UnavailableError or DocumentError for a directory that is not a bundle, UnavailableError if none can be made.
    """
    home = directory if directory is not None else os.environ.get("SLIMAGENT_HOME")
    if home is not None:
        return bundle(home)
    from slimagent.workflows import agent_cache  # imports readers of installed packages, which no other command needs

    return agent_cache.cached(console, console.say)
