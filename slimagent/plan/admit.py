"""Which evidence may be planned from: a trace with a hole in it, or of another image, is refused."""

from __future__ import annotations

from collections.abc import Sequence

from slimagent.errors import RefusedError
from slimagent.results import CheckResult, Outcome
from slimagent.traces import Trace

FAILED_STEP = "failed-step"


def admit(trace: Trace, accepted: frozenset[str]) -> None:
    """Refuse evidence with a hole in it. Raises RefusedError that names the losses nobody accepted."""
    losses = [
        f"{loss.kind} ({loss.count} times, as {loss.example})" for loss in trace.losses if loss.kind not in accepted
    ]
    if losses:
        kinds = " ".join(f"--accept-loss {loss.kind}" for loss in trace.losses if loss.kind not in accepted)
        raise RefusedError(
            f"the trace has losses: {'; '.join(losses)}", f"trace again, or plan all the same with {kinds}"
        )
    failed = [step.name for step in trace.steps if useless(step)]
    if failed and FAILED_STEP not in accepted:
        raise RefusedError(
            f"a traced step failed, so that its evidence is not whole: {', '.join(failed)}",
            f"mend the step, or plan all the same with --accept-loss {FAILED_STEP}",
        )


def useless(step: CheckResult) -> bool:
    """Whether a step failed as a whole. One whose items partly passed was exercised: those items count one by one."""
    return step.outcome is Outcome.FAILED and not any(item.outcome is Outcome.PASSED for item in step.items)


def fit(fingerprint: str, known: Sequence[str], what: str) -> None:
    """Refuse another image than the one that `what` says. Raises RefusedError."""
    if fingerprint not in known:
        raise RefusedError(
            f"this is not the image that {what} for: its fingerprint is {fingerprint[:12]}, "
            f"expected {' or '.join(dict.fromkeys(each[:12] for each in known))}",
            "trace and plan this image, in a new container of it",
        )
