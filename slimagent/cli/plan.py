"""`slimagent plan`: decide what can go."""

from __future__ import annotations

import os
from dataclasses import replace

import click

from slimagent import documents, pipeline
from slimagent.cli import options, terminal
from slimagent.cli.console import Console
from slimagent.cli.wishes import wishes
from slimagent.files import read, write
from slimagent.report.text import plan_summary
from slimagent.rules import Rules
from slimagent.tracing import merged


@click.command()
@click.argument("traces", metavar="TRACE...", nargs=-1, required=True)
@options.together(options.root, options.scope, options.level, options.profile, wishes, options.accept)
@options.image_config
@click.option(
    "--repair",
    metavar="FILE",
    help="A verification of an earlier plan: what it looked for in vain stays.",
)
@click.option("-o", "--output", default="plan.json", show_default=True, metavar="FILE", help="The plan to write.")
@options.quiet
def plan(
    traces: tuple[str, ...],
    root: str,
    scopes: tuple[str, ...],
    level: str | None,
    profile: str | None,
    wished: Rules,
    accepted: tuple[str, ...],
    image_config: str | None,
    repair: str | None,
    output: str,
    quiet: bool,
) -> int:
    """Decide from TRACE what the image can lose, with a reason for every path. Several traces count as one."""
    options.require_writable(output)
    console = Console(quiet=quiet)
    reading = Console(quiet=quiet or len(traces) == 1)
    evidence, digests = merged(((trace, read(trace)) for trace in traces), reading)
    missed = () if repair is None else documents.decode_verification(read(repair), repair).missed
    chosen = options.profile_of(evidence) if profile is None else options.chosen_profile(profile, False, None)
    its_level = options.chosen_level(level, chosen)
    chosen = replace(chosen, user="")  # nothing is run
    session = options.session(
        root=root,
        scopes=scopes or tuple(os.fsdecode(scope) for scope in evidence.scopes if scope != b"/"),
        profile=chosen,
        wished=wished,
        outputs=tuple(map(os.fsencode, (output, *sorted(set(traces))))),
        image=options.read_image(image_config),
    )
    session = pipeline.seen_as(session, evidence)
    made = pipeline.plan(session, evidence, digests, its_level, frozenset(accepted), console, missed=missed)
    write(output, documents.encode_plan(made))
    if not quiet:
        terminal.lines(plan_summary(made))
    return 0


COMMANDS = (plan,)
