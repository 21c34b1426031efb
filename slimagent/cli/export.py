"""`slimagent export`: plan from a trace and export what stays, in one go."""

from __future__ import annotations

import os

import click

from slimagent import documents
from slimagent.apply import Layout
from slimagent.cli import options, terminal, writing
from slimagent.cli.console import Console
from slimagent.cli.evidence import await_file
from slimagent.cli.help import command
from slimagent.cli.layout import destination, layout_options, overwrite_tar, require_distinct, require_place
from slimagent.cli.planning import Asked, Changes, evidence_changes, prepare
from slimagent.cli.removing import beside, placed, removal_options
from slimagent.cli.rules import rule_options
from slimagent.cli.traces import traces as traces_argument
from slimagent.errors import UsageError
from slimagent.linux.files import digest, write
from slimagent.model.image_config import ImageConfig
from slimagent.model.inventory import Inventory, Owners
from slimagent.model.plan import Plan
from slimagent.model.profile import Rules
from slimagent.model.proof import Receipt
from slimagent.report.text import before_and_after, plan_summary
from slimagent.workflows import pipeline
from slimagent.workflows.applying import Action, Export, carry_out
from slimagent.workflows.removals import Removals
from slimagent.workflows.session import Session

_EXAMPLE = """\
docker run --rm -v ./agent:/agent:ro -v ./out:/out --entrypoint /agent/entrypoint.sh IMAGE \\
  export /out/trace.json --tar /out/rootfs.tar --plan /out/plan.json --receipt /out/receipt.json"""


@command(example=_EXAMPLE)
@traces_argument
@options.together(options.level, options.profile, rule_options, options.accept, layout_options)
@click.option("--tar", metavar="FILE", help="Write the slim root file system as a tar file, for `docker import`.")
@click.option("--when", metavar="FILE", help="Scan the image at once, then wait until FILE exists.")
@evidence_changes
@click.option(
    "--plan", "plan_file", default="plan.json", show_default=True, metavar="FILE", help="Write the plan here."
)
@click.option("--receipt", default="receipt.json", show_default=True, metavar="FILE", help="Write the receipt here.")
@options.together(removal_options, options.strip, overwrite_tar, options.quiet)
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
    changes: Changes,
    plan_file: str,
    receipt: str,
    removals: Removals,
    strip: str,
    overwrite: bool,
    quiet: bool,
) -> int:
    """Plan from traces and export what stays, in one go. TRACE may be a directory: that means all traces in it.

    Run it in a new container that no test has touched.
    """
    place = destination(tar, layout)
    if place is None or (tar is not None and layout is not None):
        raise UsageError("choose exactly one of --tar and --oci", "see `slimagent export --help`")
    writing.require_writable(plan_file, writing.own_document(documents.PLAN))
    writing.require_writable(receipt, writing.own_document(documents.RECEIPT))
    removals = placed(removals, removals.path or beside(receipt), image)
    require_distinct((place.path, plan_file, receipt, removals.path, *changes["repair"], *dict.fromkeys(traces)))
    require_place(place, strip, quiet=quiet, overwrite=overwrite)
    console = Console(quiet=quiet)
    written = {tar or os.fsdecode(place.path), plan_file, receipt, removals.path}
    outputs = tuple(map(os.fsencode, sorted({*written, *traces})))
    asked = Asked(traces=traces, level=level, profile=profile, rules=rules, accepted=accepted, **changes)
    session, inventory, made = _planned(asked, outputs, image, when, console)
    data = documents.encode_plan(made)
    write(plan_file, data)
    done = _carried_out(
        session, inventory, made, digest(data), removals, Export(destination=place, strip=strip), console
    )
    write(receipt, documents.encode_receipt(done))
    if not quiet:
        terminal.lines([*plan_summary(made), *before_and_after(done)])
    return 0


def _carried_out(
    session: Session,
    inventory: Inventory,
    made: Plan,
    plan_digest: str,
    removals: Removals,
    target: Export,
    console: Console,
) -> Receipt:
    action = Action(
        session=session,
        plan=made,
        digest=plan_digest,
        reporter=console,
        inspect=lambda: inventory,
        removals=removals,
    )
    return carry_out(action, target)


def _planned(
    asked: Asked, outputs: tuple[bytes, ...], image: ImageConfig | None, when: str | None, console: Console
) -> tuple[Session, Inventory, Plan]:
    """Scan the image, wait for the file `when`, and plan. Scan again only if the traces have another view of it."""
    session = options.session(outputs=outputs, image=image)
    inventory, owned = _look(session, console)
    if when is not None:
        await_file(when)
    prepared = prepare(asked, Console(quiet=True), outputs=outputs, image=image)
    if not pipeline.is_same_view(session, prepared.session):
        inventory, owned = _look(prepared.session, console)
    return prepared.session, inventory, prepared.plan(console, inventory, owned)


def _look(session: Session, console: Console) -> tuple[Inventory, Owners]:
    inventory = pipeline.inspect(session, console)
    return inventory, pipeline.find_owners(inventory, console)


COMMANDS = (export,)
