"""Options that are handed on: to another command of the agent, which has them, too."""

from __future__ import annotations

from collections.abc import Collection

import click
from click.core import ParameterSource


def passed_on(names: Collection[str]) -> tuple[str, ...]:
    """The words of the options among `names` that were given to the current command."""
    context = click.get_current_context()
    words: list[str] = []
    for parameter in context.command.params:
        name = parameter.name
        if name is None or name not in names or context.get_parameter_source(name) is ParameterSource.DEFAULT:
            continue
        value = context.params[name]
        if isinstance(value, bool):
            words.append((parameter.opts if value else parameter.secondary_opts)[0])
        elif isinstance(value, tuple):
            words += [word for each in value for word in (parameter.opts[0], str(each))]
        else:
            words += [parameter.opts[0], str(value)]
    return tuple(words)
