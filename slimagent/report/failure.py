"""Say why an image was not made: failed steps and their last lines, what is worse, what was missed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slimagent.model.proof import Comparison, Verification
from slimagent.model.result import CheckResult, Outcome
from slimagent.paths.algebra import to_text

_LINES = 15  # of a step's output
_SHOWN = 20  # things of one kind
_WIDTH = 300


def failed_steps(steps: Sequence[CheckResult], logs: Mapping[str, tuple[str, str]]) -> list[str]:
    """List the steps that failed in the original image, each with the end of its output.

    `logs` maps a step's name to its log file and the end of the log's text.
    """
    lines: list[str] = []
    for step in steps:
        lines += _failed(f"✗ {step.name}", step, logs)
    return lines


def not_proved(verification: Verification, logs: Mapping[str, tuple[str, str]]) -> list[str]:
    """List what is worse in the slim image, item by item, and what was missed. `logs` is as in `failed_steps`."""
    worse = [each for each in verification.comparisons if each.worse]
    lines: list[str] = []
    for each in worse[:_SHOWN]:
        lines += _worse(each)
        if each.name in logs:
            lines += _said(logs[each.name])
    lines += _more(len(worse), "things are worse")
    known = {each.name for each in verification.comparisons if each.before is not Outcome.SKIPPED}
    new = [each for each in verification.steps if each.outcome is Outcome.FAILED and each.name not in known]
    for step in new:
        lines += _failed(f"✗ {step.name} fails, and did not run on the original image", step, logs)
    if verification.missed:
        lines.append("removed, but needed:")
        lines += [f"    {to_text(each.path)}  ({', '.join(each.steps)})" for each in verification.missed[:_SHOWN]]
        lines += _more(len(verification.missed), "removed files were needed")
    return lines


def _failed(head: str, step: CheckResult, logs: Mapping[str, tuple[str, str]]) -> list[str]:
    first, *more = step.detail.splitlines() or [""]
    said = _said(logs[step.name]) if step.name in logs else [f"    {line}" for line in more[-_LINES:]]
    return [f"{head}: {first}", *said]


def last_line(said: bytes) -> str:
    """The last line of a container's output that is not blank."""
    lines = [line for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].strip()[:_WIDTH] if lines else "nothing"


def _worse(each: Comparison) -> list[str]:
    first, *more = each.detail.splitlines() or [""]
    head = f"✗ worse: {each.name}: {each.before.value} before, {each.after.value} now"
    return [f"{head} ({first})" if first else head, *(f"    {line}" for line in more[-_LINES:])]


def _said(log: tuple[str, str]) -> list[str]:
    path, text = log
    last = [line for line in text.splitlines() if line.strip()][-_LINES:]
    return [*(f"    {line}" for line in last), f"    full log: {path}"]


def _more(count: int, what: str) -> list[str]:
    return [f"    … {count} {what} in all"] if count > _SHOWN else []
