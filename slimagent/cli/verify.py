"""`slimagent verify`: run the tests again on the slim image."""

from __future__ import annotations

import os

import click

from slimagent import documents
from slimagent.cli import options, terminal, writing
from slimagent.cli.console import Console
from slimagent.cli.evidence import evidence_options
from slimagent.cli.help import command
from slimagent.cli.marks import by_test
from slimagent.errors import RefusedError
from slimagent.linux.files import digest, read, write
from slimagent.report.text import verification_summary
from slimagent.workflows import pipeline
from slimagent.workflows.proof import verify as verify_slim
from slimagent.workflows.steps import Evidence


@command(example="slimagent verify plan.json trace.json -- pytest -q /app/tests")
@click.argument("plan", metavar="PLAN")
@click.argument("trace", metavar="TRACE")
@options.together(options.profile, options.user, options.backend, options.also, options.jobs)
@click.option(
    "-o",
    "--output",
    default="verification.json",
    show_default=True,
    metavar="FILE",
    help="Write the verification here.",
)
@click.option(
    "--only", multiple=True, metavar="STEP", help="Run only this step, and compare only this one; can be repeated."
)
@click.option("--full", is_flag=True, help="Leave the dropped files in sight, and name those that the steps use.")
@options.together(by_test, evidence_options, options.quiet)
@options.command
def verify(
    plan: str,
    trace: str,
    profile: str | None,
    user: str | None,
    backend: str,
    also: tuple[str, ...],
    jobs: int | None,
    output: str,
    only: tuple[str, ...],
    full: bool,
    by_test: bool,
    evidence: Evidence,
    quiet: bool,
    command: tuple[str, ...],
) -> int:
    """Run COMMAND and the checks of a profile again, and compare with TRACE.

    Names what got worse, and every file that was needed and is missing. On the full image, dropped files are made to
    look gone, which rehearses the slim image. With --full they are not, and nothing is proved: the status is 1.
    """
    writing.require_writable(output, writing.own_document(documents.VERIFICATION))
    data = read(plan)
    made = documents.decode_plan(data, plan)
    baseline = documents.decode_trace(read(trace), trace)
    if baseline.before not in made.fingerprints:
        raise RefusedError(
            f"{trace} is of another image than {plan}: its fingerprint is {baseline.before[:12]}, "
            f"not {made.fingerprints[0][:12]}",
            "name the trace that the plan was made from",
        )
    chosen = options.chosen_profile(profile, bool(command or also or evidence.hosted), user)
    named = tuple(map(os.fsencode, (plan, trace, output)))
    session = options.session(user=user, backend=backend, jobs=jobs, by_test=by_test, profile=chosen, outputs=named)
    session = pipeline.seen_as(session, made)
    steps = options.steps(chosen, command, also, evidence=evidence)
    console = Console(quiet=quiet, names=[spec.name for spec in steps.checks])
    result = verify_slim(session, steps, made, digest(data), baseline.steps, console, only=only, full=full)
    write(output, documents.encode_verification(result))
    if not quiet:
        terminal.lines(verification_summary(result))
    return 0 if result.passed else 1


COMMANDS = (verify,)
