"""`slimagent missing`: what was removed that explains an error, and what brings it back."""

from __future__ import annotations

import os
import sys

import click

from slimagent.cli import options, terminal
from slimagent.cli.console import Console
from slimagent.cli.help import Command
from slimagent.documents.missing import encode_missing
from slimagent.errors import CheckFailedError, UsageError
from slimagent.model.missing import Missing
from slimagent.report.missing.answers import lines, nothing
from slimagent.report.missing.messages import LONGEST
from slimagent.workflows.missing import USUAL, RemovedList, explain, explain_command, usual_place

_EXAMPLE = """\
slimagent missing "ModuleNotFoundError: No module named 'yaml'"
docker run --rm app:slim 2>&1 | slimagent missing
slimagent missing -- python -c 'import yaml'"""


class _WithCommand(Command):
    """A command that tells words after `--`, a command line to run, from those before."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Set the command line aside, and parse the rest."""
        if "--" in args:
            at = args.index("--")
            ctx.meta["command"] = tuple(args[at + 1 :])
            args = args[:at]
        return super().parse_args(ctx, args)


@click.command(cls=_WithCommand, example=_EXAMPLE, options_metavar="[OPTIONS]")
@click.argument("words", metavar="[ERROR]... [-- COMMAND]", nargs=-1)
@click.option(
    "--removed",
    metavar="FILE|OUT",
    help="The list of what went, or the output directory of a run. [default: the one in this image, or slimagent-out]",
)
@options.together(options.user, options.as_json)
@click.pass_context
def missing(ctx: click.Context, words: tuple[str, ...], removed: str | None, user: str | None, as_json: bool) -> int:
    """Say what was removed that explains ERROR, whose it was, why it went, and what brings it back.

    ERROR is what a program said in a slim image, pasted, or on standard input, of which the last mebibyte counts. With
    COMMAND it runs that here, in the slim image, and says which removed files it looked for. The exit status is 1
    if nothing that was removed explains it.
    """
    command = ctx.meta.get("command", ())
    if words and command:
        raise UsageError("an error and a command cannot be explained together", "leave one out")
    if user is not None and not command:
        raise UsageError("--user needs a command", "add -- COMMAND, or leave it out")
    listed = RemovedList(removed if removed is not None else usual_place(USUAL))
    if command:
        session = options.session(user=user, outputs=(os.fsencode(listed.path),))
        made = explain_command(listed, session, command, Console(quiet=True))
    else:
        made = explain(listed, _error(words))
    if as_json:
        terminal.json(encode_missing(made))
    else:
        terminal.lines(lines(made))
    if not made.answers:
        raise _unexplained(made, is_command=bool(command))
    return 0


def _error(words: tuple[str, ...]) -> bytes:
    """The pasted error, or else what is on standard input."""
    if words:
        return os.fsencode(" ".join(words))
    if sys.stdin.isatty():
        raise UsageError("nothing to explain", "paste the error as an argument, or on standard input")
    text = b""
    while piece := sys.stdin.buffer.read(LONGEST):
        text = (text + piece)[-LONGEST:]
    return text


def _unexplained(made: Missing, *, is_command: bool) -> CheckFailedError:
    if is_command:
        return CheckFailedError(
            "the command looked for nothing that was removed by its name",
            "give what it said: slimagent missing 'ITS ERROR'; a program may only list a directory, as Python does",
        )
    if made.vague:
        return CheckFailedError(nothing(made), "give its whole path")
    if not made.unexplained:
        return CheckFailedError(
            "the text names nothing that is missing",
            "paste the error of the program; or run it in the slim image with the agent: missing -- COMMAND",
        )
    return CheckFailedError(nothing(made), "the error has another cause, or the image never had it")


COMMANDS = (missing,)
