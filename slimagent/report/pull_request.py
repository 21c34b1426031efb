"""What became of an image, as Markdown that a person can paste into a pull request. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slimagent.escapes import markdown, markdown_code
from slimagent.model import Plan, Receipt, Verdict, Verification
from slimagent.report.reach import Reach
from slimagent.report.text import share, single_things, size
from slimagent.results import Outcome
from slimagent.traces import BlindSpot

_SHOWN = 10


def pull_request(
    image: str,
    tag: str,
    plan: Plan,
    receipt: Receipt,
    verification: Verification,
    repaired: int,
    seconds: Mapping[str, float],
    reached: Reach,
) -> list[str]:
    """Lines: sizes, proof and how far that reaches, what went, the layers, what failed before too, the time it took.

    `repaired` counts files that were brought back because a first verification missed them.
    """
    before = receipt.bytes_kept + receipt.bytes_dropped + receipt.bytes_stripped
    smaller = share(before - receipt.bytes_kept, before)
    return [
        f"### {markdown(tag)}: {size(before)} → {size(receipt.bytes_kept)}, {smaller} smaller",
        "",
        *(f"- **Note:** {markdown(warning)}." for warning in reached.warnings),
        *([""] if reached.warnings else []),
        *_proof(image, tag, receipt, verification, repaired),
        "",
        *_table(("packages", "number", "size"), [tuple(map(markdown, row)) for row in reached.rows]),
        "",
        *_gone(plan, receipt),
        *_layers(receipt),
        *_already(verification),
        *_folded(
            "Seconds",
            _table(("phase", "seconds"), [(markdown(name), f"{spent:.1f}") for name, spent in seconds.items()]),
        ),
        f"Level {markdown_code(plan.level)}, {markdown(plan.tool)}.",
    ]


def _proof(image: str, tag: str, receipt: Receipt, verification: Verification, repaired: int) -> list[str]:
    before = receipt.bytes_kept + receipt.bytes_dropped + receipt.bytes_stripped
    things = single_things(verification)
    blind = BlindSpot.LOOKUPS in verification.blind_spots
    rows = [
        ("files", size(before), size(receipt.bytes_kept)),
        ("paths", f"{receipt.kept + receipt.dropped:,}", f"{receipt.kept:,}"),
        (
            "checks and items that pass",
            f"{sum(each.before is Outcome.PASSED for each in things):,}",
            f"{sum(each.after is Outcome.PASSED for each in things):,}",
        ),
        ("worse than before", "", f"{sum(each.worse for each in verification.comparisons):,}"),
        ("files looked for in vain", "", "unknown" if blind else f"{len(verification.missed):,}"),
    ]
    if repaired:
        rows.append(("files brought back after a first verification", "", f"{repaired:,}"))
    return _table(("", markdown_code(image), markdown_code(tag)), rows)


def _gone(plan: Plan, receipt: Receipt) -> list[str]:
    """Where the bytes went: whole packages by their manager, the largest first, then what else."""
    whole = [each for each in plan.packages if plan.reasons[each.reason].verdict is Verdict.DROP and each.size]
    whole.sort(key=lambda each: (-(each.size - each.kept), each.package.kind, each.package.name))
    lines = [
        f"{len(whole):,} packages went ({size(sum(each.size - each.kept for each in whole))}), "
        f"{receipt.stripped:,} files lost their symbols ({size(receipt.bytes_stripped)}).",
        "",
    ]
    if not whole:
        return lines
    rows = [
        (markdown_code(f"{each.package.kind}:{each.package.name}"), size(each.size - each.kept))
        for each in whole[:_SHOWN]
    ]
    return [
        *lines,
        *_folded(
            "The largest of them (one of them: <code>slimagent explain plan.json KIND:NAME</code>)",
            _table(("package", "size"), rows),
        ),
    ]


def _layers(receipt: Receipt) -> list[str]:
    if not receipt.layers:
        return []
    rows = [(markdown_code(each.component), size(each.size), f"{each.paths:,}") for each in receipt.layers]
    return _folded("Layers", _table(("layer", "size", "paths"), rows))


def _already(verification: Verification) -> list[str]:
    failed = [each for each in verification.comparisons if each.before is Outcome.FAILED is each.after]
    rows = [(markdown_code(each.name), markdown_code((each.detail.splitlines() or [""])[0])) for each in failed]
    return _folded(f"{len(failed)} fail in the original, too", _table(("check", "why"), rows)) if failed else []


def _folded(summary: str, lines: Sequence[str]) -> list[str]:
    return [f"<details><summary>{summary}</summary>", "", *lines, "", "</details>", ""]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table whose columns but the first are numbers, where there are more than two. Cells are Markdown."""
    marks = ["---", *("---:" if len(head) > 2 or head[1] in ("size", "seconds") else "---" for _ in head[1:])]
    return [_row(head), _row(marks), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
