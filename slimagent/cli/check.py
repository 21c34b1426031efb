"""`slimagent check`: run the checklist, untraced."""

from __future__ import annotations

import click

from slimagent import documents, exercise
from slimagent.checks import spawn_plainly
from slimagent.cli import options
from slimagent.cli.console import show_result
from slimagent.errors import UsageError
from slimagent.files import read, write
from slimagent.results import CheckResult, Outcome
from slimagent.verify.compare import compare


@click.command()
@options.together(options.profile, options.user)
@click.option("--baseline", metavar="FILE", help="Results to compare with: only what got worse counts.")
@click.option("-o", "--output", metavar="FILE", help="The results to write.")
@options.as_json
def check(profile: str | None, user: str | None, baseline: str | None, output: str | None, as_json: bool) -> int:
    """Run a profile's checklist; exit 1 if a check failed, or with --baseline if one got worse."""
    chosen = options.chosen_profile(profile, (), user)
    if not chosen.checks:
        raise UsageError(f"profile {chosen.name} has no checks", "choose another with --profile")
    before = None if baseline is None else documents.decode_checks(read(baseline), baseline)
    session = options.session(user=user, profile=chosen)
    results: list[CheckResult] = []
    for spec in chosen.checks:
        results.append(exercise.check(spec, session, spawn_plainly, before or ()))
        if not as_json:
            show_result(results[-1], err=False)
    data = documents.encode_checks(results)
    if output is not None:
        write(output, data)
    if as_json:
        click.echo(data.decode(), nl=False)
    if before is None:
        return int(any(result.outcome is Outcome.FAILED for result in results))
    worse = [each for each in compare(before, results) if each.worse]
    for each in worse:
        click.secho(f"worse than the baseline: {each.name}  {each.detail}", fg="red", err=True)
    return int(bool(worse))


COMMANDS = (check,)
