"""`slimagent audit`: what is in an image, and what could be smaller."""

from __future__ import annotations

import os
from dataclasses import replace

import click

from slimagent import documents
from slimagent.cli import options, terminal, writing
from slimagent.cli.agent import agent_bundle
from slimagent.cli.console import Console
from slimagent.cli.ending import chosen_form
from slimagent.cli.help import command
from slimagent.cli.passing import carried_profile, passed_on
from slimagent.cli.terminal import Styled
from slimagent.errors import UsageError
from slimagent.image.engine import ENGINES, find
from slimagent.linux.files import read, write
from slimagent.model.audit import HERE, Audit, Layers
from slimagent.profiles import shipped as profiles
from slimagent.report import audit as report
from slimagent.workflows import pipeline
from slimagent.workflows.audit_image import Asked, audit_image
from slimagent.workflows.auditing import audit_here, require_fit
from slimagent.workflows.exercise import Reporter
from slimagent.workflows.tracing import merged

_INSIDE = (
    "root",
    "scopes",
    "image_config",
    "layers",
    "only_compare",
)  # options for the container that an audit runs in
_OUTSIDE = ("engine", "agent")


@command(example="slimagent audit app:latest --trace slimagent-out/trace.json")
@click.argument("image", metavar="[IMAGE]", required=False)
@click.option(
    "--trace", "traces", multiple=True, metavar="FILE", help="A trace of the image: say also what no test used."
)
@options.together(options.root, options.scope, options.accept)
@click.option("--profile", metavar="NAME|FILE", help="Rules to use. [default: the trace's, else base]")
@click.option("--engine", type=click.Choice(ENGINES), help="Engine that has IMAGE. [default: docker, else podman]")
@click.option("--agent", metavar="DIR", help="Use this agent, made by `slimagent bundle`. [default: a cached one]")
@options.image_config
@click.option(
    "--layers", metavar="FILE", hidden=True, help="The image's layers, as `slimagent audit IMAGE` reads them."
)
@click.option("--only-compare", is_flag=True, hidden=True, help="Only refuse a trace of another image.")
@click.option("-o", "--output", metavar="FILE", help="Write the audit here, too.")
@click.option("--all", "whole", is_flag=True, help="Show every finding.")
@options.together(options.quiet, options.form, options.as_json)
def audit(
    image: str | None,
    traces: tuple[str, ...],
    root: str,
    scopes: tuple[str, ...],
    accepted: tuple[str, ...],
    profile: str | None,
    engine: str | None,
    agent: str | None,
    image_config: str | None,
    layers: str | None,
    only_compare: bool,
    output: str | None,
    whole: bool,
    quiet: bool,
    form: str | None,
    as_json: bool,
) -> int:
    """List what is in IMAGE, layer by layer and package by package, and what could be smaller.

    Each finding has the bytes that it saves, the evidence, the risk, and the edit. It needs no test; with a trace it
    says more. Without IMAGE it audits this container, whose layers it cannot see.
    """
    chosen = chosen_form(form, as_json=as_json)
    if output is not None:
        writing.require_writable(output, writing.own_document(documents.AUDIT))
    _require_placed(image)
    console = Console(quiet=quiet, is_alone=image is not None)
    if image is None:
        here = _here(traces, root, scopes, accepted, profile, image_config, layers, output, only_compare, console)
        if here is None:
            return 0
        made = here
    else:
        made = _outside(image, traces, accepted, profile, engine, agent, console)
    if output is not None:
        write(output, documents.encode_audit(made))
        console.say(f"wrote {output}")
    is_part = layers is not None and output is not None  # of `slimagent audit IMAGE`, which prints the result itself
    if not is_part:
        _show(made, chosen, whole=whole)
    return 0


def _require_placed(image: str | None) -> None:
    """Refuse an option that is for an audit of the other kind, with or without IMAGE."""
    misplaced = passed_on(_OUTSIDE if image is None else _INSIDE)
    if misplaced:
        where = "with IMAGE" if image is None else "without IMAGE, for the container that it runs in"
        raise UsageError(
            f"{misplaced[0]} is only used {where}", f"leave {misplaced[0]} out; see slimagent audit --help"
        )


def _outside(
    image: str,
    traces: tuple[str, ...],
    accepted: tuple[str, ...],
    profile: str | None,
    engine: str | None,
    agent: str | None,
    console: Console,
) -> Audit:
    if len(traces) > 1:
        raise UsageError("one trace is enough", "merge several first: slimagent merge TRACE... -o trace.json")
    if profile not in (None, profiles.AUTO):
        profiles.load(str(profile))  # what is wrong with it is said before the layers are read
    files, words = carried_profile(profile)
    words += tuple(word for kind in accepted for word in ("--accept-loss", kind))
    trace = read(traces[0]) if traces else None
    if trace is not None:
        evidence = documents.decode_trace(trace, traces[0])
        if profile is None:
            options.profile_of(evidence)

    def say(line: bytes) -> None:
        terminal.heard(line, err=True)

    asked = Asked(image=image, trace=trace, options=words, files=files)
    return audit_image(find(engine), lambda: agent_bundle(agent, console), asked, console, say)


def _here(
    traces: tuple[str, ...],
    root: str,
    scopes: tuple[str, ...],
    accepted: tuple[str, ...],
    profile: str | None,
    image_config: str | None,
    layers: str | None,
    output: str | None,
    only_compare: bool,
    reporter: Reporter,
) -> Audit | None:
    """Audit what is here. None if the trace was only to be compared with it."""
    evidence = merged(((trace, read(trace)) for trace in traces), reporter)[0] if traces else None
    by_name = options.profile_of(evidence) if evidence and profile is None else None
    rules = by_name or options.chosen_profile(profile, True, None)
    session = options.session(
        root=root,
        scopes=scopes,
        profile=replace(rules, user=""),  # nothing is run
        outputs=tuple(os.fsencode(each) for each in (output, layers, *traces) if each is not None),
        image=options.read_image(image_config),
    )
    if evidence is not None:
        session = pipeline.seen_as(session, evidence)
    if only_compare:
        if evidence is not None:
            require_fit(session, evidence, frozenset(accepted), reporter)
        return None
    known = Layers() if layers is None else documents.decode_layers(read(layers), layers)
    return audit_here(session, evidence, frozenset(accepted), reporter, known, HERE)


def _show(audit: Audit, form: str, *, whole: bool) -> None:
    if form == options.JSON:
        terminal.json(documents.encode_audit(audit))
    elif form == options.MARKDOWN:
        terminal.lines(list(report.markdown(audit)))
    else:
        *lines, last = report.lines(audit, whole=whole)
        terminal.lines(lines)
        terminal.line(Styled(last, "green", bold=True))


COMMANDS = (audit,)
