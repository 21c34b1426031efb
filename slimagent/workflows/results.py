"""The result of a finished run, from the documents in its output directory, and what a gate needs to know of it."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass, replace

from slimagent import documents
from slimagent.errors import DocumentError
from slimagent.image.labels import identity
from slimagent.image.run_record import NAME, ended
from slimagent.linux.files import digest, read
from slimagent.model.gate import Earlier, Facts, Finding
from slimagent.model.plan import Plan
from slimagent.model.summary import Summary, Whole
from slimagent.report.since import kept_packages
from slimagent.report.summary import summarised

_SUMMARY, _PLAN, _RECEIPT, _VERIFICATION, _IMAGE = (
    *("summary.json", "plan.json", "receipt.json"),
    *("verification.json", "image.json"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run came to. `when` is RFC 3339 in UTC, `image_id` empty if unknown."""

    directory: str
    summary: Summary
    when: str
    image_id: str = ""

    def plan(self) -> Plan:
        """The plan of the run. Raises DocumentError."""
        path = os.path.join(self.directory, _PLAN)
        data = read(path)
        _require_same(path, digest(data), self.summary.plan)
        return documents.decode_plan(data, path)


def result_in(directory: str) -> Result:
    """The result of the run that wrote into a directory: of `image` or `run`, or of its steps by hand.

    Raises DocumentError if there is none, or if documents of several runs lie there.
    """
    summary, path = _summary(directory)
    verification = os.path.join(directory, _VERIFICATION)
    if summary.plan is not None and os.path.lexists(verification):
        proof = documents.decode_verification(read(verification), verification)
        _require_same(verification, proof.plan, summary.plan)
        proved = summarised(summary, Whole(verification=proof))
        summary = replace(proved, checks=summary.checks, start=summary.start)
    record, image = os.path.join(directory, NAME), os.path.join(directory, _IMAGE)
    when = ended(read(record), record) if os.path.lexists(record) else ""
    return Result(
        directory=directory,
        summary=summary,
        when=when or _time(os.stat(path).st_mtime),
        image_id=identity(read(image)) if os.path.lexists(image) else "",
    )


def _summary(directory: str) -> tuple[Summary, str]:
    """The summary of a run and the document that it comes from; made of the other documents if there is none."""
    path, receipt = os.path.join(directory, _SUMMARY), os.path.join(directory, _RECEIPT)
    if os.path.lexists(path):
        return documents.decode_summary(read(path), path), path
    if not os.path.lexists(receipt):
        raise DocumentError(
            f"{directory} holds no result of a run: there is no {_SUMMARY}",
            "name the directory that was --out of `slimagent image` or `slimagent run`",
        )
    done = documents.decode_receipt(read(receipt), receipt)
    plan = Result(directory=directory, summary=Summary(tool="", command="", plan=done.plan), when="").plan()
    return summarised(Summary(tool=done.tool, command="apply"), Whole(plan=plan, receipt=done)), receipt


def _require_same(path: str, found: str, expected: str | None) -> None:
    if found != expected:
        raise DocumentError(f"{path} belongs to another run", "run slimagent again, with a directory of its own")


def now() -> str:
    """The time as a history writes it."""
    return _time(datetime.datetime.now().timestamp())


def _time(seconds: float) -> str:
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
        is_verified=is_verified,
        worse=len(summary.worse) if is_verified else None,
        missed=None if summary.missed is None else len(summary.missed),
        bytes_unowned=None if summary.level is None else sum(each.bytes for each in summary.unowned_dropped),
        packages=None if plan is None else kept_packages(plan),
        findings=findings,
    )
