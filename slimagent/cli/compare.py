"""`slimagent compare`: what two runs keep differently."""

from __future__ import annotations

import click

from slimagent import __version__, documents
from slimagent.cli import options, terminal
from slimagent.cli.ending import chosen_form
from slimagent.cli.help import command
from slimagent.cli.terminal import Styled
from slimagent.model.comparison import Movement, RunComparison
from slimagent.report import comparison_text
from slimagent.report.comparison_markdown import comparison_markdown
from slimagent.report.run_comparison import compare_runs
from slimagent.workflows.finished import Finished

_COLOURS = {Movement.CAME: "yellow", Movement.GREW: "yellow", Movement.WENT: "green", Movement.SHRANK: "green"}


@command(
    example="slimagent compare monday-out slimagent-out\n"
    "slimagent compare main-out slimagent-out --format markdown > comment.md"
)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@options.together(options.form, options.as_json)
def compare(a: str, b: str, form: str | None, as_json: bool) -> int:
    """Say what two runs keep differently, and why.

    A and B are output directories of `slimagent image` or `slimagent run`, or plans. Differences are of B against A:
    what came, what went, and what grew, by package, with the reasons that `explain` gives; and the checks that ended
    differently.
    """
    chosen = chosen_form(form, as_json=as_json)
    found = compare_runs(Finished(a).run(), Finished(b).run(), f"slimagent {__version__}")
    if chosen == options.JSON:
        terminal.json(documents.encode_comparison(found))
    elif chosen == options.MARKDOWN:
        terminal.document("\n".join([*comparison_markdown(found), ""]))
    else:
        _show(found)
    return 0


def _show(found: RunComparison) -> None:
    terminal.lines(comparison_text.heading(found))
    for lines in (comparison_text.settings(found), comparison_text.totals(found), comparison_text.checks(found)):
        if lines:
            terminal.line("")
            terminal.lines(lines)
    terminal.line("")
    for each in comparison_text.moved(found):
        terminal.line(Styled(each.head, _COLOURS.get(each.movement)), f"  {each.what}")
        for line in each.reason:
            terminal.line(comparison_text.INDENT, Styled(line, dim=True))
    more = comparison_text.more_moved(found)
    if more:
        terminal.line(more)
    if found.moved:
        terminal.line(comparison_text.counts(found))
    worse = comparison_text.worse(found)
    if worse:
        terminal.line(Styled(worse, "red", bold=True))
    terminal.line(Styled(comparison_text.answer(found), bold=True))


COMMANDS = (compare,)
