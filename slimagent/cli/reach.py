"""`slimagent reach`: how far the proof of a run reaches, by leaving tests out of its evidence."""

from __future__ import annotations

import os
import re
from typing import Any

import click

from slimagent import documents
from slimagent.cli import options, terminal, writing
from slimagent.cli.agent import agent_bundle
from slimagent.cli.console import Console
from slimagent.cli.ending import chosen_form
from slimagent.cli.help import command
from slimagent.cli.passing import carried_profile, passed_on
from slimagent.cli.planning import Asked, prepare, repair
from slimagent.cli.rules import NAMES as RULE_OPTIONS
from slimagent.cli.rules import rule_options
from slimagent.cli.terminal import Styled
from slimagent.errors import UsageError
from slimagent.image.engine import ENGINES, find
from slimagent.image.work import OUT
from slimagent.linux.files import read, write
from slimagent.model.profile import LEVELS, Rules
from slimagent.model.reach import NAME, Reach
from slimagent.report import beyond
from slimagent.workflows import reaching
from slimagent.workflows.finished import TRACE, Finished

_REPAIR = re.compile(r"repair-([0-9]{1,4})(?:-full|-search)?\.json")
_PASSED_ON = frozenset({*RULE_OPTIONS, "levels", "most"})


@command(example="slimagent reach slimagent-out\nslimagent reach slimagent-out --level file --tests 50")
@click.argument("out", metavar="OUT|TRACE", required=True)
@click.option(
    "--level",
    "levels",
    multiple=True,
    type=click.Choice(LEVELS),
    help="Look at this level. Can be repeated. [default: all three]",
)
@click.option(
    "--tests",
    "most",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    help="Leave out at most so many tests, drawn at random.",
)
@options.together(options.profile, rule_options, options.accept, repair, options.image_config)
@click.option("--image", metavar="IMAGE", help="The image that was traced. [default: the run's]")
@click.option("--engine", type=click.Choice(ENGINES), help="Engine that has it. [default: docker, else podman]")
@click.option("--agent", metavar="DIR", help="Use this agent, made by `slimagent bundle`. [default: a cached one]")
@click.option("-o", "--output", metavar="FILE", help=f"Write the result here. [default: {NAME} in OUT]")
@options.together(options.quiet, options.form, options.as_json)
def reach(out: str, output: str | None, quiet: bool, form: str | None, as_json: bool, **given: Any) -> int:
    """Estimate what is missing for users who do what no test does.

    Leaves out each test of a trace, plans from the others, and counts what the test would have missed. Nothing is
    run. OUT is the output directory of `slimagent image`: the plans are made in a container of its image. Inside a
    container of the image, give the TRACE. Repeat the options with which the run decided what may go, e.g. --keep.
    """
    chosen = chosen_form(form, as_json=as_json)
    console = Console(quiet=quiet, is_alone=True)
    if os.path.isdir(out) or not os.path.exists(out):
        Finished(out)  # says what a run is, if this is not one
        output = output or os.path.join(out, NAME)
        writing.require_writable(output, writing.own_document(documents.REACH))
        made = _outside(out, console, **given)
    else:
        if output is not None:
            writing.require_writable(output, writing.own_document(documents.REACH))
        made = _here(out, output, console, **given)
    if output is not None:
        write(output, documents.encode_reach(made))
    if not quiet:
        _show(made, chosen)
    return 0


def _outside(
    out: str,
    console: Console,
    image: str | None,
    image_config: str | None,
    engine: str | None,
    agent: str | None,
    profile: str | None,
    accepted: tuple[str, ...],
    repair: tuple[str, ...],
    **_: Any,
) -> Reach:
    for option, value in (("--image-config", image_config), ("--repair", repair)):
        if value:
            raise UsageError(f"{option} is only used inside a container", "leave it out")
    finished = Finished(out)
    record = finished.record
    image = image or finished.image_id or (record.image if record else "")
    if not image:
        raise UsageError(f"{out} does not say which image was traced", "name it: --image IMAGE")
    path = os.path.join(out, TRACE)
    trace = read(path)
    documents.decode_trace(trace, path)
    files, words = carried_profile(profile)
    words += tuple(word for kind in accepted for word in ("--accept-loss", kind))
    repairs = _repairs(out)
    files |= repairs
    words += tuple(word for name in repairs for word in ("--repair", f"{OUT}/{name}"))

    def say(line: bytes) -> None:
        terminal.heard(line, err=True)

    asked = reaching.Asked(
        image=image,
        name=record.image if record else image,
        trace=trace,
        options=(*passed_on(_PASSED_ON), *words),
        files=files,
    )
    return reaching.reach_of_image(find(engine), lambda: agent_bundle(agent, console), asked, console, say)


def _repairs(out: str) -> dict[str, bytes]:
    """What a run's rounds of repair came from, in their order: of one round first what the slim image missed."""
    found = [(int(each[1]), each[0]) for name in os.listdir(out) if (each := _REPAIR.fullmatch(name))]
    order = sorted(found, key=lambda each: (each[0], each[1].count("-"), each[1]))
    return {name: read(os.path.join(out, name)) for _, name in order}


def _here(
    trace: str,
    output: str | None,
    console: Console,
    levels: tuple[str, ...],
    most: int,
    profile: str | None,
    rules: Rules,
    accepted: tuple[str, ...],
    repair: tuple[str, ...],
    image_config: str | None,
    image: str | None,
    engine: str | None,
    agent: str | None,
) -> Reach:
    misplaced = [name for name, value in (("image", image), ("engine", engine), ("agent", agent)) if value is not None]
    if misplaced:
        raise UsageError(f"--{misplaced[0]} is only used with the output directory of a run", "leave it out")
    prepared = prepare(
        Asked(traces=(trace,), level=None, profile=profile, rules=rules, accepted=accepted, repair=repair),
        console,
        outputs=tuple(os.fsencode(each) for each in (output, trace) if each is not None),
        image=options.read_image(image_config),
    )
    wanted = tuple(level for level in LEVELS if level in levels) or tuple(LEVELS)
    question = reaching.Question(
        trace=prepared.evidence,
        digests=prepared.digests,
        accepted=prepared.accepted,
        repairs=prepared.repairs,
        levels=wanted,
        most=most,
    )
    return reaching.reach(prepared.session, question, console)


def _show(made: Reach, form: str) -> None:
    if form == options.JSON:
        terminal.json(documents.encode_reach(made))
    elif form == options.MARKDOWN:
        terminal.lines(list(beyond.markdown(made)))
    else:
        *lines, last = beyond.lines(made)
        terminal.lines(lines)
        terminal.line(Styled(last, bold=True))


COMMANDS = (reach,)
