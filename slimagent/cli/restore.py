"""`slimagent restore`: bring removed paths back. `slimagent take` does the part of it that runs in a container."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import click

from slimagent.apply import Directory, Exported, Tar
from slimagent.cli import options, terminal, writing
from slimagent.cli.agent import agent_bundle
from slimagent.cli.console import Console
from slimagent.cli.help import command
from slimagent.cli.terminal import Styled
from slimagent.errors import UsageError
from slimagent.image.engine import ENGINES, find
from slimagent.image.run_record import NAME as RECORD
from slimagent.image.run_record import Record, decode_record
from slimagent.linux.files import read
from slimagent.paths.algebra import to_text
from slimagent.text.counted import counted
from slimagent.text.sizes import size
from slimagent.workflows import restoring
from slimagent.workflows.missing import RemovedList
from slimagent.workflows.taking import take as take_listed

_SHOWN = 5  # paths


@command(
    example="slimagent restore /usr/bin/git --from app:latest -t app:slim-git\n"
    "slimagent restore python:pyyaml --tar yaml.tar"
)
@click.argument("things", metavar="PATH|PACKAGE...", nargs=-1, required=True)
@click.option(
    "--from", "image", metavar="IMAGE", help="The image that the slim one was made from. [default: the run's]"
)
@click.option("--image", "slim", metavar="SLIM", help="The slim image to add a layer to. [default: the run's]")
@click.option("-t", "--tag", metavar="TAG", help="Make an image of this name: the slim one and a layer.")
@click.option("--tar", metavar="FILE", help="Write a tar file instead.")
@click.option("--to", "directory", metavar="DIR", help="Write a new directory instead, with no devices or setuid.")
@click.option(
    "--removed",
    default="slimagent-out",
    show_default=True,
    metavar="FILE|OUT",
    help="The list of what went, or the output directory of a run.",
)
@click.option("--overwrite", is_flag=True, help="Replace TAG or FILE even if slimagent did not make it.")
@click.option("--engine", type=click.Choice(ENGINES), help="Engine that has the images. [default: docker, else podman]")
@click.option("--agent", metavar="DIR", help="Use this agent, made by `slimagent bundle`. [default: a cached one]")
@options.quiet
def restore(engine: str | None, agent: str | None, quiet: bool, **given: Any) -> int:
    """Bring removed paths or packages back exactly as they were in IMAGE.

    Bytes, owners, modes, times, extended attributes and hard links are those of IMAGE. Only --to leaves out what would
    give rights on this host: device nodes, setuid and setgid bits and file capabilities. What a link leads to comes
    back with it. A package is named KIND:NAME, e.g. dpkg:vim, or NAME; `*` and `?` match. A directory comes back with
    what went from it.
    """
    asked, console = _asked(**given), Console(quiet=quiet, is_alone=True)

    def say(line: bytes) -> None:
        terminal.heard(line, err=True)  # the agent is quiet: these are notes

    done = restoring.restore(find(engine), lambda: agent_bundle(agent, console), asked, console, say)
    if not quiet:
        _show(done, asked)
    return 0


def _asked(
    things: tuple[str, ...],
    image: str | None,
    slim: str | None,
    tag: str | None,
    tar: str | None,
    directory: str | None,
    removed: str,
    overwrite: bool,
) -> restoring.Asked:
    if sum(each is not None for each in (tag, tar, directory)) != 1:
        raise UsageError("choose exactly one of --tag, --tar and --to", "for a new image: -t TAG")
    if tar is not None:
        writing.require_writable(tar, None if overwrite else writing.OWN_TAR)
    if directory is not None:
        writing.require_directory_for(directory)
        if os.path.lexists(directory) and (not os.path.isdir(directory) or os.listdir(directory)):
            raise UsageError(f"{directory} exists and is not an empty directory", "name a new directory")
    listed, record = RemovedList(removed), _record(removed)
    return restoring.Asked(
        listed=listed,
        things=things,
        image=_required(image or listed.head.image or (record.image if record else ""), "--from IMAGE"),
        slim=_required(slim or (record.tag if record else ""), "--image SLIM") if tag is not None else "",
        tag=tag or "",
        tar=tar or "",
        directory=directory or "",
        is_new=tar is not None and not os.path.lexists(tar),
        overwrite=overwrite,
    )


def _required(name: str, option: str) -> str:
    if not name:
        raise UsageError(f"nothing says which image is meant: give {option}", "a run of `slimagent image` records both")
    return name


def _record(removed: str) -> Record | None:
    """The record of the run that wrote the list, if there is one."""
    home = removed if os.path.isdir(removed) else os.path.dirname(removed)
    path = os.path.join(home, RECORD)
    return decode_record(read(path)) if os.path.isfile(path) else None


def _show(done: restoring.Restored, asked: restoring.Asked) -> None:
    if done.along:
        terminal.line(f"with what links lead to and other names of files: {_some(done.along)}")
    line = f"restored {counted(done.paths, 'path')}, {size(done.size)}, from {asked.image}: {restoring.shown(asked)}"
    terminal.line(Styled(line, "green", bold=True))


@command(example="slimagent take removed.jsonl.gz --tar restored.tar")
@click.argument("listed", metavar="LIST")
@click.option("--tar", metavar="FILE", help="Write a tar file.")
@click.option("--to", "directory", metavar="DIR", help="Write a new directory.")
@click.option("--layer", is_flag=True, help="With --tar: make the tar a layer of an image.")
@options.quiet
def take(listed: str, tar: str | None, directory: str | None, layer: bool, quiet: bool) -> int:
    """Export what a list of removed paths names, in a new container of the original image.

    It is refused if a path is not as the list has it.
    """
    if (tar is None) == (directory is None) or (layer and tar is None):
        raise UsageError("choose exactly one of --tar and --to; --layer needs --tar", "e.g. --tar restored.tar")
    path = os.fsencode(os.path.abspath(str(tar or directory)))
    if tar is not None:
        writing.require_writable(tar, writing.OWN_TAR)
        destination: Tar | Directory = Tar(path, for_engine=layer, is_new=not os.path.lexists(path))
    else:
        destination = Directory(path, for_host=True)
    session = options.session(outputs=(os.fsencode(listed), path))
    done = take_listed(session, RemovedList(listed), destination, Console(quiet=quiet))
    for line in _notes(done, is_directory=tar is None):
        terminal.line(line, err=True)
    return 0


def _notes(done: Exported, *, is_directory: bool) -> list[str]:
    """What is not as it was in the image, a line for each kind."""
    reasons: dict[str, list[bytes]] = {}
    for path, why in done.left_out:
        reasons.setdefault(why, []).append(path)
    lines = [
        f"slimagent: {counted(len(paths), 'path was', 'paths were')} left out ({why}): {_some(paths)}"
        for why, paths in reasons.items()
    ]
    if done.cleared:
        what = counted(len(done.cleared), "path", "paths")
        lines.append(
            f"slimagent: setuid and setgid bits and file capabilities of {what} were cleared: {_some(done.cleared)}"
        )
    if lines and is_directory:
        lines.append("  hint: --tar and --tag keep them exactly as they were")
    return lines


def _some(paths: Sequence[bytes]) -> str:
    """The first of some paths."""
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(map(to_text, paths[:_SHOWN])) + more


COMMANDS = (restore, take)
