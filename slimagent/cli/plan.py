"""`slimagent plan`: decide what can go."""

from __future__ import annotations

import os

import click

from slimagent import documents
from slimagent.cli import options, terminal, writing
from slimagent.cli.console import Console
from slimagent.cli.help import command
from slimagent.cli.planning import Asked, Changes, evidence_changes, prepare
from slimagent.cli.rules import rule_options
from slimagent.cli.traces import traces as traces_argument
from slimagent.linux.files import write
from slimagent.model.profile import Rules
from slimagent.report.reach import unmatched
from slimagent.report.text import plan_summary


@command(example="slimagent plan trace.json -o plan.json")
@traces_argument
@options.together(options.root, options.scope, options.level, options.profile, rule_options, options.accept)
@options.image_config
@evidence_changes
@click.option("-o", "--output", default="plan.json", show_default=True, metavar="FILE", help="Write the plan here.")
@options.quiet
def plan(
    traces: tuple[str, ...],
    root: str,
    scopes: tuple[str, ...],
    level: str | None,
    profile: str | None,
    rules: Rules,
    accepted: tuple[str, ...],
    image_config: str | None,
    changes: Changes,
    output: str,
    quiet: bool,
) -> int:
    """Decide from a trace what the image can lose, with a reason for every path.

    Several traces count as one. TRACE may be a directory: that means all traces in it.
    """
    writing.require_writable(output, writing.own_document(documents.PLAN))
    console = Console(quiet=quiet)
    reading = Console(quiet=quiet or len(traces) == 1)
    prepared = prepare(
        Asked(traces=traces, level=level, profile=profile, rules=rules, accepted=accepted, **changes),
        reading,
        root=root,
        scopes=scopes,
        outputs=tuple(map(os.fsencode, (output, *sorted(set(traces))))),
        image=options.read_image(image_config),
    )
    made = prepared.plan(console)
    write(output, documents.encode_plan(made))
    if not quiet:
        terminal.lines([*plan_summary(made), *(f"note: {note}" for note in unmatched(made, rules))])
    return 0


COMMANDS = (plan,)
