"""`slimagent explain`: why a path or a package stays or goes."""

from __future__ import annotations

import os

import click
import orjson

from slimagent import documents
from slimagent.cli import options, terminal
from slimagent.cli.terminal import Styled
from slimagent.linux.files import read
from slimagent.model.plan import Plan
from slimagent.model.reason import Verdict
from slimagent.report.explain import Explainer, Explanation
from slimagent.report.text import size, table

_COLOURS = {Verdict.KEEP: "green", Verdict.DROP: "red", None: "yellow"}


@click.command()
@click.argument("plan", metavar="PLAN")
@click.argument("things", metavar="PATH|PACKAGE...", nargs=-1, required=True)
@options.as_json
def explain(plan: str, things: tuple[str, ...], as_json: bool) -> int:
    """Say why each PATH or PACKAGE is kept or dropped, back to an access or a rule.

    A package is named as dpkg:vim, python:torch, r:ggplot2, or by its name alone; `*` and `?` match. A file in
    the working folder is named with ./ if a package has its name.
    """
    made = documents.decode_plan(read(plan), plan)
    explainer = Explainer(made)
    explanations = [each for thing in things for each in _explain(explainer, made, thing)]
    if as_json:
        terminal.json(orjson.dumps([_row(each) for each in explanations], option=orjson.OPT_INDENT_2))
    else:
        for each in explanations:
            _show(each)
    return 0


def _explain(explainer: Explainer, plan: Plan, thing: str) -> list[Explanation]:
    found = [] if thing.startswith(("/", "./", "../")) else explainer.packages(thing)
    if found:
        return [explainer.explain_package(number) for number in found]
    return [_explain_path(explainer, os.path.abspath(os.fsencode(thing)), here=plan.root == b"/")]


def _explain_path(explainer: Explainer, path: bytes, *, here: bool) -> Explanation:
    """A path of the plan; if the image is the one that we are in, also one that leads over links to a folder."""
    found = explainer.explain(path)
    if found.verdict is None and here:
        real = explainer.explain(os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)))
        return found if real.verdict is None else real
    return found


def _row(each: Explanation) -> dict[str, object]:
    return {
        "what": each.what,
        "verdict": None if each.verdict is None else each.verdict.value,
        "level": each.level,
        "owners": list(each.owners),
        "size": each.size,
        "cost": each.cost,
        "stripped": each.stripped,
        "chain": [{"what": what, "reason": sentence} for what, sentence in each.chain],
    }


def _show(each: Explanation) -> None:
    word = "unknown" if each.verdict is None else each.verdict.value
    terminal.line(f"{each.what}  ", Styled(word, _COLOURS[each.verdict], bold=True))
    facts = []
    if each.verdict is not None:
        kept = f", {size(each.kept)} of it stays" if 0 < each.kept < each.size else ""
        facts.append(["size", f"{size(each.size)}{kept}"])
        facts.append(["level", each.level])
    if each.stripped:
        facts.append(["symbols", each.stripped])
    if each.owners:
        facts.append(["owner", ", ".join(each.owners)])
    for line in table(facts):
        terminal.line(f"  {line}")
    for depth, (what, sentence) in enumerate(each.chain):
        shown = sentence if depth == 0 else f"{what}: {sentence}"
        terminal.line(f"{'  ' * (depth + 1)}{'because' if depth else '-'} {shown}")
    if each.cost:
        terminal.line(f"  {each.cost}")


COMMANDS = (explain,)
