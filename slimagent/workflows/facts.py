"""What a gate needs to know of a run."""

from __future__ import annotations

import datetime

from slimagent.model.gate import Earlier, Facts, Finding
from slimagent.model.plan import Plan
from slimagent.model.summary import Summary
from slimagent.paths.algebra import to_text
from slimagent.report.since import kept_packages, shared_files


def now() -> str:
    """The time as a history writes it."""
    return as_time(datetime.datetime.now().timestamp())


def as_time(seconds: float) -> str:
    """A time since 1970 as RFC 3339 in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def facts(
    summary: Summary, plan: Plan | None, earlier: Earlier | None = None, findings: tuple[Finding, ...] | None = None
) -> Facts:
    """What a gate needs to know of a run. `findings` are those of an audit, None without one."""
    is_verified = summary.passed is not None
    return Facts(
        bytes_before=summary.bytes_before,
        bytes_after=summary.bytes_after,
        earlier=earlier,
        level=summary.level or "",
        is_verified=is_verified,
        worse=len(summary.worse) if is_verified else None,
        missed=None if summary.missed is None else len(summary.missed),
        bytes_unowned=None if summary.level is None else sum(each.bytes for each in summary.unowned_dropped),
        packages=None if plan is None else kept_packages(plan),
        shared=() if plan is None else shared_files(plan),
        strips=plan is not None and bool(plan.savings),
        packages_before=None if plan is None else tuple({each.package.label for each in plan.packages}),
        unread=() if plan is None else tuple((to_text(path), kind) for path, kind in plan.unread),
        findings=findings,
    )
