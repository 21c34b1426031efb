"""The one way to the terminal. A line that is shown is a single line of printable text, whatever is in it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import click

from slimagent.text.escapes import json_text, printable


class Styled(NamedTuple):
    """A part of a line in colour, for terminals that have it."""

    text: str
    colour: str | None = None
    bold: bool = False
    dim: bool = False


def line(*parts: str | Styled, err: bool = False) -> None:
    """Show one line, on standard output or standard error."""
    click.echo("".join(map(_shown, parts)), err=err)


def lines(each: Iterable[str], *, err: bool = False) -> None:
    """Show lines, all at once."""
    click.echo("\n".join(map(printable, each)), err=err)


def json(data: bytes) -> None:
    """Print a JSON document on standard output: the same values, and nothing that a terminal obeys."""
    click.echo(json_text(data.decode().rstrip("\n")))


def document(text: str) -> None:
    """Print a file's text on standard output: as it is for a file or a program, line by line for a terminal."""
    if sys.stdout.isatty():
        lines(text.removesuffix("\n").split("\n"))
    else:
        click.echo(text, nl=False)


@contextlib.contextmanager
def status(name: str) -> Iterator[Callable[[str], None]]:
    """A live line on standard error while the block runs; what is yielded changes its text."""
    from rich.console import Console
    from rich.text import Text  # and not a string, which would be read as markup

    with Console(stderr=True).status(Text(printable(name))) as live:
        yield lambda text: live.update(Text(printable(text)))


def is_live() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr.isatty()


def _shown(part: str | Styled) -> str:
    if isinstance(part, str):
        return printable(part)
    return click.style(printable(part.text), fg=part.colour, bold=part.bold or None, dim=part.dim or None)
