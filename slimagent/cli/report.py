"""`slimagent report`: what the documents of a run say together, on a terminal or as one HTML page."""

from __future__ import annotations

import os
import re

import click

from slimagent import __version__, documents
from slimagent.cli import options, terminal, writing
from slimagent.cli.ending import chosen_form
from slimagent.cli.help import command
from slimagent.cli.options import JSON, MARKDOWN
from slimagent.cli.terminal import Styled
from slimagent.errors import UnavailableError
from slimagent.linux.files import read, write
from slimagent.model.report import Report
from slimagent.model.summary import Summary, Whole
from slimagent.report.account import account, headline
from slimagent.report.page.page import PARTS, VENDORED, Assets, page
from slimagent.report.report_markdown import report_markdown
from slimagent.report.summary import completed, summarised
from slimagent.report.text import size
from slimagent.report.together import together
from slimagent.workflows.finished import Finished
from slimagent.workflows.tracing import TOOL

_HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "report", "page")
_PAGE = writing.Own(
    "a page that slimagent wrote",
    re.compile(rb"<!doctype html>\n<html lang=\"en\">\n<!-- Written by slimagent "),
    "name another file, or give --overwrite",
)


@command(example="slimagent report slimagent-out\nslimagent report slimagent-out --html report.html")
@click.argument("directory", metavar="OUT")
@click.option("--html", metavar="FILE", help="Write one HTML page with a picture of the image; it needs no network.")
@options.overwrite
@options.together(options.form, options.as_json)
def report(directory: str, html: str | None, overwrite: bool, form: str | None, as_json: bool) -> int:
    """Show what a run came to: what is left and why, what each step used, what nobody exercised.

    OUT is the directory that `slimagent image` or `slimagent run` wrote. The report does without documents that are
    missing, and says so.
    """
    shown = chosen_form(form, as_json=as_json)
    if html is not None:
        writing.require_writable(html, None if overwrite else _PAGE)
    run = Finished(directory, lenient=True, whole=True)
    blank = Summary(tool=TOOL, command="run")
    summary = completed(run.summary or summarised(blank, run.whole), run.whole)
    made = together(summary, run.whole, run.image, run.found(), run.reach)
    if html is not None:
        data = _page(made, run.whole).encode()
        write(html, data)
        terminal.line(f"slimagent: wrote {html}, {size(len(data))}", err=True)
    if shown == JSON:
        terminal.json(documents.encode_report(made))
    elif shown == MARKDOWN:
        terminal.lines(report_markdown(made))
    elif html is None:
        *lines, last = account(made, run.path)
        terminal.lines(lines)
        terminal.line(Styled(last, "red" if made.summary.failure else "green", bold=True))
    else:
        terminal.line(Styled(headline(made), "red" if made.summary.failure else "green", bold=True))
    return 0


def _page(made: Report, whole: Whole) -> str:
    """The page. Raises UnavailableError where its library is missing."""
    names = [*PARTS, *(os.path.join("vendored", each) for each in VENDORED)]
    texts = {os.path.basename(each): read(os.path.join(_HERE, each)).decode() for each in names}
    try:
        return page(made, whole.plan, whole.receipt, Assets(texts=texts), __version__)
    except ImportError:
        raise UnavailableError(
            "the Python package jinja2, which writes the page, is not installed",
            "write the page outside of the container, where slimagent was installed with pip",
        ) from None


COMMANDS = (report,)
