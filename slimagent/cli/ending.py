"""How a command that makes a summary ends: standard output is that one document, whatever happened."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace

import click

from slimagent.cli import terminal
from slimagent.cli.options import JSON, TABLE
from slimagent.cli.terminal import Styled
from slimagent.cli.writing import OWN_REPORT, require_writable
from slimagent.documents import encode_summary
from slimagent.errors import SlimagentError, UsageError
from slimagent.linux.files import write
from slimagent.model.summary import Summary, Whole
from slimagent.report.pull_request import pull_request
from slimagent.report.result import result
from slimagent.report.run_junit import run_junit
from slimagent.report.summary import failure
from slimagent.workflows.tracing import TOOL

junit = click.option(
    "--junit", "report", metavar="FILE", help="Write the results of both runs here as JUnit XML, also after a failure."
)


def chosen_form(form: str | None, *, as_json: bool) -> str:
    """How to print the result. Raises UsageError for --json with another --format."""
    if as_json and form not in (None, JSON):
        raise UsageError(f"--json and --format {form} cannot be used together", "leave one out")
    return JSON if as_json else form or TABLE


class Ending:
    """The summary of a command and the documents that it is made of, as far as they are known."""

    def __init__(self, command: str, *, image: str | None = None, tag: str | None = None) -> None:
        self.summary = Summary(tool=TOOL, command=command, image=image, tag=tag)
        self.whole = Whole()


@contextlib.contextmanager
def ending(
    command: str, form: str, *, image: str | None = None, tag: str | None = None, report: str | None = None
) -> Iterator[Ending]:
    """Run a block that fills in the summary. As JSON or Markdown, print it at the end, also after a SlimagentError.

    Until then, what the block and its processes write to standard output goes to standard error. `report` is a file for
    the results as JUnit XML, also after a SlimagentError. Raises RefusedError if slimagent did not write that file.
    """
    end = Ending(command, image=image, tag=tag)
    if form == TABLE:
        with _reported(end, report):
            yield end
        return
    try:
        with _aside(), _reported(end, report):
            yield end
    except SlimagentError as error:
        _document(replace(end.summary, failure=failure(error)), form)
        raise
    _document(end.summary, form)


@contextlib.contextmanager
def _reported(end: Ending, report: str | None) -> Iterator[None]:
    """Write the report when the block ends. After an error, that is what counts if the report cannot be written."""
    if report is None:
        yield
        return
    require_writable(report, OWN_REPORT)
    try:
        yield
    except SlimagentError as error:
        with contextlib.suppress(SlimagentError):
            write(report, run_junit(replace(end.summary, failure=failure(error)), end.whole))
        raise
    write(report, run_junit(end.summary, end.whole))


def _document(summary: Summary, form: str) -> None:
    if form == JSON:
        terminal.json(encode_summary(summary))
    else:
        terminal.lines(pull_request(summary))


def show(summary: Summary, directory: str) -> None:
    """Print the result for an image as tables for people, the answer last."""
    *lines, last = result(summary, directory)
    terminal.lines(lines)
    terminal.line(Styled(last, "red" if summary.failure else "green", bold=True))


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """Redirect standard output to standard error."""
    sys.stdout.flush()
    ours = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(ours, 1)
        os.close(ours)
