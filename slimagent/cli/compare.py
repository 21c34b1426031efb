"""`slimagent compare`: what two runs keep differently, or how two images differ."""

from __future__ import annotations

import os
from dataclasses import replace

import click

from slimagent import __version__, documents
from slimagent.cli import options, terminal
from slimagent.cli.agent import agent_bundle
from slimagent.cli.console import Console
from slimagent.cli.ending import chosen_form
from slimagent.cli.help import command
from slimagent.cli.terminal import Styled
from slimagent.errors import UsageError
from slimagent.image.engine import ENGINES, Engine, find
from slimagent.image.labels import identity
from slimagent.model.comparison import ImageComparison, Movement, RunComparison
from slimagent.model.references import is_reference
from slimagent.report import comparison_text
from slimagent.report.comparison_markdown import comparison_markdown
from slimagent.report.image_comparison import compare_images
from slimagent.report.run_comparison import compare_runs
from slimagent.workflows.audit_image import Asked, audit_image
from slimagent.workflows.finished import Finished, is_run

_TOOL = f"slimagent {__version__}"
_COLOURS = {Movement.CAME: "yellow", Movement.GREW: "yellow", Movement.WENT: "green", Movement.SHRANK: "green"}


@command(
    example="slimagent compare monday-out slimagent-out\n"
    "slimagent compare main-out slimagent-out --format markdown > comment.md\n"
    "slimagent compare app:1 app:2"
)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--engine", type=click.Choice(ENGINES), help="Engine that has the images. [default: docker, else podman]")
@click.option("--agent", metavar="DIR", help="Use this agent, made by `slimagent bundle`. [default: a cached one]")
@options.together(options.quiet, options.form, options.as_json)
def compare(a: str, b: str, engine: str | None, agent: str | None, quiet: bool, form: str | None, as_json: bool) -> int:
    """Say what two runs keep differently, or how two images differ, and why.

    A and B are two runs: output directories of `slimagent image` or `slimagent run`, or plans. Or they are two images.
    Differences are of B against A: what came, what went, and what grew, by package. Of runs it gives the reasons that
    `explain` gives, and the checks that ended differently. Of images it says what package managers recorded.
    """
    chosen = chosen_form(form, as_json=as_json)
    console = Console(quiet=quiet, is_alone=True)
    found: RunComparison | ImageComparison
    found = _runs(a, b, engine, agent) if _are_runs(a, b) else _images(a, b, find(engine), agent, console)
    if chosen == options.JSON:
        terminal.json(documents.encode_comparison(found))
    elif chosen == options.MARKDOWN:
        terminal.document("\n".join([*comparison_markdown(found), ""]))
    else:
        _show(found)
    return 0


def _are_runs(a: str, b: str) -> bool:
    """Whether the names are those of two runs, and not of two images. Raises UsageError for anything else."""
    for name in (a, b):
        if not is_run(name) and not is_reference(name):
            Finished(name).run()  # says what a run is, and that this is not one
    if is_run(a) is not is_run(b):
        run, other = (a, b) if is_run(a) else (b, a)
        is_what = "is not" if os.path.lexists(other) else "is no directory here"
        raise UsageError(
            f"{run} is a run, and {other} {is_what}: two runs can be compared, or two images",
            "name two directories that runs wrote, or two images, e.g. slimagent compare app:1 app:2",
        )
    return is_run(a)


def _runs(a: str, b: str, engine: str | None, agent: str | None) -> RunComparison:
    if engine is not None or agent is not None:
        raise UsageError(f"--engine and --agent are for images, and {a} is a run", "leave them out")
    return compare_runs(Finished(a).run(), Finished(b).run(), _TOOL)


def _images(a: str, b: str, engine: Engine, agent: str | None, console: Console) -> ImageComparison:
    identities = [_identity(engine, name) for name in (a, b)]

    def say(line: bytes) -> None:
        terminal.heard(line, err=True)

    of_a = audit_image(engine, lambda: agent_bundle(agent, console), Asked(image=a), console, say)
    if identities[0] == identities[1]:
        return compare_images(of_a, replace(of_a, image=b), _TOOL, same=True)
    of_b = audit_image(engine, lambda: agent_bundle(agent, console), Asked(image=b), console, say)
    return compare_images(of_a, of_b, _TOOL, same=False)


def _identity(engine: Engine, name: str) -> str:
    """The digest of an image. Raises UsageError if there is none of that name."""
    described = engine.find_image(name)
    if described is None:
        raise UsageError(
            f"{name} is neither the output directory of a run nor an image that {engine.name} has",
            f"get the image first: {engine.name} pull {name}",
        )
    return identity(described)


def _show(found: RunComparison | ImageComparison) -> None:
    terminal.lines(comparison_text.heading(found))
    blocks = [comparison_text.totals(found)]
    if isinstance(found, RunComparison):
        blocks = [comparison_text.settings(found), *blocks, comparison_text.checks(found)]
    for lines in blocks:
        if lines:
            terminal.line("")
            terminal.lines(lines)
    terminal.line("")
    for each in comparison_text.moved(found):
        terminal.line(Styled(each.head, _COLOURS.get(each.movement)), f"  {each.what}")
        for line in each.reason:
            terminal.line(comparison_text.INDENT, Styled(line, dim=True))
    more = comparison_text.more_moved(found)
    if more:
        terminal.line(more)
    if found.moved:
        terminal.line(comparison_text.counts(found))
    worse = comparison_text.worse(found) if isinstance(found, RunComparison) else ""
    if worse:
        terminal.line(Styled(worse, "red", bold=True))
    terminal.line(Styled(comparison_text.answer(found), bold=True))


COMMANDS = (compare,)
