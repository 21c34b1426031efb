"""A report as a document; nothing reads it back."""

from __future__ import annotations

from dataclasses import asdict

from slimagent.documents.envelope import dump
from slimagent.documents.summary import summary_members
from slimagent.model.report import Report

REPORT = "slimagent/report"


def encode_report(report: Report) -> bytes:
    """A report as bytes. `summary` in it has the members of a summary."""
    return dump(
        REPORT,
        {
            "tool": report.summary.tool,
            "documents": [asdict(each) for each in report.found],
            "summary": summary_members(report.summary),
            "fates": [asdict(part) for part in report.parts],
            "again": report.again,
            "steps": [asdict(each) for each in report.needed],
            "left": [asdict(each) for each in report.left],
            "untested": [asdict(each) for each in report.untested],
            "beyond": list(report.beyond),
            "watched": None if report.watched is None else asdict(report.watched),
            "start": None if report.started is None else asdict(report.started),
        },
    )
