"""`slimagent gate`: hold rules against the result of a run."""

from __future__ import annotations

import fnmatch
import os
import shlex
from dataclasses import replace

import click

from slimagent import documents
from slimagent.cli import options, terminal, writing
from slimagent.cli.ending import chosen_form
from slimagent.cli.gating import annotate, gate_option
from slimagent.cli.help import command
from slimagent.cli.terminal import Styled
from slimagent.errors import CheckFailedError, DocumentError, UsageError
from slimagent.gate.judge import judge
from slimagent.gate.rules import merged
from slimagent.linux.files import read, write
from slimagent.model.audit import HERE, KINDS, UNUSED, Audit
from slimagent.model.gate import Earlier, Facts, Finding, Judged, Outcome, Rule, Ruling, Subject
from slimagent.profiles import shipped as profiles
from slimagent.report.gate import MARKS, gate_junit, gate_lines, gate_markdown, verdict
from slimagent.report.since import past_run, previous
from slimagent.text.near import meant
from slimagent.workflows.facts import facts
from slimagent.workflows.finished import Finished
from slimagent.workflows.histories import runs_in
from slimagent.workflows.tracing import TOOL

_OF_PACKAGES = (Subject.ABSENT, Subject.PRESENT)
_COLOURS = {MARKS[Outcome.PASSED]: "green", MARKS[Outcome.FAILED]: "red", MARKS[Outcome.WARNED]: "yellow"}


@command(example="slimagent gate slimagent-out --gate 'size < 2.5 GB' --gate 'package absent: dpkg:gcc-*'")
@click.argument("out", metavar="OUT")
@options.together(gate_option, options.profile)
@click.option("--history", metavar="FILE", help="For `growth`: compare with the run before in this history.")
@click.option("--against", metavar="DIR", help="For `growth`: compare with the run that wrote into this directory.")
@click.option("--audit", metavar="FILE", help="For `finding none`: the image's audit, by `slimagent audit -o FILE`.")
@click.option("--junit", "report", metavar="FILE", help="Write what the rules came to here as JUnit XML.")
@options.together(options.quiet, options.form, options.as_json)
def gate(
    out: str,
    gates: tuple[Rule, ...],
    profile: str | None,
    history: str | None,
    against: str | None,
    audit: str | None,
    report: str | None,
    quiet: bool,
    form: str | None,
    as_json: bool,
) -> int:
    """Hold rules against the result of a run.

    OUT is the directory of its documents. The rules are those of --gate and of a profile. Exits with 1 if one fails.
    """
    shape = chosen_form(form, as_json=as_json)
    if report is not None:
        writing.require_writable(report, writing.OWN_REPORT)
    rules = merged((*(() if profile is None else profiles.load(profile).gate), *gates))
    if not rules:
        raise UsageError("no rule was given", "give one, e.g. --gate 'size < 2.5 GB', or a --profile that has [[gate]]")
    run = Finished(out, whole=True)
    result = run.result
    rulings = _judged(run, rules, history, against, _findings(audit, rules, run))
    if report is not None:
        write(report, gate_junit(rulings))
    _show(Judged(tool=TOOL, image=result.image, tag=result.tag, rules=rulings), shape, quiet=quiet)
    if shape == options.TABLE and not quiet:
        for hint in _hints(rules, rulings, history, against, audit):
            terminal.line(hint)
    annotate(rulings)
    if not result.made:
        why = "" if result.failure is None else f": {result.failure.message}"
        raise CheckFailedError(f"the run in {out} made no slim image that is proved{why}", "run slimagent again")
    return int(any(each.outcome is Outcome.FAILED for each in rulings))


def _findings(audit: str | None, rules: tuple[Rule, ...], run: Finished) -> Facts:
    """What an audit of the run's image found, as far as that is known; nothing else.

    Raises UsageError for the audit of another image, and for a rule about a kind that no finding can have.
    """
    whole = None if audit is None else documents.decode_audit(read(audit), audit)
    unknown = Facts().no_findings if whole is None else _unproved(str(audit), whole, run)
    made = None if whole is None else whole.findings
    known = {*KINDS, *(rule.name for rule in profiles.load("base").rules.cruft), *(each.kind for each in made or ())}
    for rule in rules:
        if rule.subject is Subject.FINDING and not fnmatch.filter(known, rule.pattern):
            message = f"{rule.where}: {rule.text!r}: no such kind of finding"
            raise UsageError(message, meant(rule.pattern, known) or "docs/audit.md lists the kinds")
    if whole is None or unknown:
        return Facts(no_findings=unknown)
    found = tuple(Finding(each.kind, each.size) for each in whole.findings)
    return Facts(findings=found, unsought=() if whole.traced else ((UNUSED, "the audit has no trace of a test"),))


