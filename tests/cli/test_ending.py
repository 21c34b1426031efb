"""The forms in which a result is printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import assert_error, slimagent

from slimagent.cli.ending import ending, show
from slimagent.cli.options import JSON, MARKDOWN, TABLE
from slimagent.errors import CheckFailedError
from slimagent.model.summary import Failure, Summary
from slimagent.report.pull_request import pull_request

MADE = Summary(
    tool="slimagent 0", command="image", image="big", tag="slim", bytes_before=4_000_000, bytes_after=1_000_000
)


def test_a_table_ends_in_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """Who looks at the last line knows what became of the image, well or not."""
    show(MADE, "out")
    assert capsys.readouterr().out.splitlines()[-1] == "slim: 4.0 MB -> 1.0 MB, 75.0 % smaller"
    failed = replace(MADE, failure=Failure(slug="check-failed", status=1, message="no", hint="type this"))
    show(failed, "out")
    assert capsys.readouterr().out.splitlines()[-1] == "slim was not made"


def test_markdown_is_what_the_file_holds(capfd: pytest.CaptureFixture[str]) -> None:
    """What `--format markdown` prints can be pasted into a pull request, as summary.md can."""
    with ending("image", MARKDOWN) as end:
        end.summary = MADE
        os.write(1, b"what a process says")
    shown = capfd.readouterr()
    assert shown.out == "\n".join([*pull_request(MADE), ""])


@pytest.mark.parametrize("form", [JSON, MARKDOWN])
def test_a_failure_is_in_the_document_too(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also one that comes before there is anything to show."""
    with pytest.raises(CheckFailedError), ending("image", form, image="big", tag="slim"):
        raise CheckFailedError("smoke failed in the unchanged image", "repair it")
    shown = capsys.readouterr().out
    assert "smoke failed in the unchanged image" in shown and "repair it" in shown


def test_a_table_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    """By `show`: `ending` prints only documents."""
    with ending("image", TABLE) as end:
        end.summary = MADE
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e300", "0", "-3"])
def test_a_wait_has_an_end(seconds: str) -> None:
    """No image is waited for without a limit."""
    done = slimagent("image", "nosuch:image", "-t", "x", "--start-seconds", seconds, "--", "true")
    assert_error(done, 2, "--start-seconds")


def test_a_format_beside_json_is_refused() -> None:
    """One of the two would be ignored."""
    done = slimagent("image", "nosuch:image", "-t", "x", "--json", "--format", "markdown", "--", "true")
    assert_error(done, 2, "--json and --format markdown")


def test_a_fault_of_ours_is_written_down_for_whoever_started_us(tmp_path: Path) -> None:
    """With its kind, beside the traceback: a container may run on without its agent, and nobody would know why."""
    script = (
        "import slimagent.cli.main as main\n"
        "def broken(**_): raise LookupError('unknown encoding: ascii')\n"
        "main.group.main = broken\n"
        "main.main()\n"
    )
    told = tmp_path / "error.json"
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "SLIMAGENT_ERROR": str(told)}, capture_output=True, text=True
    )
    assert done.returncode == 1 and "Traceback" in done.stderr
    values = json.loads(told.read_text())
    assert values["status"] == 4
    assert values["message"] == (
        "slimagent itself failed in the container: LookupError: unknown encoding: ascii (<string>:2)"
    )
