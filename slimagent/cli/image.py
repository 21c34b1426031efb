"""`slimagent image`: image in, slim image out, from outside."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection

import click
import orjson

from slimagent import profiles
from slimagent.cli import options, terminal
from slimagent.cli.agent import agent_bundle
from slimagent.cli.console import Console
from slimagent.cli.containers import container_options
from slimagent.cli.starting import start_options
from slimagent.cli.wishes import NAMES as WISHES
from slimagent.cli.wishes import wishes
from slimagent.image.engine import Container, Engine, find
from slimagent.image.output import Output
from slimagent.image.request import Request
from slimagent.image.starts import Waiting
from slimagent.image.work import OUT
from slimagent.report.pull_request import pull_request
from slimagent.report.reach import Configured, Reach, reach
from slimagent.rules import Rules
from slimagent.slim_image import Slimmed, slim
from slimagent.started import KIND

_STEPS, _REMOVAL = {"also"}, {"strip"}
_DECISION = {"level", "accepted", *WISHES}


@click.command(short_help="Make a slim image from an image, and prove it.")
@click.argument("image", metavar="IMAGE")
@click.option("-t", "--tag", required=True, metavar="TAG", help="The name of the slim image.")
@click.option("--overwrite", is_flag=True, help="Take TAG from an image that slimagent did not make.")
@options.together(options.profile, options.level, wishes, options.strip, options.accept)
@click.option("--user", metavar="NAME", help="Run commands and checks as this user. [default: the image's own]")
@options.also
@start_options
@container_options
@click.option("--no-privileges", is_flag=True, help="Never start again with SYS_PTRACE added.")
@click.option("--agent", metavar="DIR", help="An agent made by `slimagent bundle`. [default: made, and cached]")
@click.option("--out", default="slimagent-out", show_default=True, metavar="DIR", help="Where every document goes.")
@click.option("--repair/--no-repair", default=True, show_default=True, help="Bring back what was missed, once.")
@click.option("--keep-failed", is_flag=True, help="Leave an image that is not proved under a name of its own.")
@options.together(options.quiet, options.as_json, options.command)
def image(
    container: Container,
    tag: str,
    overwrite: bool,
    profile: str | None,
    level: str | None,
    wished: Rules,
    strip: str,
    accepted: tuple[str, ...],
    user: str | None,
    also: tuple[str, ...],
    waiting: Waiting | None,
    engine: str | None,
    no_privileges: bool,
    agent: str | None,
    out: str,
    repair: bool,
    keep_failed: bool,
    quiet: bool,
    as_json: bool,
    command: tuple[str, ...],
) -> int:
    """Make TAG from IMAGE: start it, run a profile's checks and COMMAND, drop what is not needed, prove it.

    Needs Docker or Podman, no privilege beyond starting a container, and no registry. Every document is left in --out.

    \b
    slimagent image app:latest -t app:slim -- pytest -q /app/tests
    """
    files, steps = _profile(profile)
    request = Request(
        tag=tag,
        out=out,
        container=container,
        user=user or "",
        steps=(*steps, *_passed_on(_STEPS)),
        command=command,
        decision=_passed_on(_DECISION),
        removal=_passed_on(_REMOVAL),
        accepted=frozenset(accepted),
        files=files,
        repair=repair,
        start=waiting,
        may_add_privileges=not no_privileges,
        overwrite=overwrite,
        keep_failed=keep_failed,
    )
    console = Console(quiet=quiet)
    text, summary = _slim(find(engine), request, agent, console, quiet=quiet)
    if as_json:
        terminal.json(summary.encode())
    elif not quiet:
        terminal.lines(text.split("\n"))
    return 0


def _slim(engine: Engine, request: Request, agent: str | None, console: Console, *, quiet: bool) -> tuple[str, str]:
    """Make the image. Returns its summary, as Markdown and as JSON; both are in the output directory, too."""
    made: list[str] = []

    def say(line: bytes) -> None:
        if not quiet:
            terminal.line(line.decode("utf-8", "replace").rstrip("\n"), err=True)

    def tell(line: str) -> None:
        terminal.line(line, err=True)

    def finish(output: Output, slimmed: Slimmed) -> None:
        made.append("\n".join(_lines(request, slimmed, console.seconds)))
        made.append(orjson.dumps(_summary(request, slimmed, console.seconds), option=orjson.OPT_INDENT_2).decode())
        output.write("summary.md", made[0].encode() + b"\n")
        output.write("summary.json", made[1].encode() + b"\n")
        if quiet:
            for warning in _reach(slimmed).warnings:
                tell(f"note: {warning}")

    slim(engine, lambda: agent_bundle(agent, console), request, console, say, tell, finish)
    return made[0], made[1]


def _lines(request: Request, slimmed: Slimmed, seconds: dict[str, float]) -> list[str]:
    return pull_request(
        request.container.image,
        request.tag,
        slimmed.plan,
        slimmed.receipt,
        slimmed.verification,
        slimmed.repaired,
        seconds,
        _reach(slimmed),
    )


def _reach(slimmed: Slimmed) -> Reach:
    config = slimmed.config
    configured = Configured(
        starts=bool(config.started), health_check=bool(config.health_command), ports=config.tcp_ports
    )
    trace = slimmed.trace
    starts = sum(step.kind == KIND for step in trace.steps)
    own = sum(each.found and any(step >= starts for step in each.steps) for each in trace.accesses)
    return reach(slimmed.plan, trace.steps, configured, trace.asked_ports, slimmed.outside, own)


def _summary(request: Request, slimmed: Slimmed, seconds: dict[str, float]) -> dict[str, object]:
    receipt = slimmed.receipt
    return {
        "image": request.container.image,
        "tag": request.tag,
        "passed": slimmed.verification.passed,
        "bytes_before": receipt.bytes_kept + receipt.bytes_dropped + receipt.bytes_stripped,
        "bytes_after": receipt.bytes_kept,
        "bytes_stripped": receipt.bytes_stripped,
        "layers": [
            {"component": each.component, "diff_id": each.diff_id, "bytes": each.size} for each in receipt.layers
        ],
        "warnings": list(_reach(slimmed).warnings),
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
