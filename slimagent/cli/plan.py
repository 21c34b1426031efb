"""`slimagent plan`: decide what can go."""

from __future__ import annotations

import os
from dataclasses import replace

import click

from slimagent import documents, pipeline
from slimagent.cli import options
from slimagent.cli.console import Console
from slimagent.cli.wishes import wishes
from slimagent.files import digest, read, write
from slimagent.report.text import plan_summary
from slimagent.rules import Rules


@click.command()
@click.argument("trace", metavar="TRACE")
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
    trace: str,
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
    """Decide from TRACE what the image can lose, with a reason for every path."""
    options.require_writable(output)
    data = read(trace)
    evidence = documents.decode_trace(data, trace)
    missed = () if repair is None else documents.decode_verification(read(repair), repair).missed
    chosen = options.profile_of(evidence, trace) if profile is None else options.chosen_profile(profile, (), None)
    its_level = options.chosen_level(level, chosen)
    chosen = replace(chosen, user="")  # nothing is run
    session = options.session(
        root=root,
        scopes=scopes or tuple(os.fsdecode(scope) for scope in evidence.scopes if scope != b"/"),
        profile=chosen,
        wished=wished,
        outputs=tuple(map(os.fsencode, (output, trace))),
        image=options.read_image(image_config),
    )
    session = pipeline.also_excluded(session, evidence.excluded)
    console = Console(quiet=quiet)
    made = pipeline.plan(session, evidence, digest(data), its_level, frozenset(accepted), console, missed=missed)
    write(output, documents.encode_plan(made))
    if not quiet:
        click.echo("\n".join(plan_summary(made)))
    return 0


COMMANDS = (plan,)
