"""`slimagent bundle`: an agent for any container."""

from __future__ import annotations

import click

from slimagent.cli import options, terminal
from slimagent.cli.console import Console
from slimagent.report.text import size, table


@click.command()
@click.argument("folder", metavar="DIR")
@options.quiet
def bundle(folder: str, quiet: bool) -> int:
    """Make an agent in DIR that runs in any Linux container of this machine's architecture.

    It brings its own Python and C library, so that the container needs neither, nor a shell. DIR is new, empty, or an
    earlier bundle, which is replaced. Start it with DIR/entrypoint.sh; see docs/bundle.md.
    """
    from slimagent.workflows import bundler  # with what it reads of installed packages, which no other command needs

    options.require_folder_for(folder)
    made = bundler.make(folder, Console(quiet=quiet))
    if not quiet:
        rows = [[name, size(amount)] for name, amount in sorted(made.parts.items(), key=lambda row: -row[1])]
        rows += [["together", size(made.bundle.size)], ["before slimming", size(made.before)]]
        terminal.lines(table(rows, right=(1,)))
        if not made.has_strip:
            terminal.line("without GNU strip: this machine has none, so images are stripped only with their own")
    return 0


COMMANDS = (bundle,)
