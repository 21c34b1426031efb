"""A machine whose tests did not run, failed, or made no image, is not good."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.machines.outcome import read

PASSED = '<testcase classname="a" name="b"/>'
FAILED = '<testcase classname="a" name="c"><failure message="x"/></testcase>'
BROKEN = '<testcase classname="a" name="d"><error message="x"/></testcase>'
SKIPPED = '<testcase classname="a" name="e"><skipped message="x"/></testcase>'
MADE = {"passed": True, "failure": None, "bytes_before": 9_000_000, "bytes_after": 4_000_000}


def left(out: Path, cases: str | None, summary: Mapping[str, object] | None) -> Path:
    """What a machine leaves."""
    (out / "results" / "image").mkdir(parents=True)
    (out / "results" / "kernel").write_text("Linux 6.1 aarch64\n")
    if cases is not None:
        (out / "results" / "tests.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    if summary is not None:
        (out / "results" / "image" / "summary.json").write_text(json.dumps(summary))
    return out


def test_passed_and_proved_is_good(tmp_path: Path) -> None:
    """What was skipped is counted."""
    outcome = read("m", left(tmp_path, PASSED + SKIPPED, MADE))
    assert outcome.is_good
    assert str(outcome) == "m, Linux 6.1 aarch64: 1 passed, 1 skipped, 0 failed; image 9.0 to 4.0 MB, proved"


@pytest.mark.parametrize(
    ("cases", "summary"),
    [
        (None, MADE),
        (SKIPPED, MADE),
        (PASSED + FAILED, MADE),
        (PASSED + BROKEN, MADE),
        (PASSED, None),
        (PASSED, {**MADE, "passed": False}),
        (PASSED, {**MADE, "failure": {"title": "x"}}),
    ],
)
def test_everything_else_is_not(tmp_path: Path, cases: str | None, summary: dict[str, object] | None) -> None:
    """No results, only skips, a failure, an error, no image, or one that is not proved."""
    assert not read("m", left(tmp_path, cases, summary)).is_good


def test_a_machine_that_does_not_start_is_not(tmp_path: Path) -> None:
    """It left nothing."""
    outcome = read("m", tmp_path)
    assert not outcome.is_good and "did not start" in str(outcome)
