"""The forms in which a result is printed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slimagent.cli.ending import show
from slimagent.cli.options import JSON, MARKDOWN, TABLE
from slimagent.model.summary import Failure, Summary
from slimagent.report.pull_request import pull_request

MADE = Summary(
    tool="slimagent 0", command="image", image="big", tag="slim", bytes_before=4_000_000, bytes_after=1_000_000
)


def test_a_table_ends_in_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """Who looks at the last line knows what became of the image, well or not."""
    show(MADE, "out", TABLE)
    assert capsys.readouterr().out.splitlines()[-1] == "slim: 4.0 MB -> 1.0 MB, 75.0 % smaller"
    failed = replace(MADE, failure=Failure(slug="check-failed", status=1, message="no", hint="type this"))
    show(failed, "out", TABLE)
    assert capsys.readouterr().out.splitlines()[-1] == "slim was not made"


def test_markdown_is_what_the_file_holds(capsys: pytest.CaptureFixture[str]) -> None:
    """What `--format markdown` prints can be pasted into a pull request, as summary.md can."""
    show(MADE, "out", MARKDOWN)
    assert capsys.readouterr().out == "\n".join([*pull_request(MADE), ""])


def test_json_is_not_printed_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """The document was printed when the block of `ending` ended."""
    show(MADE, "out", JSON)
    assert capsys.readouterr().out == ""
