"""Show a whole report as Markdown: the text for a pull request, what becomes of the bytes, what is left. Pure."""

from __future__ import annotations

from slimagent.model.report import Report
from slimagent.report.fates import words
from slimagent.report.markdown import folded, row_table
from slimagent.report.pull_request import pull_request
from slimagent.report.text import share, size
from slimagent.text.counted import counted
from slimagent.text.escapes import markdown, markdown_code

_SHOWN = 10


def report_markdown(report: Report) -> list[str]:
    """The lines."""
    return [*pull_request(report.summary), *_fates(report), *_left(report)]


def _fates(report: Report) -> list[str]:
    whole, names = sum(part.bytes for part in report.parts), words(report.summary)
    rows = [
        (names[part.fate], f"{part.files:,}", f"{size(part.bytes)} ({share(part.bytes, whole)})")
        for part in report.parts
    ]
    return ["", *row_table(("what becomes of the bytes", "files", "size (of the image)"), rows)] if rows else []


def _left(report: Report) -> list[str]:
    rows = [
        (markdown_code(each.what), size(each.bytes), share(each.used, each.bytes), markdown(each.reason))
        for each in report.left[:_SHOWN]
    ]
    if not rows:
        return []
    rest = report.left[_SHOWN:]
    more = counted(len(rest), "smaller thing")
    lines = row_table(("package or file", "stays", "of it used", "why"), rows, right=(1, 2))
    lines += ["", f"And {more}, {size(sum(each.bytes for each in rest))}."] if rest else []
    return ["", *folded("What is left, the largest first", lines)]
