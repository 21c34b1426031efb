"""`slimagent differences` and `slimagent trial`: how a slim image differs, and the tests with some of that."""

from __future__ import annotations

import os

import click

from slimagent import documents
from slimagent.cli import options, writing
from slimagent.cli.console import Console
from slimagent.cli.help import command
from slimagent.cli.marks import by_test
from slimagent.linux.files import read, write
from slimagent.workflows import pipeline
from slimagent.workflows import trial as trials
from slimagent.workflows.step_logs import StepLogs
from slimagent.workflows.steps import Evidence

_blobs = click.option(
    "--bytes", "blobs", required=True, metavar="DIR", help="Directory with the bytes of files that are not the same."
)


@command(example="/agent/entrypoint.sh differences /out/plan.json -o /out/differences.jsonl --bytes /out/bytes")
@click.argument("plan", metavar="PLAN")
@click.option("-o", "--output", required=True, metavar="FILE", help="Write the list here.")
@options.together(_blobs, options.quiet)
def differences(plan: str, output: str, blobs: str, quiet: bool) -> int:
    """List how this slim image differs from the image of PLAN, with the bytes of what was changed.

    Run it in a new container of the slim image. `slimagent image` does so to find out why a test fails there.
    """
    made = documents.decode_plan(read(plan), plan)
    session = options.session(outputs=tuple(map(os.fsencode, (plan, output, blobs))))
    found = trials.differences(pipeline.seen_as(session, made), made, blobs, Console(quiet=quiet))
    write(output, documents.encode_differences(found))
    return 0


@command(
    example="/agent/entrypoint.sh trial /in/chosen.jsonl trace.json --bytes /in/bytes --only command \\\n"
    "  -o /out/checks.json -- pytest -q /app/tests"
)
@click.argument("chosen", metavar="DIFFERENCES")
@click.argument("trace", metavar="TRACE")
@options.together(_blobs, options.profile, options.user, options.also, options.jobs, by_test, options.mounted)
@click.option("--only", multiple=True, required=True, metavar="NAME", help="Run this step. Can be repeated.")
@click.option("--logs", metavar="DIR", help="Write the output of each step to a file in this directory.")
@click.option("-o", "--output", required=True, metavar="FILE", help="Write the results here.")
@options.quiet
@options.command
def trial(
    chosen: str,
    trace: str,
    blobs: str,
    profile: str | None,
    user: str | None,
    also: tuple[str, ...],
    jobs: int | None,
    by_test: bool,
    mounted: tuple[str, ...],
    only: tuple[str, ...],
    logs: str | None,
    output: str,
    quiet: bool,
    command: tuple[str, ...],
) -> int:
    """Remove and change what DIFFERENCES lists in this container, then run steps of TRACE again.

    Run it in a container of the full image that is thrown away: nothing is put back.
    """
    writing.require_writable(output, writing.own_document(documents.CHECKS))
    baseline = documents.decode_trace(read(trace), trace)
    picked = options.chosen_profile(profile, bool(command or also), user)
    outputs = tuple(map(os.fsencode, (chosen, trace, blobs, output)))
    session = options.session(user=user, jobs=jobs, by_test=by_test, profile=picked, outputs=outputs, mounted=mounted)
    steps = options.steps(picked, command, also, evidence=Evidence(logs=None if logs is None else StepLogs(logs)))
    results = trials.trial(
        pipeline.seen_as(session, baseline),
        steps,
        only,
        baseline.steps,
        documents.decode_differences(read(chosen), chosen),
        blobs,
        Console(quiet=quiet, names=[spec.name for spec in steps.checks]),
    )
    write(output, documents.encode_checks(results))
    return 0


COMMANDS = (differences, trial)
