"""`slimagent explain`: why a path stays or goes."""

from __future__ import annotations

import os

import click
import orjson

from slimagent import documents
from slimagent.cli import options
from slimagent.files import read
from slimagent.model import Verdict
from slimagent.paths import to_text
from slimagent.plan.explain import Explainer, Explanation

_COLOURS = {Verdict.KEEP: "green", Verdict.DROP: "red", None: "yellow"}


@click.command()
@click.argument("plan", metavar="PLAN")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@options.as_json
def explain(plan: str, paths: tuple[str, ...], as_json: bool) -> int:
    """Say why each PATH is kept or dropped, back to an access or a rule."""
    made = documents.decode_plan(read(plan), plan)
    explainer = Explainer(made)
    explanations = [_explain(explainer, os.path.abspath(os.fsencode(path)), here=made.root == b"/") for path in paths]
    if as_json:
        click.echo(orjson.dumps([_row(each) for each in explanations], option=orjson.OPT_INDENT_2).decode())
    else:
        for each in explanations:
            _show(each)
    return 0


def _explain(explainer: Explainer, path: bytes, *, here: bool) -> Explanation:
    """A path of the plan; if the image is the one that we are in, also one that leads over links to a folder."""
    found = explainer.explain(path)
    if found.verdict is None and here:
        real = explainer.explain(os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)))
        return found if real.verdict is None else real
    return found


def _row(each: Explanation) -> dict[str, object]:
    return {
        "path": to_text(each.path),
        "verdict": None if each.verdict is None else each.verdict.value,
        "size": each.size,
        "chain": [{"path": to_text(path), "reason": sentence} for path, sentence in each.chain],
    }


def _show(each: Explanation) -> None:
    word = "unknown" if each.verdict is None else each.verdict.value
    click.echo(f"{to_text(each.path)}  " + click.style(word, fg=_COLOURS[each.verdict], bold=True))
    for depth, (path, sentence) in enumerate(each.chain):
        shown = sentence if depth == 0 else f"{to_text(path)}: {sentence}"
        click.echo(f"{'  ' * (depth + 1)}{'because' if depth else '-'} {shown}")


COMMANDS = (explain,)
