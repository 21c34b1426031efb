"""Options that are handed on: to another command of the agent, which has them, too."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection

import click
from click.core import ParameterSource

from slimagent.image.work import OUT
from slimagent.profiles import shipped as profiles


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


def carried_profile(name: str | None) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """A profile's files by their paths below the output directory, and the option that names the profile there.

    Raises UsageError for an unknown name, DocumentError for a file that cannot be read.
    """
    if name is None or name == profiles.AUTO:
        return {}, () if name is None else ("--profile", name)
    found = {os.path.abspath(path): data for path, data in profiles.files(name).items()}
    if not found:
        return {}, ("--profile", name)
    top = os.path.commonpath([os.path.dirname(path) for path in found])
    inside = {path: posixpath.join("profile", os.path.relpath(path, top)) for path in found}
    return {inside[path]: data for path, data in found.items()}, ("--profile", f"{OUT}/{inside[os.path.abspath(name)]}")
