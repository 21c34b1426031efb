"""Say how far the steps went into the image: what they touched, and what they did not. Pure.

A proof is worth as much as what was exercised. So we name a thin test.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from slimagent.model.plan import Plan
from slimagent.model.profile import Rules
from slimagent.model.reason import ReasonKind, Verdict
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.started import HEALTH_STEP, HEALTHY, KIND, RUNNING, START_STEP, UNSEEN
from slimagent.model.trace import How, Trace
from slimagent.paths.algebra import pattern, to_text
from slimagent.report.summary import groups
from slimagent.report.text import share, size
from slimagent.text.counted import counted

_THIN = 0.02  # a test is thin if the steps touch less than this part of the bytes in packages
_READS = How.OPENED | How.EXECUTED
_FEW = 50  # files: even a program that does nothing asks for a dozen


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """An image's configuration: whether it starts something or has a health check, and its exposed TCP ports."""

    starts: bool
    health_check: bool
    ports: tuple[int, ...] = ()


def warnings(
    plan: Plan,
    steps: Sequence[CheckResult],
    configured: Configured,
    asked: frozenset[int] | None,
    outside: CheckResult | None,
    own_files: int | None = None,
) -> tuple[str, ...]:
    """What the steps of a trace did not exercise, in one sentence each. `asked` are the ports that a step connected to.

    `outside` is how the slim image started under `docker run`. `own_files` is how many files of the image the checks
    and the command asked for. None means unknown.
    """
    whole = sum(each.size for _, each in plan.installed)
    touched = groups(plan)[0].bytes
    found = [*_start_warnings(steps, configured, outside), *_port_warnings(steps, configured, asked)]
    if whole and touched < _THIN * whole:
        found.append(f"the steps touched {share(touched, whole)} of the bytes in packages; nothing else is proved")
    if own_files == 0:
        found.append("the checks and the command used no file of the image, so nothing but its start is tested")
    elif own_files is not None and own_files < _FEW:
        found.append(f"the checks and the command asked for only {counted(own_files, 'file')} of the image")
    return tuple(found)


def unmatched(plan: Plan, rules: Rules) -> tuple[str, ...]:
    """What --keep and the like name and the image does not have, a sentence each: a typing mistake, perhaps."""
    names = {each.package.label for each in plan.packages}
    paths = ((rule.pattern, pattern(rule.pattern)) for rule in rules.keep)
    return (
        *(f"--keep {text} matches nothing in the image" for text, found in paths if not _any(found, plan)),
        *(
            f"--keep-package {rule.pattern} matches no package of the image"
            for rule in rules.packages
            if not fnmatch.filter(names, rule.pattern)
        ),
        *(
            f"--drop {rule.what} matches nothing in the image"
            for rule in rules.drop
            if not (_any(pattern(rule.what), plan) if rule.is_path else fnmatch.filter(names, rule.what))
        ),
        *(
            f"--gpu-code-of {text} matches nothing in the image"
            for text in (() if rules.gpu is None else rules.gpu.owners)
            if not (_any(pattern(text), plan) if text.startswith("/") else fnmatch.filter(names, text))
        ),
        *_without_gpu_code(plan),
    )


def unwanted(plan: Plan, trace: Trace) -> tuple[str, ...]:
    """What --drop and the profile took away, and how much of it a step had used; packages that stay and require it."""
    numbers = {at for at, reason in enumerate(plan.reasons) if reason.kind == ReasonKind.UNWANTED}
    if not numbers:
        return ()
    gone = {entry.path: entry.size for entry in plan.entries if entry.reason in numbers}
    used = [each.path for each in trace.accesses if each.path in gone and each.how & _READS]
    among = f"; the steps used {len(used):,} of them, e.g. {to_text(used[0])}" if used else ""
    words = f"by a rule to drop, {counted(len(gone), 'path')} with {size(sum(gone.values()))} went{among}"
    return (words, *_requiring(plan, numbers))


