"""A run on the full and on the slim image as JUnit XML. Pure."""

from __future__ import annotations

from slimagent.errors import GateFailedError
from slimagent.model.gate import Outcome as Ruled
from slimagent.model.result import NOT_RUN, CheckResult, Outcome
from slimagent.model.summary import Summary, Whole
from slimagent.report.checklist import suites
from slimagent.report.gate import gate_suite
from slimagent.report.junit import Case, Mark, Suite, document

_FULL, _SLIM = " (full image)", " (slim image)"


def run_junit(summary: Summary, whole: Whole) -> bytes:
    """The checks of both runs, the rules of the gate, and the run itself as a case that fails where the command does.

    A rule that fails is one failure: then the run has none of its own.

    What failed in the full image is a failure if the run ended there, and counts as skipped if the run went on: it is
    the image that fails then, and not slimming.
    """
    return document([*_of_checks(whole), *([gate_suite(summary.gate)] if summary.gate else []), _of_run(summary)])


def _of_checks(whole: Whole) -> list[Suite]:
    before = () if whole.trace is None else whole.trace.steps
    if whole.verification is None:
        return suites(before, [None] * len(before), _FULL)
    first = {each.name: each for each in before}
    after = {each.name: each for each in whole.verification.steps}
    results = [after.get(name) or _not_run(first[name]) for name in dict.fromkeys((*first, *after))]
    return [
        *suites(before, before, _FULL, "failed in the image as it is"),
        *suites(results, [first.get(each.name) for each in results], _SLIM),
    ]


def _not_run(check: CheckResult) -> CheckResult:
    return CheckResult(name=check.name, kind=check.kind, outcome=Outcome.SKIPPED, seconds=0.0, detail=NOT_RUN)


def _of_run(summary: Summary) -> Suite:
    name, error = f"slimagent {summary.command}", summary.failure
    if error is None or (error.slug == GateFailedError.slug and _has_failing_rule(summary)):
        return Suite(name=name, cases=[Case(name=name)])
    return Suite(name=name, cases=[Case(name=name, mark=Mark.FAILED, message=error.message, text=error.hint)])


def _has_failing_rule(summary: Summary) -> bool:
    return any(each.outcome is Ruled.FAILED for each in summary.gate)