def _unproved(path: str, audit: Audit, run: Finished) -> str:
    """Why it is unknown whether an audit is of the run's image; empty if it is. Raises UsageError if it is not.

    Only IDs tell: one name can be that of two images, one after the other.
    """
    image = run.result.image
    again = shlex.join(["slimagent", "audit", image or "IMAGE", "-o", path])
    ids = [each.rpartition(":")[2] for each in (audit.image_id, run.image_id)]  # Podman leaves out the digest's name
    if image not in (None, audit.image) and audit.image != HERE and ids[0] != ids[1]:
        raise UsageError(f"{path} is the audit of {audit.image}, and the run slimmed {image}", f"make its own: {again}")
    if "" not in ids and ids[0] != ids[1]:
        raise UsageError(
            f"{path} is the audit of another image: its ID is {audit.image_id}, and the run slimmed {run.image_id}",
            f"make its own: {again}",
        )
    if not ids[0]:
        return f"{path} was made inside a container and does not say of which image it is: {again}"
    return "" if ids[1] else f"{run.path} does not say which image it is of, so {path} may be of another one"


def _judged(
    run: Finished,
    rules: tuple[Rule, ...],
    history: str | None,
    against: str | None,
    found: Facts,
) -> tuple[Ruling, ...]:
    of_packages = _OF_PACKAGES if found.findings is None else (*_OF_PACKAGES, Subject.FINDING)
    subjects = {rule.subject for rule in rules}
    plan = None
    if run.result.plan is not None and (history is not None or not subjects.isdisjoint(of_packages)):
        plan = run.require_plan()
    elif run.result.plan is not None and Subject.UNOWNED in subjects:
        plan = run.plan  # without it the figure is known, and not which records could not be read
    known = replace(
        facts(run.result, plan, findings=found.findings), no_findings=found.no_findings, unsought=found.unsought
    )
    if history is not None and not os.path.lexists(history):
        raise UsageError(f"{history} does not exist", "`slimagent history add` makes one; check the name")
    if history is not None and against is not None:
        raise UsageError("--history and --against cannot be used together", "leave one out")
    if against is not None:
        known = replace(known, earlier=_against(against))
    if history is not None and plan is not None:
        this = past_run(run.result, plan, run.when)
        last = None if this is None else previous(runs_in(history), this)
        known = replace(known, earlier=None if last is None else Earlier(last.minute, last.bytes_after, last.level))
    return judge(rules, known)


def _against(directory: str) -> Earlier:
    result = Finished(directory, whole=True).result
    size = result.bytes_after
    if size is None:
        raise DocumentError(f"the run in {directory} made no slim image", "name the directory of another run")
    return Earlier(f"the run in {directory}", size, result.level or "")


def _hints(rules: tuple[Rule, ...], rulings: tuple[Ruling, ...], *given: str | None) -> list[str]:
    """What to give so that a rule is not skipped. `given` are the values of --history, --against and --audit."""
    skipped = {rule.subject for rule, each in zip(rules, rulings, strict=True) if each.outcome is Outcome.SKIPPED}
    history, against, audit = given
    hints = []
    if Subject.GROWTH in skipped and history is None and against is None:
        hints.append("  hint: growth needs an earlier run: --history FILE, or --against DIR")
    if Subject.FINDING in skipped and audit is None:
        hints.append("  hint: `finding none` needs an audit: --audit FILE, made by `slimagent audit IMAGE -o FILE`")
    return hints


def _show(judged: Judged, form: str, *, quiet: bool) -> None:
    if form == options.JSON:
        terminal.json(documents.encode_gate(judged))
    elif form == options.MARKDOWN:
        terminal.lines(gate_markdown(judged.rules)[:-1])
    elif not quiet or judged.status:
        for line in gate_lines(judged.rules):
            colour = _COLOURS.get(line[0])
            terminal.line(Styled(line, colour) if colour else line)
        terminal.line(Styled(verdict(judged.rules), "red" if judged.status else "green", bold=True))


COMMANDS = (gate,)
