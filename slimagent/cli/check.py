"""`slimagent check`: run the checklist, untraced."""

from __future__ import annotations

import os

import click

from slimagent import documents
from slimagent.cli import options, terminal, writing
from slimagent.cli.asking import Asking, asking_options
from slimagent.cli.console import Console
from slimagent.cli.help import command
from slimagent.cli.passing import carried_profile, passed_on
from slimagent.cli.terminal import Styled
from slimagent.errors import UsageError
from slimagent.image.work import OUT
from slimagent.linux.files import read, write
from slimagent.model.profile import CheckSpec, Profile
from slimagent.model.result import Outcome
from slimagent.report.checklist import junit, summary
from slimagent.verify.compare import compare, standing, unproved
from slimagent.workflows import exercise

_BASELINE, _CHECKS, _JUNIT = "before.json", "checks.json", "checks.xml"  # in the container


@command(example="slimagent check app:latest -o before.json\nslimagent check app:slim --baseline before.json")
@click.argument("image", required=False, metavar="[IMAGE]")
@options.together(options.profile, options.user, options.jobs)
@click.option("--only", multiple=True, metavar="NAME", help="Run only checks of this name or kind. Can be repeated.")
@click.option("--baseline", metavar="FILE", help="Compare with these results: only what got worse fails.")
@click.option("-o", "--output", metavar="FILE", help="Write the results here.")
@click.option("--junit", "report", metavar="FILE", help="Write the results here as JUnit XML.")
@options.together(options.quiet, options.as_json)
@asking_options
def check(
    asking: Asking | None,
    profile: str | None,
    user: str | None,
    jobs: int | None,
    only: tuple[str, ...],
    baseline: str | None,
    output: str | None,
    report: str | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Run the checks of a profile, here or in a container of IMAGE.

    Exits with 1 if a check failed, or with --baseline if something got worse.
    """
    if output is not None:
        writing.require_writable(output, writing.own_document(documents.CHECKS))
    if report is not None:
        writing.require_writable(report, writing.OWN_REPORT)
    if asking is not None:
        return _outside(asking, profile, user, baseline, output, report, quiet=quiet, as_json=as_json)
    chosen = options.chosen_profile(profile, False, user)
    specs = _specs(chosen, only)
    known = () if baseline is None else documents.decode_checks(read(baseline), baseline)
    before = tuple(each for each in known if not only or any(each.name == spec.name for spec in specs))
    outputs = tuple(os.fsencode(path) for path in (baseline, output, report) if path is not None)
    session = options.session(user=user, jobs=jobs, profile=chosen, outputs=outputs)
    console = Console(quiet=quiet or as_json, names=[spec.name for spec in specs], err=False)
    results = exercise.checklist(session, specs, before, console)
    earlier = [exercise.earlier(spec, before) for spec in specs]
    data = documents.encode_checks(results)
    if output is not None:
        write(output, data)
    if report is not None:
        write(report, junit(results, earlier))
    if as_json:
        terminal.json(data)
    elif not quiet:
        terminal.line(summary(results, list(map(standing, results, earlier)), console.seconds))
    if baseline is None:
        return int(any(result.outcome is Outcome.FAILED for result in results))
    for name in sorted({each.name for each in before} - {each.name for each in results}):
        terminal.line(Styled(f"{name} is in the baseline but not in this profile", "red"), err=True)
    return int(any(each.worse for each in compare(before, results)) or bool(unproved(before, results)))


def _outside(
    asking: Asking,
    profile: str | None,
    user: str | None,
    baseline: str | None,
    output: str | None,
    report: str | None,
    *,
    quiet: bool,
    as_json: bool,
) -> int:
    """Do it in a container of an image, as the image's user."""
    files, words = carried_profile(profile)
    words += (*asking.user(user), *passed_on(("only", "jobs")))
    if baseline is not None:
        data = read(baseline)
        documents.decode_checks(data, baseline)
        files = {**files, _BASELINE: data}
        words += ("--baseline", f"{OUT}/{_BASELINE}")
    words += ("--quiet",) if quiet or as_json else ()
    answer = asking.ask(
        ("check", *words, "-o", f"{OUT}/{_CHECKS}", "--junit", f"{OUT}/{_JUNIT}"), files, (_JUNIT, _CHECKS)
    )
    for path, name in ((output, _CHECKS), (report, _JUNIT)):
        if path is not None:
            write(path, answer.files[name])
    if as_json:
        terminal.json(answer.files[_CHECKS])
    return answer.status


def _specs(profile: Profile, only: tuple[str, ...]) -> tuple[CheckSpec, ...]:
    """The profile's checks, or those named. Raises UsageError if one cannot be run, or a name matches none."""
    known = options.steps(profile, ()).checks
    for name in only:
        if not any(name in (spec.name, spec.kind) for spec in known):
            raise UsageError(
                f"--only {name}: profile {profile.name} has no such check",
                f"it has {', '.join(spec.name for spec in known)}",
            )
    return tuple(spec for spec in known if not only or {spec.name, spec.kind} & set(only))


COMMANDS = (check,)
