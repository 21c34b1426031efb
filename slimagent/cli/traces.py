"""The argument of the commands that read traces: files, and directories with traces in them."""

from __future__ import annotations

import os
import stat

import click

from slimagent.cli.writing import own_document
from slimagent.documents import TRACE
from slimagent.errors import UsageError
from slimagent.linux.files import explained

_OURS = own_document(TRACE)


def _files(context: click.Context, argument: click.Parameter, words: tuple[str, ...]) -> tuple[str, ...]:
    """Replace each directory by the traces in it, sorted. Raises UsageError for one without a trace."""
    found: list[str] = []
    for word in words:
        found += _in_directory(word) if os.path.isdir(word) else [word]
    return tuple(found)


def _in_directory(directory: str) -> list[str]:
    try:
        paths = [entry.path for entry in os.scandir(directory) if entry.name.endswith(".json") and _is_file(entry)]
    except OSError as error:
        raise explained(error, directory) from None
    traces = sorted(path for path in paths if _OURS.wrote(path))
    if not traces:
        raise UsageError(f"{directory} has no trace in it", "name the files, or the directory that has them")
    return traces


def _is_file(entry: os.DirEntry[str]) -> bool:
    return stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode)


traces = click.argument("traces", metavar="TRACE...", nargs=-1, required=True, callback=_files)
