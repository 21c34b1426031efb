"""A run as JUnit XML: the checks of both images, the rules of the gate, and how the command ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from document_values import SUMMARIES, TRACE, TRACES, VERIFICATION, VERIFICATIONS
from hypothesis import given, settings
from hypothesis import strategies as st

from slimagent.cli.ending import ending
from slimagent.cli.options import JSON, TABLE
from slimagent.errors import CheckFailedError, RefusedError
from slimagent.model.gate import Outcome as Ruled
from slimagent.model.gate import Ruling
from slimagent.model.result import NOT_RUN, CheckResult, Item, Outcome
from slimagent.model.summary import Failure, Summary, Whole
from slimagent.report.run_junit import run_junit

PASSED, FAILED, SKIPPED = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED
BLANK = Summary(tool="slimagent 0", command="image", image="big", tag="slim")
FAILURE = Failure(slug="check-failed", status=1, message="it does not <work>", hint="keep | mend")


def check(name: str, outcome: Outcome, **items: Outcome) -> CheckResult:
    return CheckResult(
        name=name, kind="command", outcome=outcome, seconds=1.5, detail="log",
        items=tuple(Item(name=each, outcome=how, detail="why") for each, how in items.items()),
    )  # fmt: skip


def whole(before: list[CheckResult], after: list[CheckResult] | None) -> Whole:
    trace = replace(TRACE, runs=(replace(TRACE.runs[0], steps=tuple(before)),))
    return Whole(trace=trace, verification=None if after is None else replace(VERIFICATION, steps=tuple(after)))


def cases(data: bytes) -> dict[str, dict[str, str]]:
    """What became of each case, by suite."""
    root = ElementTree.fromstring(data)  # noqa: S314  # our own
    return {
        str(suite.get("name")): {str(case.get("name")): next((child.tag for child in case), "passed") for case in suite}
        for suite in root
    }


def test_both_runs_are_there() -> None:
    """What failed in the image as it is counts as skipped in both; what is worse, or did not take place, failed."""
    before = [check("imports", FAILED, a=PASSED, b=FAILED, c=PASSED), check("smoke", PASSED), check("old", PASSED)]
    after = [check("imports", FAILED, a=FAILED, b=FAILED), check("smoke", PASSED), check("start", PASSED)]
    data = run_junit(replace(BLANK, failure=FAILURE), whole(before, after))
    assert cases(data) == {
        "imports (full image)": {"a": "passed", "b": "skipped", "c": "passed"},
        "smoke (full image)": {"smoke": "passed"},
        "old (full image)": {"old": "passed"},
        "imports (slim image)": {"a": "failure", "b": "skipped", "c": "failure"},
        "smoke (slim image)": {"smoke": "passed"},
        "old (slim image)": {"old": "failure"},
        "start (slim image)": {"start": "passed"},
        "slimagent image": {"slimagent image": "failure"},
    }
    assert NOT_RUN.encode() in data and b"it does not &lt;work&gt;" in data and b"keep | mend" in data


def test_a_run_that_ended_at_the_full_image() -> None:
    """Then what failed there is why."""
    found = cases(run_junit(replace(BLANK, failure=FAILURE), whole([check("smoke", FAILED)], None)))
    assert found == {"smoke (full image)": {"smoke": "failure"}, "slimagent image": {"slimagent image": "failure"}}
    assert cases(run_junit(BLANK, Whole())) == {"slimagent image": {"slimagent image": "passed"}}


def test_the_rules_of_the_gate_are_cases() -> None:
    """As `gate --junit` has them."""
    rules = (Ruling(rule="size < 1 kB", outcome=Ruled.FAILED, message="size is 5 kB"),)
    assert cases(run_junit(replace(BLANK, gate=rules), Whole()))["slimagent gate"] == {"size < 1 kB": "failure"}


def test_a_rule_that_fails_is_one_failure() -> None:
    """The run has no other one then, unless it failed for something else, or nobody knows the rule."""
    rules = tuple(Ruling(rule=f"size < {at} kB", outcome=Ruled.FAILED, message="size is 5 kB") for at in range(1, 4))
    gate = replace(FAILURE, slug="gate-failed")
    data = run_junit(replace(BLANK, gate=rules, failure=gate), Whole())
    assert ElementTree.fromstring(data).get("failures") == "3"  # noqa: S314  # our own
    for summary in (replace(BLANK, gate=rules, failure=FAILURE), replace(BLANK, failure=gate)):
        assert cases(run_junit(summary, Whole()))["slimagent image"] == {"slimagent image": "failure"}


@given(SUMMARIES, st.none() | TRACES, st.none() | VERIFICATIONS)
@settings(max_examples=50)
def test_any_run_makes_an_xml_document(summary: Summary, trace: object, verification: object) -> None:
    """Names and logs come from the image."""
    cases(run_junit(summary, Whole(trace=trace, verification=verification)))  # type: ignore[arg-type]


@pytest.mark.parametrize("form", [TABLE, JSON])
def test_the_report_is_written_however_the_run_ends(tmp_path: Path, form: str) -> None:
    """It replaces the report of an earlier run, and no other file."""
    file = tmp_path / "junit.xml"
    with ending("image", form, report=str(file)) as end:
        end.whole = whole([check("smoke", PASSED)], [check("smoke", PASSED)])
    assert "smoke (slim image)" in cases(file.read_bytes())
    with pytest.raises(CheckFailedError), ending("image", form, report=str(file)):
        raise CheckFailedError("no", "type this")
    assert cases(file.read_bytes()) == {"slimagent image": {"slimagent image": "failure"}}
    file.write_text("mine")
    with pytest.raises(RefusedError, match=r"junit\.xml"), ending("image", form, report=str(file)):
        raise AssertionError
    assert file.read_text() == "mine"
