"""What a gate came to: lines for a terminal, Markdown, annotations for GitHub, JUnit XML. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from slimagent.model.gate import Outcome, Ruling
from slimagent.report.junit import Case, Mark, Suite, document
from slimagent.text.counted import counted
from slimagent.text.escapes import markdown, markdown_code

MARKS = {Outcome.PASSED: "✓", Outcome.FAILED: "✗", Outcome.WARNED: "!", Outcome.SKIPPED: "-"}
_TITLE = "slimagent gate"


class Annotation(NamedTuple):
    """What a build service shows beside a job: `level` is error or warning."""

    level: str
    title: str
    message: str


def gate_lines(rulings: Sequence[Ruling]) -> list[str]:
    """A line for each rule, with the rule itself and its reason below one that does not hold or was skipped."""
    lines = []
    for each in rulings:
        word = f"{each.outcome.value}: " if each.outcome in (Outcome.WARNED, Outcome.SKIPPED) else ""
        lines.append(f"{MARKS[each.outcome]} {word}{each.message}")
        if each.outcome is not Outcome.PASSED:
            lines.append(f"    rule: {each.rule}" + (f"  ({each.where})" if each.where else ""))
            lines += [f"    why: {each.why}"] if each.why else []
    return lines


def verdict(rulings: Sequence[Ruling]) -> str:
    """The gate in a line, e.g. `gate: 1 of 4 rules failed, 1 skipped`."""
    counts = Counter(each.outcome for each in rulings)
    failed, whole = counts[Outcome.FAILED], counted(len(rulings), "rule")
    first = f"{failed:,} of {whole} failed" if failed else f"{counts[Outcome.PASSED]:,} of {whole} passed"
    rest = [f"{counts[each]:,} {each.value}" for each in (Outcome.WARNED, Outcome.SKIPPED) if counts[each]]
    return f"gate: {', '.join([first, *rest])}"


def gate_markdown(rulings: Sequence[Ruling]) -> list[str]:
    """The rules as a table for a pull request, what does not hold first."""
    if not rulings:
        return []
    order = [Outcome.FAILED, Outcome.WARNED, Outcome.SKIPPED, Outcome.PASSED]
    lines = ["| gate | rule | result |", "| --- | --- | --- |"]
    for each in sorted(rulings, key=lambda each: order.index(each.outcome)):
        word = f"**{each.outcome.value}**" if each.outcome in order[:2] else each.outcome.value
        why = f" ({markdown(each.why)})" if each.why and each.outcome in order[:2] else ""
        lines.append(f"| {word} | {markdown_code(each.rule)} | {markdown(each.message)}{why} |")
    return [*lines, ""]


def for_github(rulings: Sequence[Ruling]) -> list[Annotation]:
    """An error for each rule that fails, and a warning for each that warns."""
    levels = {Outcome.FAILED: "error", Outcome.WARNED: "warning"}
    return [
        Annotation(
            levels[each.outcome], f"{_TITLE}: {each.rule}", each.message + (f" ({each.why})" if each.why else "")
        )
        for each in rulings
        if each.outcome in levels
    ]


def gate_junit(rulings: Sequence[Ruling]) -> bytes:
    """The rules as JUnit XML."""
    return document([gate_suite(rulings)])


def gate_suite(rulings: Sequence[Ruling]) -> Suite:
    """The rules as a suite. A warning counts as skipped, because a test report has no word for it."""
    marks = {Outcome.PASSED: Mark.PASSED, Outcome.FAILED: Mark.FAILED}
    cases = [
        Case(
            name=each.rule,
            mark=marks.get(each.outcome, Mark.SKIPPED),
            message=f"{'warning: ' if each.outcome is Outcome.WARNED else ''}{each.message}",
            text=each.why,
        )
        for each in rulings
    ]
    return Suite(name=_TITLE, cases=cases)


def failing(rulings: Sequence[Ruling]) -> str:
    """The rules that fail, as the message of an error: the first one, and how many more there are."""
    failed = [each for each in rulings if each.outcome is Outcome.FAILED]
    more = f" (and {counted(len(failed) - 1, 'more rule fails', 'more rules fail')})" if len(failed) > 1 else ""
    return f"{failed[0].message}{more}" if failed else ""
