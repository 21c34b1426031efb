"""Which evidence a plan may use: a trace that is incomplete, or of a different image, is refused."""

from __future__ import annotations

from collections.abc import Sequence

from slimagent.errors import RefusedError
from slimagent.model.hosted import KIND as HOST_KIND
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.trace import FAILED_STEP, Loss, LossKind, Run, Trace
from slimagent.text.counted import counted

# What a new trace needs in order not to have these losses.
_WAYS_OUT = {LossKind.UNREADABLE_PATH: "in a container started with `--cap-add SYS_PTRACE`"}
_TRACE_IT = "trace and plan this image, in a new container of it"


def admit(trace: Trace, accepted: frozenset[str]) -> None:
    """Refuse incomplete evidence. Raises RefusedError that names the losses that were not accepted."""
    losses = [loss for loss in trace.losses if loss.kind not in accepted]
    if losses:
        kinds = " ".join(f"--accept-loss {loss.kind}" for loss in losses)
        ways = " ".join(_WAYS_OUT[loss.kind] for loss in losses if loss.kind in _WAYS_OUT)
        raise RefusedError(
            f"the trace has losses: {'; '.join(_shown(loss, trace) for loss in losses)}",
            f"trace again{' ' if ways else ''}{ways}, or plan anyway with {kinds}",
        )
    failed: dict[str, list[Run]] = {}
    for run in trace.runs:
        for name in {step.name: None for step in run.steps if useless(step)}:
            failed.setdefault(name, []).append(run)
    if failed and FAILED_STEP not in accepted:
        names = ", ".join(f"{name}{_whose(runs, trace)}" for name, runs in failed.items())
        raise RefusedError(
            f"a traced step failed, so its evidence is incomplete: {names}",
            f"fix the step and trace again, or plan anyway with --accept-loss {FAILED_STEP}",
        )


def _shown(loss: Loss, trace: Trace) -> str:
    runs = [run for run in trace.runs if any(each.kind == loss.kind for each in run.losses)]
    return f"{loss.kind} ({counted(loss.count, 'time')}, e.g. {loss.example}){_whose(runs, trace)}"


def _whose(runs: Sequence[Run], trace: Trace) -> str:
    """Name one of several runs: its user, its backend, and its identity as `explain` shows it."""
    if len(trace.runs) == 1:
        return ""
    first, more = runs[0], f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    return f" in run {first.identity[:8]} of {first.user} under {first.backend}{more}"


def useless(step: CheckResult) -> bool:
    """Whether a step failed as a whole. A step with some passed items was exercised: its items count one by one.

    The items of tests on the host are the probes, so a command that failed there counts by itself. A start that fails
    counts as exercised, too: an image that needs a separate database cannot start on its own.
    """
    if step.kind == HOST_KIND and step.status:
        return True
    passed_in_part = any(item.outcome is Outcome.PASSED for item in step.items)
    return step.outcome is Outcome.FAILED and step.kind != "start" and not passed_in_part


def fit(fingerprint: str, known: Sequence[str], what: str, hint: str = _TRACE_IT) -> None:
    """Refuse any image but the one that `what` names. `hint` says what to do instead. Raises RefusedError."""
    if fingerprint not in known:
        raise RefusedError(
            f"this is not the image that {what} for: its fingerprint is {fingerprint[:12]}, "
            f"expected {' or '.join(dict.fromkeys(each[:12] for each in known))}",
            hint,
        )
