"""`slimagent image`: image in, slim image out, from outside."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection

import click
import orjson

from slimagent import profiles
from slimagent.cli import options
from slimagent.cli.agent import agent_bundle
from slimagent.cli.console import Console, printable
from slimagent.cli.wishes import NAMES as WISHES
from slimagent.cli.wishes import wishes
from slimagent.files import make_folder, write
from slimagent.image.engine import ENGINES, Container, find
from slimagent.image.work import OUT
from slimagent.report.pull_request import pull_request
from slimagent.rules import Rules
from slimagent.slim_image import Slimmed, Wanted, slim

IN_IT = "· "  # a phase of the agent, which is part of one of ours
_STEPS, _DEED = {"also"}, {"strip"}
_DECISION = {"level", "accepted", *WISHES}


@click.command()
@click.argument("image", metavar="IMAGE")
@click.option("-t", "--tag", required=True, metavar="TAG", help="The name of the slim image.")
@options.together(options.profile, options.level, wishes, options.strip, options.accept)
@click.option("--user", metavar="NAME", help="Run commands and checks as this user. [default: the image's own]")
@options.also
@click.option("--engine", type=click.Choice(ENGINES), help="What runs containers. [default: docker, else podman]")
@click.option("--network", default="none", show_default=True, metavar="NAME", help="The containers' network.")
@click.option("-v", "--volume", "volumes", multiple=True, metavar="SPEC", help="A volume of the containers.")
@click.option("-e", "--env", multiple=True, metavar="NAME[=VALUE]", help="A variable of the containers.")
@click.option("--gpus", default="", metavar="SPEC", help="The containers' GPUs, as all.")
@click.option(
    "--run-option", "further", multiple=True, metavar="OPTION", help="Any option for containers, as --shm-size=2g."
)
@click.option("--agent", metavar="DIR", help="An agent made by `slimagent bundle`. [default: made, and cached]")
@click.option("--out", default="slimagent-out", show_default=True, metavar="DIR", help="Where every document goes.")
@click.option("--repair/--no-repair", default=True, show_default=True, help="Bring back what was missed, once.")
@options.together(options.quiet, options.as_json, options.command)
def image(
    image: str,
    tag: str,
    profile: str | None,
    level: str | None,
    wished: Rules,
    strip: str,
    accepted: tuple[str, ...],
    user: str | None,
    also: tuple[str, ...],
    engine: str | None,
    network: str,
    volumes: tuple[str, ...],
    env: tuple[str, ...],
    gpus: str,
    further: tuple[str, ...],
    agent: str | None,
    out: str,
    repair: bool,
    quiet: bool,
    as_json: bool,
    command: tuple[str, ...],
) -> int:
    """Make TAG from IMAGE: run a profile's checks and COMMAND in a container of it, drop what is not needed, prove it.

    Needs Docker or Podman, no privilege beyond starting a container, and no registry. Every document is left in --out.
    """
    its_engine = find(engine)
    files, steps = _profile(profile)
    container = Container(image=image, entry=(), network=network, volumes=volumes, env=env, gpus=gpus, further=further)
    wanted = Wanted(
        tag=tag,
        out=out,
        container=container,
        user=user or "",
        steps=(*steps, *_passed_on(_STEPS)),
        command=command,
        decision=_passed_on(_DECISION),
        deed=_passed_on(_DEED),
        files=files,
        repair=repair,
    )
    make_folder(out)
    console = Console(quiet=quiet)
    bundle = agent_bundle(agent, console)

    def say(line: bytes) -> None:
        if not quiet:
            click.echo(printable(line.decode("utf-8", "replace").rstrip("\n")), err=True)

    slimmed = slim(its_engine, bundle, wanted, console, say)
    seconds = {**console.seconds, **{f"{IN_IT}{name}": spent for name, spent in slimmed.seconds.items()}}
    lines = pull_request(image, tag, slimmed.plan, slimmed.receipt, slimmed.verification, slimmed.repaired, seconds)
    text = "\n".join(lines)
    write(os.path.join(out, "summary.md"), text.encode() + b"\n")
    if as_json:
        click.echo(orjson.dumps(_summary(tag, slimmed, seconds), option=orjson.OPT_INDENT_2).decode())
    elif not quiet:
        click.echo(text)
    return 0


def _summary(tag: str, slimmed: Slimmed, seconds: dict[str, float]) -> dict[str, object]:
    receipt = slimmed.receipt
    return {
        "tag": tag,
        "bytes_before": receipt.bytes_kept + receipt.bytes_dropped + receipt.bytes_stripped,
        "bytes_after": receipt.bytes_kept,
        "bytes_stripped": receipt.bytes_stripped,
        "layers": [
            {"component": each.component, "diff_id": each.diff_id, "bytes": each.size} for each in receipt.layers
        ],
        "missed": len(slimmed.verification.missed),
        "repaired": slimmed.repaired,
        "seconds": {name: round(spent, 3) for name, spent in seconds.items()},
    }


def _profile(name: str | None) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The files of a profile by where they go below the agent's output folder, and the option that names it there."""
    if name is None or name == profiles.AUTO:
        return {}, () if name is None else ("--profile", name)
    found = {os.path.abspath(path): data for path, data in profiles.files(name).items()}
    if not found:
        return {}, ("--profile", name)
    top = os.path.commonpath([os.path.dirname(path) for path in found])
    inside = {path: posixpath.join("profile", os.path.relpath(path, top)) for path in found}
    return {inside[path]: data for path, data in found.items()}, ("--profile", f"{OUT}/{inside[os.path.abspath(name)]}")


def _passed_on(names: Collection[str]) -> tuple[str, ...]:
    """Options of this command as they were given, for a command of the agent that has them too."""
    context = click.get_current_context()
    words: list[str] = []
    for parameter in context.command.params:
        if parameter.name not in names:
            continue
        value = context.params[parameter.name]
        if isinstance(value, bool):
            words.append((parameter.opts if value else parameter.secondary_opts)[0])
        elif isinstance(value, tuple):
            words += [word for each in value for word in (parameter.opts[0], str(each))]
        elif value is not None:
            words += [parameter.opts[0], str(value)]
    return tuple(words)


COMMANDS = (image,)
