"""`slimagent explain`: what a plan keeps and drops, and why a path or a package stays or goes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click

from slimagent.cli import options, terminal
from slimagent.cli.explain_places import Listing
from slimagent.cli.help import command
from slimagent.cli.terminal import Styled
from slimagent.errors import DocumentError, UsageError
from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt
from slimagent.model.reason import Verdict
from slimagent.paths.algebra import to_text
from slimagent.report.explain import Explainer, Explanation
from slimagent.report.explain_places import SORTS
from slimagent.report.gpu import held_table
from slimagent.report.text import plan_summary, size, table
from slimagent.text.escapes import quoted
from slimagent.text.json_output import indented
from slimagent.text.near import meant_package, nearest, question
from slimagent.workflows.finished import Finished

_LARGEST = 15
_SHOWN = 3  # paths that may be meant
_COLOURS = {Verdict.KEEP: "green", Verdict.DROP: "red", None: "yellow"}


@command(example="slimagent explain slimagent-out\nslimagent explain slimagent-out dpkg:vim /usr/bin/git")
@click.argument("out", metavar="OUT")
@click.argument("things", metavar="[PATH|PACKAGE]...", nargs=-1)
@click.option(
    "--sort",
    type=click.Choice(tuple(SORTS)),
    default="size",
    show_default=True,
    help="Sort what is in a directory by this.",
)
@click.option(
    "--most",
    type=click.IntRange(min=1),
    default=_LARGEST,
    show_default=True,
    metavar="N",
    help="List at most N things.",
)
@options.as_json
def explain(out: str, things: tuple[str, ...], sort: str, most: int, as_json: bool) -> int:
    """Say what a plan keeps and drops, or why a path or a package stays or goes.

    OUT is the output directory of `slimagent image` or `slimagent run`, or a plan. Without a PATH or PACKAGE it lists
    the largest things that go and stay. Of a directory it lists what is in it, with sizes. A PATH may be a pattern:
    /opt/**/*.so. A package is named KIND:NAME, e.g. dpkg:vim, python:torch or r:ggplot2, or NAME alone; `*` and `?`
    match. Write ./NAME for a file that is named like a package.
    """
    run = Finished(out)
    made, receipt = run.require_plan(), _receipt(run)
    explainer = Explainer(made, receipt)
    if not things:
        _overview(explainer, made, receipt, most, as_json=as_json)
        return 0
    listing = Listing(explainer, made, sort, most)
    explanations, unknown = list[Explanation](), list[UsageError]()
    for thing in things:
        try:
            if listing.add_pattern(thing):
                continue
            explanations += _explain(explainer, made, thing)
        except UsageError as error:
            unknown.append(error)
            continue
        if explanations[-1].verdict is None:
            if not as_json:  # an error says it already
                explanations.pop()
            unknown.append(_unknown_path(explainer, made, thing))
    for each in explanations:
        listing.add_directory(each.what)
    if as_json:
        terminal.json(indented([*(_row(each) for each in explanations), *listing.rows()]))
    else:
        _show_all(explanations, listing)
    if unknown:  # after the answers to the others
        raise _together(unknown)
    return 0


def _together(unknown: list[UsageError]) -> UsageError:
    """One error for all things that are not known, each with its own hint."""
    first, *others = unknown
    if not others:
        return first
    said = [f"{each.message} ({each.hint})" if each.hint else each.message for each in unknown]
    return UsageError("; ".join(said), "name a path of the image from its root, and a package as KIND:NAME")


def _receipt(run: Finished) -> Receipt | None:
    """What was done with the plan. A plan explains itself without it, so one of another run is left aside."""
    try:
        return run.receipt
    except DocumentError:
        return None


def _explain(explainer: Explainer, plan: Plan, thing: str) -> list[Explanation]:
    found = [] if thing.startswith(("/", "./", "../")) else explainer.packages(thing)
    if found:
        return [explainer.explain_package(number) for number in found]
    explained = _explain_path(explainer, os.path.abspath(os.fsencode(thing)), here=plan.root == b"/")
    if explained.verdict is None and "/" not in thing:
        raise UsageError(f"the plan has no package {quoted(thing)}, and no file of that name", _near(plan, thing))
    return [explained]


def _unknown_path(explainer: Explainer, plan: Plan, thing: str) -> UsageError:
    """The error for a path that the plan does not list, with those that may be meant."""
    path = os.path.abspath(os.fsencode(thing))
    message = f"the plan knows nothing of {to_text(path)}"
    from_root = os.path.normpath(os.path.join(b"/", os.fsencode(thing)))
    if explainer.explain(from_root).verdict is not None:
        return UsageError(message, f"did you mean {to_text(from_root)}? other paths are below the current directory")
    above, name = os.path.split(path)
    same = sorted(each.path for each in plan.entries if os.path.basename(each.path) == name)
    beside = (os.path.basename(each.path) for each in plan.entries if os.path.dirname(each.path) == above)
    if same:
        return UsageError(message, question([to_text(each) for each in same[:_SHOWN]]))
    near = nearest(to_text(name), map(to_text, beside))
    hint = f"{near[:-1]} in {to_text(above)}?" if near else "name a path of the image from its root, e.g. /usr/bin/git"
    return UsageError(message, hint)


def _near(plan: Plan, thing: str) -> str:
    near = meant_package(thing, (each.package.label for each in plan.packages))
    return near or "name a package as KIND:NAME, or a file by its absolute path"


def _explain_path(explainer: Explainer, path: bytes, *, here: bool) -> Explanation:
    """Explain a path of the plan. Inside the plan's image, also follow links in the path's directory."""
    found = explainer.explain(path)
    if found.verdict is None and here:
        real = explainer.explain(os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)))
        return found if real.verdict is None else real
    return found


def _overview(explainer: Explainer, plan: Plan, receipt: Receipt | None, most: int, *, as_json: bool) -> None:
    """What goes and what stays, the largest first."""
    largest = {verdict: explainer.largest(verdict, most) for verdict in (Verdict.DROP, Verdict.KEEP)}
    if as_json:
        rows = {
            str(verdict.value): [{"what": what, "size": length, "reason": why} for what, length, why in each]
            for verdict, each in largest.items()
        }
        terminal.json(indented(rows))
        return
    terminal.lines(plan_summary(plan, receipt))
    stay = "the largest that stay, in bytes that stay" + (" (before stripping)" if plan.savings else "")
    for title, verdict in (("the largest that go, in bytes that go", Verdict.DROP), (stay, Verdict.KEEP)):
        terminal.line("")
        terminal.line(Styled(title, _COLOURS[verdict], bold=True))
        for what, length, why in largest[verdict]:
            terminal.line(f"{size(length):>10}  {what}")
            terminal.line(f"{'':10}  ", Styled(why, dim=True))


def _row(each: Explanation) -> dict[str, object]:
    return {
        "what": each.what,
        "verdict": None if each.verdict is None else each.verdict.value,
        "level": each.level,
        "owners": list(each.owners),
        "size": each.size,
        "kept": each.kept,
        "saved": each.saved,
        "cost": each.cost,
        "stripped": each.stripped,
        "gpu": each.gpu,
        "gpu_code": [
            dict(zip(("form", "architecture", "size", "pieces", "stays"), held[1:], strict=True)) for held in each.held
        ],
        "chain": [{"what": what, "reason": sentence} for what, sentence in each.chain],
    }


def _sizes(each: Explanation) -> Iterator[tuple[str, int]]:
    """The sizes of a path or a package, each with what it is. Those that say the same are left out."""
    has_more = each.saved or 0 < each.kept < each.size
    yield "size in the image" if has_more else "size", each.size
    if 0 < each.kept < each.size:
        yield "stays before stripping" if each.saved else "stays", each.kept
    if each.saved:
        yield "stays after stripping", max(each.kept - each.saved, 0)


def _show_all(explanations: list[Explanation], listing: Listing) -> None:
    for each in explanations:
        _show(each)
    for line in listing.lines():
        terminal.line(line)


def _show(each: Explanation) -> None:
    word = "unknown" if each.verdict is None else each.verdict.value
    terminal.line(f"{each.what}  ", Styled(word, _COLOURS[each.verdict], bold=True))
    facts = []
    if each.verdict is not None:
        facts += [[name, size(length)] for name, length in _sizes(each)]
        facts.append(["level", each.level])
    if each.stripped:
        facts.append(["symbols", each.stripped])
    if each.gpu:
        facts.append(["GPU code", each.gpu])
    if each.owners:
        facts.append(["owner", ", ".join(each.owners)])
    for line in table(facts):
        terminal.line(f"  {line}")
    for line in held_table(each.held):
        terminal.line(f"    {line}")
    for depth, (what, sentence) in enumerate(each.chain):
        shown = sentence if depth == 0 else f"{what}: {sentence}"
        terminal.line(f"{'  ' * (depth + 1)}{'because' if depth else '-'} {shown}")
    if each.cost:
        terminal.line(f"  {each.cost}")


COMMANDS = (explain,)
