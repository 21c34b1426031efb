"""`slimagent trace`: run and record."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from slimagent.cli import options, terminal, writing
from slimagent.cli.console import Console
from slimagent.cli.evidence import evidence_options
from slimagent.cli.help import command
from slimagent.cli.marks import by_test
from slimagent.documents import TRACE
from slimagent.errors import UsageError
from slimagent.linux.files import write
from slimagent.model.result import CheckResult, Outcome
from slimagent.model.started import KIND
from slimagent.workflows import pipeline
from slimagent.workflows.steps import Evidence


@command(example="slimagent trace -o trace.json -- pytest -q /app/tests")
@options.together(options.profile, options.user, options.scope, options.backend, options.also, options.jobs)
@by_test
@click.option("-o", "--output", default="trace.json", show_default=True, metavar="FILE", help="Write the trace here.")
@click.option("--attach", is_flag=True, help="Record every process, not only those of COMMAND. Needs fanotify.")
@click.option("--until-signal", is_flag=True, help="With --attach: record until SIGINT or SIGTERM.")
@options.together(options.image_config, options.mounted, evidence_options, options.quiet)
@options.command
def trace(
    profile: str | None,
    user: str | None,
    scopes: tuple[str, ...],
    backend: str,
    also: tuple[str, ...],
    jobs: int | None,
    by_test: bool,
    output: str,
    attach: bool,
    until_signal: bool,
    image_config: str | None,
    mounted: tuple[str, ...],
    evidence: Evidence,
    quiet: bool,
    command: tuple[str, ...],
) -> int:
    """Run COMMAND and the checks of a profile, and record every file that they ask for.

    Exits with the status of COMMAND, and always writes the trace. With --attach --until-signal it records what others
    start, e.g. a running service, or what `docker exec` runs.
    """
    if until_signal and not attach:
        raise UsageError(
            "--until-signal needs --attach: there is nothing else to record", "add --attach, or a command to run"
        )
    writing.require_writable(output, writing.own_document(TRACE))
    chosen = options.chosen_profile(profile, bool(command or also or until_signal or evidence.hosted), user)
    steps = options.steps(chosen, command, also, until_signal=until_signal, evidence=evidence)
    session = options.session(
        scopes=scopes,
        user=user,
        backend=backend,
        attach=attach,
        by_test=by_test,
        jobs=jobs,
        profile=chosen,
        outputs=(os.fsencode(output),),
        image=options.read_image(image_config),
        mounted=mounted,
    )
    traced = pipeline.trace(session, steps, Console(quiet=quiet, names=[spec.name for spec in steps.checks]))
    write(output, traced.data)
    failed = _tell_failed(traced.trace.steps)
    return traced.status or int(failed)


def _tell_failed(steps: Sequence[CheckResult]) -> bool:
    """Say which steps failed. Returns whether one did."""
    failed = [step for step in steps if step.outcome is Outcome.FAILED]
    for step in (each for each in failed if each.kind != KIND):  # a start may fail: see `admit`
        terminal.line(f"slimagent: {step.name} failed: {step.first_line}", err=True)
    return bool(failed)


COMMANDS = (trace,)
