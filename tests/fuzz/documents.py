"""Targets: every document that slimagent writes and reads, with its way back to bytes and what is reported about it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

from slimagent import documents
from slimagent.apply.in_place.journal_format import decode_outcomes, decode_start, encode_outcome, encode_start
from slimagent.cli.console import Console
from slimagent.gate import rules as gate_rules
from slimagent.gate.judge import judge
from slimagent.image import leftovers
from slimagent.image.owner import Fate, fate
from slimagent.image.run_record import decode_record, read_record
from slimagent.model import started
from slimagent.model.gate import Facts, Judged
from slimagent.model.history import PastRun
from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt, Verification
from slimagent.model.reason import Verdict
from slimagent.model.result import CheckResult
from slimagent.model.summary import Phase, Summary, Whole
from slimagent.model.trace import Trace
from slimagent.plan.admit import admit
from slimagent.report.account import account, facts
from slimagent.report.checklist import check_lines, junit
from slimagent.report.explain import Explainer
from slimagent.report.failure import failed_steps, not_proved
from slimagent.report.fates import Fates
from slimagent.report.gate import failing, for_github, gate_junit, gate_lines, gate_markdown, verdict
from slimagent.report.history import BLOCKS, PLAIN, history_markdown, history_table, plots, with_changes
from slimagent.report.page.payload import payload
from slimagent.report.pull_request import pull_request
from slimagent.report.reach import Configured, warnings
from slimagent.report.result import result
from slimagent.report.since import previous, since, since_line
from slimagent.report.summary import summarised
from slimagent.report.text import plan_summary, receipt_summary, stripped_files, verification_summary
from slimagent.report.together import together
from slimagent.text.escapes import github_annotation
from slimagent.workflows.tracing import merged

from .rules import assert_shown, refused
from .seeds import seeds

_FEW = 30  # rows that are explained
_ALL = Configured(starts=True, health_check=True, ports=(80,))


def _whole(name: str) -> Any:
    return getattr(documents, f"decode_{name}")(seeds(name)[0])


def _target(name: str, report: Callable[[Any], None]) -> Callable[[bytes], None]:
    """Decode, encode, decode again: the same value; then report about it.

    Seconds are rounded when they are written, so what was written once is held against what is written again.
    """
    decode, encode = getattr(documents, f"decode_{name}"), getattr(documents, f"encode_{name}")

    def target(data: bytes) -> None:
        with refused():
            value = decode(encode(decode(data)))
            written = encode(value)
            again = decode(written)
            assert again == value and encode(again) == written, "not the same when read back"
            report(value)

    return target


def _trace(value: Trace) -> None:
    with refused():
        admit(value, frozenset())
    with refused():
        merged([("a", documents.encode_trace(value)), ("b", seeds("trace")[0])], Console(quiet=True))
    assert_shown(warnings(_whole("plan"), value.steps, _ALL, value.asked_ports, None, 3))


def _plan(value: Plan) -> None:
    assert_shown(plan_summary(value))
    explainer = Explainer(value)
    found = [explainer.explain(entry.path) for entry in value.entries[:_FEW]]
    found += [explainer.explain_package(number) for number in range(len(value.packages[:_FEW]))]
    for each in found:
        assert_shown(
            (each.what, each.level, each.cost, each.stripped, *each.owners, *(f"{a}: {b}" for a, b in each.chain))
        )
        assert each.verdict in (*Verdict, None)
    _summary(value, _whole("receipt"), _whole("verification"))


def _receipt(value: Receipt) -> None:
    plan = _whole("plan")
    assert_shown([*receipt_summary(value), *stripped_files(value, plan)])
    _summary(plan, value, _whole("verification"))


def _verification(value: Verification) -> None:
    assert_shown([*verification_summary(value), *not_proved(value, {}), *failed_steps(value.steps, {})])
    _summary(_whole("plan"), _whole("receipt"), value)


def _summary(plan: Plan, receipt: Receipt, verification: Verification) -> None:
    blank = Summary(
        tool="slimagent 0", command="image", image="app", tag="app:slim", repaired=1, seconds=2.5,
        phases=(Phase(name="load", seconds=1.0),),
        notes=warnings(plan, verification.steps, _ALL, None, None),
    )  # fmt: skip
    whole = Whole(plan=plan, receipt=receipt, verification=verification)
    summary = summarised(blank, whole)
    assert documents.encode_summary(summary)
    lines = pull_request(summary)
    assert all(line.isprintable() for line in lines), "a line of the summary is not printable"
    _report(summary, whole)


def _report(summary: Summary, whole: Whole) -> None:
    """The report, and what its page is made of: as many bytes as the plan has."""
    report = together(summary, whole, None, ())
    assert_shown([*account(report, "out"), *facts(report)])
    assert documents.encode_report(report)
    if whole.plan is not None:
        data = payload(whole.plan, Fates(whole.plan, whole.receipt), "app", 3)
        assert sum(data["bytes"]) == sum(part.bytes for part in report.parts)


def _of_a_run(value: Summary) -> None:
    assert all(line.isprintable() for line in pull_request(value)), "a line of the summary is not printable"
    _report(value, Whole(plan=_whole("plan"), trace=_whole("trace")))


def _checks(value: tuple[CheckResult, ...]) -> None:
    for each in value:
        assert_shown(check_lines(each))
    ElementTree.fromstring(junit(value, [None] * len(value)))  # noqa: S314  # our own


def _made(value: Summary) -> None:
    assert all(line.isprintable() for line in pull_request(value)), "a line of the summary is not printable"
    assert_shown(result(value, "out"))


def _gate(value: Judged) -> None:
    assert_shown([*gate_lines(value.rules), verdict(value.rules), failing(value.rules)])
    assert all(line.isprintable() for line in gate_markdown(value.rules))
    ElementTree.fromstring(gate_junit(value.rules))  # noqa: S314  # our own
    for each in for_github(value.rules):
        line = github_annotation(each.level, each.title, each.message)
        assert line.startswith("::") and line.replace("\t", "").isprintable() and line[2:].count("::") >= 1


def _line(value: PastRun) -> None:
    (other,) = documents.decode_lines(seeds("line")[0], "history")
    for rows in (with_changes([value, other]), with_changes([other, value, other])):
        drawn = [*plots(rows, PLAIN, by_component=True), *plots(rows, BLOCKS, by_component=False)]
        assert_shown([*history_table(rows), *drawn, since_line(since(other, value)), since_line(since(value, other))])
        assert all(line.isprintable() for line in history_markdown(rows))
        assert documents.encode_history(tuple(rows))
    assert previous([other], value) in (other, None)


def history(data: bytes) -> None:
    """A history: our lines in it are understood, and one more is the last."""
    with refused():
        runs = documents.decode_lines(data, "history")
        (other,) = documents.decode_lines(seeds("line")[0], "history")
        assert documents.decode_lines(data.rstrip(b"\n") + b"\n" + documents.encode_line(other)) == (*runs, other)


def gate_rule(data: bytes) -> None:
    """A rule of a gate, or the nearest one."""
    with refused():
        found = gate_rules.read(data.decode("utf-8", "replace"))
        assert gate_rules.read(found.text) == found
        assert_shown([each.message for each in judge([found], Facts())])


def start(data: bytes) -> None:
    """What a container writes down of its start, and the steps that it comes to."""
    with refused():
        value = started.decode(data, "started")
        for status in (0, 1, 137):
            for each in started.steps(value, status):
                assert_shown(check_lines(each))


def journal(data: bytes) -> None:
    """A journal: the first line, and the further ones."""
    first, _, rest = data.partition(b"\n")
    with refused():
        value = decode_start(first, "journal")
        again = decode_start(encode_start(value), "journal")
        assert (again.plan, again.contents, again.inventory.paths) == (
            value.plan,
            value.contents,
            value.inventory.paths,
        )
        assert again.inventory.targets == value.inventory.targets
    with refused():
        for path, outcome in decode_outcomes(rest, "journal").items():
            assert decode_outcomes(encode_outcome(outcome), "journal") == {path: outcome}


def run_record(data: bytes) -> None:
    """run.json: whose files an output directory holds. None of them leads out of it."""
    with refused():
        for name in read_record(data, "run.json", "hint"):
            assert not name.startswith("/") and ".." not in name.split("/")
    record = decode_record(data)
    assert record is None or (record.ended or record.started)[10] == "T"


def leftover_names(data: bytes) -> None:
    """Names of files and directories of killed runs, in a directory that anybody may write to."""
    name = data.replace(b"\0", b"").replace(b"/", b"")[:250]
    for each in filter(None, (name, b".work-" + name, b".slimagent-" + name + b".partial")):
        with tempfile.TemporaryDirectory() as out:
            with contextlib.suppress(OSError), open(os.path.join(os.fsencode(out), each[:255]), "xb"):
                pass
            for key, found in leftovers._in_directory(out):
                assert fate(key) in Fate
                assert found.name.startswith(out)


def _all_of_a_run(value: Summary) -> None:
    _made(value)
    _of_a_run(value)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "trace": _target("trace", _trace),
    "plan": _target("plan", _plan),
    "receipt": _target("receipt", _receipt),
    "verification": _target("verification", _verification),
    "checks": _target("checks", _checks),
    "summary": _target("summary", _all_of_a_run),
    "gate": _target("gate", _gate),
    "line": _target("line", _line),
    "history": history,
    "gate_rule": gate_rule,
    "started": start,
    "journal": journal,
    "run_record": run_record,
    "leftover_names": leftover_names,
}
