"""`slimagent history`: the runs of an image over time, in a file that people keep with their sources."""

from __future__ import annotations

import os
from typing import Any

import click

from slimagent import documents
from slimagent.cli import options, terminal, writing
from slimagent.cli.ending import chosen_form
from slimagent.cli.gating import DEFAULT
from slimagent.cli.help import Group, command
from slimagent.errors import DocumentError, RefusedError
from slimagent.report.history import BLOCKS, PLAIN, history_markdown, history_table, plots, with_changes
from slimagent.report.since import past_run, previous, since, since_lines
from slimagent.text.counted import counted
from slimagent.workflows import histories
from slimagent.workflows.finished import Finished

_RUNS = 20
_file = click.option("--file", "history", default=DEFAULT, show_default=True, metavar="FILE", help="The history.")


@click.group(
    cls=Group,
    example="slimagent history add slimagent-out --label 'torch 2.4'\nslimagent history show --by component",
)
def history() -> None:
    """Keep the sizes of an image over time, and show them.

    A history is a file of JSON lines, one for each run. It is made to be kept in a repository.
    """


@command("add", example="slimagent history add slimagent-out --label 'torch 2.4'")
@click.argument("out", metavar="OUT")
@_file
@click.option("--label", default="", metavar="TEXT", help="What to say about this run in the table.")
@options.quiet
def add(out: str, history: str, label: str, quiet: bool) -> int:
    """Add the run that wrote into the directory OUT.

    Its line goes to the end of the file; all others stay as they are. A run that is there is not added again.
    """
    writing.require_writable(history)
    before = histories.runs_in(history)
    done = Finished(out, whole=True)
    run = None
    if done.result.plan is not None:
        run = past_run(done.result, done.require_plan(), done.when, done.image_id, label)
    if run is None:
        raise RefusedError(f"the run in {out} made no slim image, so it has no sizes", "run slimagent again")
    if not histories.add(history, run):
        raise RefusedError(
            f"{history} has the run in {out} already, of {run.when}",
            f"to see it: slimagent history show --file {history}",
        )
    if not quiet:
        last = previous(before, run)
        if last is not None:
            terminal.lines(since_lines(since(last, run), run.name))
        terminal.line(f"added to {history}, which has {counted(len(before) + 1, 'run')}")
    return 0


@command("show", example="slimagent history show --by component")
@_file
@click.option("--by", type=click.Choice(("component",)), help="Plot the parts of each image, by who owns them.")
@click.option(
    "--last", type=click.IntRange(min=1), default=_RUNS, show_default=True, metavar="N", help="Show the last N runs."
)
@options.together(options.form, options.as_json)
def show(history: str, by: str | None, last: int, form: str | None, as_json: bool) -> int:
    """Show the runs as a table and as a plot, the latest last."""
    shape = chosen_form(form, as_json=as_json)
    runs = histories.runs_in(history)
    if not os.path.lexists(history):
        raise DocumentError(f"{history} does not exist", f"make it: slimagent history add OUT --file {history}")
    if not runs:
        raise DocumentError(f"{history} has no runs", f"add one: slimagent history add OUT --file {history}")
    rows: Any = with_changes(runs)[-last:]
    if shape == options.JSON:
        terminal.json(documents.encode_history(tuple(rows)))
    elif shape == options.MARKDOWN:
        terminal.lines(history_markdown(rows))
    else:
        marks = BLOCKS if terminal.can_show(BLOCKS) else PLAIN
        hidden = len(runs) - len(rows)
        earlier = [f"({counted(hidden, 'earlier run')}: --last {len(runs)} shows all)"] if hidden else []
        drawn = plots(rows, marks, by_component=by is not None)
        terminal.lines([*earlier, *history_table(rows, terminal.columns()), *([""] if drawn else []), *drawn])
    return 0


history.add_command(add)
history.add_command(show)
COMMANDS = (history,)
