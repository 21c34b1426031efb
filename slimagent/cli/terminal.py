"""Print to the terminal, for all commands. A line is shown as one line of printable text, whatever is in it.

Colour is for terminals. NO_COLOR (https://no-color.org) and `TERM=dumb` turn it off, FORCE_COLOR turns it on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import click

from slimagent.text.escapes import github_annotation, json_text, printable

if TYPE_CHECKING:
    from rich.progress import Progress

_ANY = 1000  # columns: more than anything needs
_LIVE: list[Progress] = []  # the live line now on the terminal


class Styled(NamedTuple):
    """A coloured part of a line, for terminals with colours."""

    text: str
    colour: str | None = None
    bold: bool = False
    dim: bool = False


def line(*parts: str | Styled, err: bool = False) -> None:
    """Show one line, on standard output or standard error."""
    _echo("".join(map(_shown, parts)), err)


def heard(line_of_agent: bytes, *, err: bool = False) -> None:
    """Show a line that an agent in a container printed."""
    line(line_of_agent.decode("utf-8", "replace").rstrip("\n"), err=err)


def lines(each: Iterable[str], *, err: bool = False) -> None:
    """Show lines, all at once."""
    _echo("\n".join(map(printable, each)), err)


def json(data: bytes) -> None:
    """Print a JSON document on standard output: the same values, without anything that a terminal obeys."""
    click.echo(json_text(data.decode().rstrip("\n")))


def annotation(level: str, title: str, message: str) -> None:
    """Have GitHub show a message beside the job. On standard error, which it reads too."""
    _echo(github_annotation(level, title, message), err=True)


def can_show(text: str) -> bool:
    """Whether standard output has these characters in its encoding."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def columns() -> int:
    """How wide lines can be: as the terminal is or COLUMNS says. A file and a program take lines of any length."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return _ANY
    return shutil.get_terminal_size().columns


def document(text: str) -> None:
    """Print a file's text on standard output: as it is for a file or a program, line by line for a terminal."""
    if sys.stdout.isatty():
        lines(text.removesuffix("\n").split("\n"))
    else:
        click.echo(text, nl=False)


@contextlib.contextmanager
def status(name: str) -> Iterator[Callable[[str], None]]:
    """Show a live line with the elapsed time on standard error while the block runs. Yields a setter of its text.

    Lines that are shown meanwhile appear above it.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as live:
        task = live.add_task(printable(name), total=None)
        _LIVE.append(live)
        try:
            yield lambda text: live.update(task, description=printable(text))
        finally:
            _LIVE.pop()


def is_live() -> bool:
    """Whether standard error is a terminal that can change a line."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _echo(text: str, err: bool) -> None:
    if err and _LIVE:  # the live line makes room
        from rich.text import Text

        _LIVE[-1].console.print(Text.from_ansi(text), soft_wrap=True)
    else:
        click.echo(text, err=err, color=_has_colour(err))


def _has_colour(err: bool) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return (sys.stderr if err else sys.stdout).isatty() and os.environ.get("TERM") != "dumb"


def _shown(part: str | Styled) -> str:
    if isinstance(part, str):
        return printable(part)
    return click.style(printable(part.text), fg=part.colour, bold=part.bold or None, dim=part.dim or None)
