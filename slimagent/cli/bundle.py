"""`slimagent bundle`: an agent for any container."""

from __future__ import annotations

import click

from slimagent.cli import options, terminal, writing
from slimagent.cli.console import Console
from slimagent.cli.help import command
from slimagent.report.text import size, table


@command(
    example="slimagent bundle ./agent\n"
    "docker run --rm -v ./agent:/agent:ro --entrypoint /agent/entrypoint.sh IMAGE detect"
)
@click.argument("directory", metavar="DIR")
@options.quiet
def bundle(directory: str, quiet: bool) -> int:
    """Make an agent in DIR that runs in any Linux container of this architecture.

    It brings its own Python and C library: the container needs neither, and no shell. DIR is new, empty, or an earlier
    bundle, which is replaced. Start it with DIR/entrypoint.sh.
    """
    from slimagent.workflows import bundler  # imports readers of installed packages, which no other command needs

    writing.require_directory_for(directory)
    made = bundler.make(directory, Console(quiet=quiet))
    if not quiet:
        rows = [[name, size(amount)] for name, amount in sorted(made.parts.items(), key=lambda row: -row[1])]
        rows += [["together", size(made.bundle.size)], ["before slimming", size(made.before)]]
        terminal.lines(table(rows, right=(1,)))
        if not made.has_strip:
            terminal.line("this machine has no GNU strip: images are stripped only with their own")
    return 0


COMMANDS = (bundle,)
