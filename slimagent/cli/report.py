"""`slimagent report`: what the documents of a run say together, on a terminal or as one HTML page."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from typing import TypeVar

import click

from slimagent import __version__, documents
from slimagent.cli import options, terminal
from slimagent.cli.ending import chosen_form
from slimagent.cli.help import command
from slimagent.cli.options import JSON, MARKDOWN
from slimagent.cli.terminal import Styled
from slimagent.errors import DocumentError, UnavailableError
from slimagent.linux.files import digest, read, write
from slimagent.model.image_config import ImageConfig, read_image_config
from slimagent.model.report import Found, Report
from slimagent.model.summary import Summary, Whole
from slimagent.report.account import account, headline
from slimagent.report.page.page import PARTS, VENDORED, Assets, page
from slimagent.report.pull_request import pull_request
from slimagent.report.summary import summarised
from slimagent.report.text import size
from slimagent.report.together import together
from slimagent.workflows.tracing import TOOL

_T = TypeVar("_T")
_HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "report", "page")
_PAGE = options.Own(
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
        options.require_writable(html, None if overwrite else _PAGE)
    run = _Run(directory)
    made = run.report()
    if html is not None:
        data = _page(made, run.whole).encode()
        write(html, data)
        terminal.line(f"slimagent: wrote {html}, {size(len(data))}", err=True)
    if shown == JSON:
        terminal.json(documents.encode_report(made))
    elif shown == MARKDOWN:
        terminal.lines(pull_request(made.summary))
    elif html is None:
        *lines, last = account(made, directory)
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


class _Run:
    """The documents in a directory. What is missing, or belongs to another plan, is None. Raises DocumentError."""

    def __init__(self, directory: str) -> None:
        if not os.path.isdir(directory):
            raise DocumentError(f"{directory} is not a directory", "name the directory of --out")
        self._directory = directory
        self._found: list[Found] = []
        plan = self._read("plan.json", documents.decode_plan)
        digests = {self._found[0].sha256}
        trace = self._read("trace.json", documents.decode_trace, () if plan is None else plan.traces)
        receipt = self._read("receipt.json", documents.decode_receipt, digests)
        verification = self._read("verification.json", documents.decode_verification, digests)
        self._summary = self._read("summary.json", documents.decode_summary, digests)
        self._image: ImageConfig | None = self._read("image.json", read_image_config)
        self.whole = Whole(trace=trace, plan=plan, receipt=receipt, verification=verification)
        if all(each.sha256 is None for each in self._found):
            raise DocumentError(
                f"{directory} has no document of a run", "name the directory of --out of `slimagent image`"
            )

    def _read(
        self, name: str, decode: Callable[[bytes, str], _T], fits: Collection[str | None] | None = None
    ) -> _T | None:
        """A document, if it is there. `fits`: the digests of plans that it may name, or that itself may have."""
        path = os.path.join(self._directory, name)
        if not os.path.exists(path):
            self._found.append(Found(name=name, sha256=None, missing="there is no such file"))
            return None
        data = read(path)
        made, own = decode(data, path), digest(data)
        named = own if name == "trace.json" else getattr(made, "plan", None)
        if fits and None not in fits and named is not None and named not in fits:
            other = "the plan was made from another trace" if name == "trace.json" else "it belongs to another plan"
            self._found.append(Found(name=name, sha256=None, missing=other))
            return None
        self._found.append(Found(name=name, sha256=own))
        return made

    def report(self) -> Report:
        """The report."""
        summary = self._summary or summarised(Summary(tool=TOOL, command="run"), self.whole)
        return together(summary, self.whole, self._image, self._found)


COMMANDS = (report,)
