"""`slimagent apply`: do what a plan says."""

from __future__ import annotations

import functools
import os

import click

from slimagent import documents
from slimagent.apply import Destination, Layout
from slimagent.cli import options, terminal, writing
from slimagent.cli.console import Console
from slimagent.cli.help import command
from slimagent.cli.in_place import Removal, in_place_options
from slimagent.cli.layout import destination, layout_options, overwrite_tar, require_distinct, require_place
from slimagent.cli.removing import beside, placed, removal_options
from slimagent.errors import DocumentError, UsageError
from slimagent.linux.files import digest, read, write
from slimagent.model.image_config import ImageConfig
from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt
from slimagent.model.removed import INSIDE, NAME
from slimagent.paths.algebra import to_text
from slimagent.report.text import receipt_summary, stripped_files
from slimagent.workflows import pipeline
from slimagent.workflows.applying import Action, Export, InPlace, Target, export, is_exported, remove
from slimagent.workflows.removals import Removals
from slimagent.workflows.session import Session


@command(example="slimagent apply plan.json --tar rootfs.tar && docker import rootfs.tar app:slim")
@click.argument("plan", metavar="PLAN")
@options.root
@click.option("--tar", metavar="FILE", help="Write the slim root file system as a tar file, for `docker import`.")
@layout_options
@click.option("--to", "directory", metavar="DIR", help="Write the slim root file system into a new or empty directory.")
@in_place_options
@options.together(removal_options, options.strip, options.accept_change)
@click.option("-o", "--output", metavar="FILE", help="Write the receipt here.")
@options.together(overwrite_tar, options.quiet)
def apply(
    plan: str,
    root: str,
    tar: str | None,
    image: ImageConfig | None,
    layout: Layout | None,
    directory: str | None,
    here: Removal | None,
    removals: Removals,
    strip: str,
    accepted_changes: tuple[str, ...],
    output: str | None,
    overwrite: bool,
    quiet: bool,
) -> int:
    """Carry out PLAN: write a tar file, an image or a directory, or remove files in place."""
    if sum(each is not None for each in (tar, layout, directory, here)) != 1:
        raise UsageError("choose exactly one of --tar, --oci, --to and --in-place", "for a tar file: --tar rootfs.tar")
    place = destination(tar, layout, directory)
    if output is not None:
        writing.require_writable(output, writing.own_document(documents.RECEIPT))
    require_distinct((plan, output, None if place is None else place.path))
    require_place(place, strip, quiet=quiet, overwrite=overwrite)
    data = read(plan)
    made = documents.decode_plan(data, plan)
    removals = placed(removals, _list(removals, plan, root, place, here, output), image)
    journal = None if here is None else here.journal
    outputs = (plan, output, removals.path or None, None if place is None else place.path, journal)
    require_distinct(outputs)
    session = options.session(
        root=root,
        scopes=tuple(os.fsdecode(each) for each in made.scopes if each != b"/"),
        outputs=tuple(os.fsencode(each) for each in outputs if each is not None),
        image=image,
    )
    target = _target(place, journal, strip, accepted_changes)
    seen = pipeline.seen_as(session, made)
    lines = _carry_out(seen, made, digest(data), target, output, removals, Console(quiet=quiet))
    if not quiet:
        terminal.lines(lines)
    if here is not None:
        here.leave()
    return 0


def _target(place: Destination | None, journal: str | None, strip: str, accepted_changes: tuple[str, ...]) -> Target:
    if place is not None:
        return Export(destination=place, strip=strip, accepted=options.accepted(accepted_changes))
    return InPlace(journal=None if journal is None else os.fsencode(journal), strip=strip)


def _carry_out(
    session: Session,
    made: Plan,
    plan_digest: str,
    target: Target,
    output: str | None,
    removals: Removals,
    console: Console,
) -> list[str]:
    """Carry out the plan, unless that was done before. Returns the lines to print."""

    def save(receipt: Receipt) -> None:
        if output is not None:
            write(output, documents.encode_receipt(receipt))

    inspect = functools.partial(pipeline.inspect, session, console)
    action = Action(
        session=session,
        plan=made,
        digest=plan_digest,
        reporter=console,
        inspect=inspect,
        save=save,
        removals=removals,
    )
    if isinstance(target, InPlace):
        receipt = remove(action, target)
    elif output is not None and _is_exported(target, plan_digest, output):
        return [f"nothing to do: the export that {output} describes exists"]
    else:
        receipt = export(action, target)
    if receipt is None:
        return [f"nothing to do: everything that the plan drops is gone from {to_text(session.root)}"]
    return [*receipt_summary(receipt), *stripped_files(receipt, made)]


def _list(
    removals: Removals, plan: str, root: str, place: Destination | None, here: Removal | None, output: str | None
) -> str:
    """Where the list of what went is written: as asked for, or beside the receipt, the export, or the plan.

    Empty if it would be removed at once, with the agent and the plan.
    """
    if here is not None and removals.inside:
        if removals.path:
            raise UsageError("--in-place: the list of what went has one place", "choose --removed or --removed-inside")
        return os.path.join(os.path.abspath(root), os.fsdecode(INSIDE).lstrip("/"))
    if removals.path or output is not None:
        return removals.path or beside(str(output))
    if place is not None:
        return f"{os.fsdecode(place.path)}.{NAME}"
    return "" if here is not None and here.own is not None else f"{plan}.{NAME}"


def _is_exported(target: Export, plan_digest: str, output: str) -> bool:
    """Whether an earlier receipt is of this very export, and the export still exists."""
    if not os.path.isfile(output):
        return False
    try:
        receipt = documents.decode_receipt(read(output), output)
    except DocumentError:
        return False
    return is_exported(target, plan_digest, receipt)


COMMANDS = (apply,)
