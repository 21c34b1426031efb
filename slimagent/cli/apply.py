"""`slimagent apply`: do what a plan says."""

from __future__ import annotations

import os

import click

from slimagent import documents, pipeline
from slimagent.cli import options
from slimagent.cli.console import Console
from slimagent.errors import RefusedError, UsageError
from slimagent.files import digest, read, write
from slimagent.report.text import receipt_summary
from slimagent.session import in_container


@click.command()
@click.argument("plan", metavar="PLAN")
@options.root
@click.option("--tar", metavar="FILE", help="Write the slim root file system as a tar, for `docker import`.")
@click.option("--to", "folder", metavar="DIR", help="Write it as a tree into a new or empty folder.")
@click.option("--in-place", is_flag=True, help="Remove from the image itself; refused on / outside a container.")
@click.option("--force", is_flag=True, help="With --in-place: also on / outside a container.")
@click.option("-o", "--output", metavar="FILE", help="The receipt to write.")
@options.quiet
def apply(
    plan: str,
    root: str,
    tar: str | None,
    folder: str | None,
    in_place: bool,
    force: bool,
    output: str | None,
    quiet: bool,
) -> int:
    """Carry out PLAN: as a tar file, as a tree, or in place."""
    if sum((tar is not None, folder is not None, in_place)) != 1:
        raise UsageError("say where to: exactly one of --tar, --to and --in-place", "see `slimagent apply --help`")
    if in_place and not force and os.path.realpath(root) == "/" and not in_container():
        raise RefusedError(
            "--in-place on / outside a container would remove files of this machine",
            "run it in a container of the image, name the image's folder with --root, or insist with --force",
        )
    for file in (tar, output):
        if file is not None:
            options.require_writable(file)
    if folder is not None:
        options.require_folder_for(folder)
    data = read(plan)
    made = documents.decode_plan(data, plan)
    outputs = tuple(os.fsencode(each) for each in (plan, tar, folder, output) if each is not None)
    session = options.session(
        root=root, scopes=tuple(os.fsdecode(each) for each in made.scopes if each != b"/"), outputs=outputs
    )
    session = pipeline.also_excluded(session, made.excluded)
    target = pipeline.Target(
        tar=None if tar is None else os.fsencode(os.path.abspath(tar)),
        folder=None if folder is None else os.fsencode(os.path.abspath(folder)),
        in_place=in_place,
    )
    receipt = pipeline.carry_out(session, made, digest(data), target, Console(quiet=quiet))
    if output is not None:
        write(output, documents.encode_receipt(receipt))
    if not quiet:
        click.echo("\n".join(receipt_summary(receipt)))
    return 0


COMMANDS = (apply,)
