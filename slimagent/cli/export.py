"""`slimagent export`: plan from a trace and export what stays, in one go."""

from __future__ import annotations

import os

import click

from slimagent import documents
from slimagent.apply import Layout
from slimagent.cli import options, terminal
from slimagent.cli.console import Console
from slimagent.cli.evidence import await_file
from slimagent.cli.layout import layout_options, require_place
from slimagent.cli.planning import Asked, prepare
from slimagent.cli.rules import rule_options
from slimagent.errors import UsageError
from slimagent.linux.files import digest, write
from slimagent.model.image_config import ImageConfig
from slimagent.model.profile import Rules
from slimagent.report.text import before_and_after, plan_summary
from slimagent.workflows import pipeline


@click.command(short_help="Plan, and export what stays, in a new container.")
@click.argument("traces", metavar="TRACE...", nargs=-1, required=True)
@options.together(options.level, options.profile, rule_options, options.accept, layout_options)
@click.option("--tar", metavar="FILE", help="Write the slim root file system as a tar, for `docker import`.")
@click.option("--when", metavar="FILE", help="Look at the image at once, then wait until FILE is there.")
@click.option("--repair", metavar="FILE", help="A verification of an earlier plan: what it looked for in vain stays.")
@click.option("--plan", "plan_file", default="plan.json", show_default=True, metavar="FILE", help="The plan to write.")
@click.option(
    "--receipt", default="receipt.json", show_default=True, metavar="FILE", help="The receipt of the export to write."
)
@options.together(options.strip, options.quiet)
def export(
    traces: tuple[str, ...],
    level: str | None,
    profile: str | None,
    rules: Rules,
    accepted: tuple[str, ...],
    image: ImageConfig | None,
    layout: Layout | None,
    tar: str | None,
    when: str | None,
    repair: str | None,
    plan_file: str,
    receipt: str,
    strip: str,
    quiet: bool,
) -> int:
    """Plan from TRACE and export what stays, with one look at the image.

    Run it in a new container, which no test has touched.

    \b
    docker run --rm -v ./agent:/agent:ro -v ./out:/out --entrypoint /agent/entrypoint.sh IMAGE \\
      export /out/trace.json --tar /out/rootfs.tar --plan /out/plan.json --receipt /out/receipt.json
    """
    if (tar is None) == (layout is None):
        raise UsageError("say where to: exactly one of --tar and --oci", "see `slimagent export --help`")
    kinds = (None, options.own_document(documents.PLAN), options.own_document(documents.RECEIPT))
    written = tuple(path for path in (tar, plan_file, receipt) if path is not None)
    for path, own in zip((tar, plan_file, receipt), kinds, strict=True):
        if path is not None:
            options.require_writable(path, own)
    require_place(layout, quiet=quiet)
    console = Console(quiet=quiet)
    ours = (*written, *traces, *(() if layout is None else (os.fsdecode(layout.folder),)))
    outputs = tuple(map(os.fsencode, sorted(set(ours))))
    first = options.session(outputs=outputs, image=image)
    inventory = pipeline.inspect(first, console)
    owned = pipeline.find_owners(inventory, console)
    if when is not None:
        await_file(when)
    asked = Asked(traces=traces, level=level, profile=profile, rules=rules, accepted=accepted, repair=repair)
    prepared = prepare(asked, Console(quiet=True), outputs=outputs, image=image)
    session = prepared.session
    if not pipeline.is_same_view(first, session):
        inventory = pipeline.inspect(session, console)
        owned = pipeline.find_owners(inventory, console)
    made = prepared.plan(console, inventory, owned)
    data = documents.encode_plan(made)
    write(plan_file, data)
    target = pipeline.Target(tar=None if tar is None else os.fsencode(os.path.abspath(tar)), oci=layout, strip=strip)
    done = pipeline.carry_out(session, made, digest(data), target, console, inventory)
    write(receipt, documents.encode_receipt(done))
    if not quiet:
        terminal.lines([*plan_summary(made), *before_and_after(done)])
    return 0


COMMANDS = (export,)
