"""Put the documents of a run together into one report. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from slimagent.model.image_config import ImageConfig
from slimagent.model.reach import Reach
from slimagent.model.report import Found, Report, Started
from slimagent.model.summary import Summary, Whole
from slimagent.report.beyond import sentences
from slimagent.report.exercised import needed, untested, watched
from slimagent.report.fates import Fates
from slimagent.report.left import left


def together(
    summary: Summary,
    whole: Whole,
    image: ImageConfig | None,
    found: Sequence[Found],
    reach: Reach | None = None,
) -> Report:
    """One report. `found` says which documents there are; those that there are not are None in `whole`."""
    report = Report(
        summary=summary,
        found=tuple(found),
        watched=None if whole.trace is None else watched(whole.trace),
        started=None if image is None else Started(command=image.started, user=image.user, ports=image.tcp_ports),
    )
    if whole.plan is None:
        return report
    plan, fates = whole.plan, Fates(whole.plan, whole.receipt)
    parts = fates.parts(plan)
    before = summary.bytes_before
    return Report(
        summary=report.summary,
        found=report.found,
        watched=report.watched,
        started=report.started,
        parts=parts,
        again=None if before is None else sum(part.bytes for part in parts) - before,
        left=left(plan, fates),
        needed=needed(plan, fates),
        untested=untested(plan, fates),
        beyond=() if reach is None else sentences(reach, plan.level),
    )