def cut(trace: Trace) -> tuple[str, ...]:
    """Whether more tests marked themselves than a trace can tell apart."""
    return ("more tests were marked than a trace tells apart; the later ones count as their step",) * trace.tests_cut


def _requiring(plan: Plan, numbers: Collection[int]) -> Iterator[str]:
    """The packages that stay although one that they require was dropped by a rule, in a sentence for each of those."""
    for at, each in enumerate(plan.packages):
        if each.reason in numbers:
            left = [
                other.package.label
                for other in plan.packages
                if at in other.requires and plan.reasons[other.reason].verdict is Verdict.KEEP
            ]
            if left:
                yield f"{each.package.label} was dropped by a rule, and {_named(left)} what stays and requires it"


def _named(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - 2} more are" if len(labels) > 2 else " is" if len(labels) == 1 else " are"
    return ", ".join(labels[:2]) + more


def _without_gpu_code(plan: Plan) -> tuple[str, ...]:
    if plan.gpu is None or plan.gpu.held or plan.gpu.files or plan.gpu.left:
        return ()
    return (f"--gpu-arch {plan.gpu.target}: no file that stays has GPU code",)


def _any(found: re.Pattern[bytes], plan: Plan) -> bool:
    return any(found.fullmatch(entry.path) for entry in plan.entries)


def _start_warnings(steps: Sequence[CheckResult], configured: Configured, outside: CheckResult | None) -> list[str]:
    start = _step(steps, START_STEP)
    if not configured.starts:
        return ["the image has neither ENTRYPOINT nor CMD: nothing was started"]
    if start is None:
        return ["the image was not started as configured (--no-start): whether it still starts is not proved"]
    found = []
    if start.outcome is not Outcome.PASSED:
        if outside is not None and outside.outcome is Outcome.PASSED:
            found.append(f"the image does not start while it is watched: {_first(start)}; unwatched: {_first(outside)}")
        else:
            after = f"; the slim image: {_first(outside)}" if outside is not None else ""
            found.append(f"the image does not start on its own: {_first(start)}{after}")
    elif start.has_passed(RUNNING) and not start.has_passed(HEALTHY):
        found.append(f"the start was watched for {start.seconds:.1f} s: what the image does later is not proved")
    if UNSEEN in start.detail:
        found.append(f"the start was not watched: {start.first_line}")
    return [*found, *_health_warnings(steps)] if configured.health_check else found


def _health_warnings(steps: Sequence[CheckResult]) -> list[str]:
    health = _step(steps, HEALTH_STEP)
    if health is None:
        return ["the health check did not run"]
    if health.outcome is Outcome.SKIPPED:  # it is chance whether one that the image's end cut off is there
        return [f"the health check did not run: {_first(health)}"]
    if health.outcome is Outcome.FAILED:
        return [f"the health check does not pass in the original image: {_first(health)}"]
    return []


def _port_warnings(steps: Sequence[CheckResult], configured: Configured, asked: frozenset[int] | None) -> list[str]:
    start = _step(steps, START_STEP)
    checked = any(step.name == HEALTH_STEP and step.outcome is Outcome.PASSED for step in steps)
    exercised = "exercised by the health check at most" if checked else "not exercised"
    found = []
    for port in configured.ports:
        answers = start is not None and start.has_passed(f"port {port}")
        if asked is not None and port not in asked:
            found.append(
                f"no check or command connected to port {port}, which the image exposes"
                + (f": it answers, and what it serves was {exercised}" if answers else "")
            )
        elif start is not None and not answers:
            found.append(f"port {port}, which the image exposes, did not answer")
    return found


def _step(steps: Sequence[CheckResult], name: str) -> CheckResult | None:
    """A step of the start, by its name: a check of the user's may have the same one."""
    return next((step for step in steps if step.name == name and step.kind == KIND), None)


def _first(result: CheckResult | None) -> str:
    return "" if result is None else result.first_line or result.outcome.value
