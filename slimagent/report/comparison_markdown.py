"""Show a comparison of runs or images as a comment on a pull request: the headline first, details folded. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from slimagent.model.comparison import ImageComparison, RunComparison, Side
from slimagent.report.comparison_text import (
    Comparison,
    answer,
    counts,
    moved_names,
    outcome,
    signed,
    sorted_checks,
    worse,
)
from slimagent.report.markdown import folded, row_table
from slimagent.report.text import size
from slimagent.text.counted import counted
from slimagent.text.escapes import markdown, markdown_code

_SHOWN = 30


def comparison_markdown(comparison: Comparison) -> list[str]:
    """The lines: the answer, the two images in a table, checks that changed; then what moved, by owner, what was asked.

    Differences are of B against A, as in a pull request that changes A into B.
    """
    if isinstance(comparison, ImageComparison):
        return [
            f"### {markdown(answer(comparison))}",
            "",
            *_two_images(comparison),
            *_moved(comparison, "bytes"),
            *_kinds(comparison, "size"),
            f"{markdown(comparison.tool)}.",
        ]
    return [
        f"### {markdown('; '.join(filter(None, (answer(comparison), worse(comparison)))))}",
        "",
        *_images(comparison),
        *_checks(comparison),
        *_moved(comparison, "bytes that stay, after stripping"),
        *_kinds(comparison, "stays"),
        *_settings(comparison),
        f"{markdown(comparison.tool)}.",
    ]


def _two_images(comparison: ImageComparison) -> list[str]:
    a, b = comparison.a, comparison.b
    rows = [
        ("size of the files", size(a.size), size(b.size), signed(b.size - a.size)),
        ("files", f"{a.files:,}", f"{b.files:,}", _signed(b.files - a.files)),
        ("packages", f"{a.packages:,}", f"{b.packages:,}", _signed(b.packages - a.packages)),
    ]
    head = ("", f"A: {markdown_code(a.image)}", f"B: {markdown_code(b.image)}", "difference")
    return [*row_table(head, rows), ""]


def _images(comparison: RunComparison) -> list[str]:
    a, b = comparison.a, comparison.b
    proof = {True: "passed", False: "failed", None: "not verified"}
    rows = [
        ("level", markdown(a.level), markdown(b.level), ""),
        ("image, before stripping", size(a.before), size(b.before), signed(b.before - a.before)),
        ("stays, after stripping", size(a.after), size(b.after), signed(b.after - a.after)),
        (
            "packages that stay",
            f"{a.packages_kept:,}",
            f"{b.packages_kept:,}",
            _signed(b.packages_kept - a.packages_kept),
        ),
        ("verification", proof[a.passed], proof[b.passed], ""),
    ]
    return [*row_table(("", f"A: {_name(a)}", f"B: {_name(b)}", "difference"), rows), ""]


def _name(side: Side) -> str:
    return markdown_code(side.tag or side.image or side.path)


def _signed(count: int) -> str:
    return f"{count:+,}" if count else "0"


def _checks(comparison: RunComparison) -> list[str]:
    if not comparison.checks:
        return []
    rows = [(markdown_code(each.name), outcome(each.a), outcome(each.b)) for each in sorted_checks(comparison)[:_SHOWN]]
    rest = len(comparison.checks) - len(rows)
    more = [f"… and {rest:,} more.", ""] if rest else []
    return [*row_table(("check that changed", "A", "B"), rows, right=()), "", *more]


def _moved(comparison: Comparison, unit: str) -> list[str]:
    if not comparison.moved:
        return []
    rows = [
        (signed(each.difference), each.movement.value, markdown_code(name), markdown(each.reason))
        for each, name in list(zip(comparison.moved, moved_names(comparison), strict=True))[:_SHOWN]
    ]
    rest = comparison.moved[_SHOWN:]
    more = ["", f"… and {len(rest):,} more ({signed(sum(each.difference for each in rest))})."] if rest else []
    lines = [*row_table((unit, "", "package", "why"), rows, right=(0,)), *more]
    return folded(f"{counted(len(comparison.moved), 'change')}: {counts(comparison)}", lines)


def _kinds(comparison: Comparison, what: str) -> list[str]:
    rows = [
        (
            markdown(each.kind) or "no owner",
            *((f"{each.packages_a:,}", f"{each.packages_b:,}") if each.kind else ("", "")),
            size(each.bytes_a),
            size(each.bytes_b),
            signed(each.bytes_b - each.bytes_a),
        )
        for each in comparison.kinds
    ]
    head = ("owner", "packages A", "B", f"{what} A", "B", "difference")
    return folded("By package manager", row_table(head, rows))


def _settings(comparison: RunComparison) -> list[str]:
    rows = [
        (markdown(each.name), _values(each.a), _values(each.b))
        for each in comparison.settings
        if each.name != "level"  # it is in the first table
    ]
    if not comparison.same_image:
        rows.insert(0, ("files of the image", "others than in B", "others than in A"))
    return folded("What the two runs were asked to do", row_table(("", "A", "B"), rows, right=())) if rows else []


def _values(values: Sequence[str]) -> str:
    shown = "<br>".join(map(markdown, values[:_SHOWN]))
    return f"{shown}<br>…" if len(values) > _SHOWN else shown
