"""Show a result as Markdown that people can paste into a pull request. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from slimagent.model.proof import Comparison
from slimagent.model.summary import Place, Summary
from slimagent.report.text import share, size
from slimagent.text.counted import counted
from slimagent.text.escapes import markdown, markdown_code

_SHOWN = 10
_UNKNOWN = "unknown"


def pull_request(summary: Summary) -> list[str]:
    """The lines: sizes, notes, proof, how far it reaches, what was removed, layers, what failed before too, the time.

    For a failed run: why it failed, and the results until then.
    """
    return [
        f"### {_headline(summary)}",
        "",
        *_failure(summary),
        *(f"- **Note:** {markdown(note)}." for note in summary.notes),
        *([""] if summary.notes else []),
        *_proof(summary),
        *_reached(summary),
        *_gone(summary),
        *_layers(summary),
        *_already(summary),
        *_folded(
            "Seconds",
            _table(("phase", "seconds"), [(markdown(name), f"{spent:.1f}") for name, spent in summary.seconds.items()]),
        ),
        f"Level {markdown_code(summary.level)}, {markdown(summary.tool)}."
        if summary.level
        else f"{markdown(summary.tool)}.",
    ]


def _headline(summary: Summary) -> str:
    name = markdown(summary.tag or "the slim image")
    if summary.failure is not None or summary.bytes_before is None or summary.bytes_after is None:
        return f"{name} was not made"
    before, after = summary.bytes_before, summary.bytes_after
    return f"{name}: {size(before)} → {size(after)}, {share(before - after, before)} smaller"


def _failure(summary: Summary) -> list[str]:
    """Why the run failed, as on the terminal, and what is worse."""
    if summary.failure is None:
        return []
    lines = [f"{markdown(summary.failure.message)}.", "", f"Hint: {markdown(summary.failure.hint)}.", ""]
    if summary.worse:
        rows = [
            (markdown_code(each.name), each.before.value, each.after.value, markdown_code(_first(each)))
            for each in summary.worse[:_SHOWN]
        ]
        lines += [*_table(("worse", "before", "after", "why"), rows, right=()), ""]
    return lines


def _proof(summary: Summary) -> list[str]:
    rows = [
        ("size", _size(summary.bytes_before), _size(summary.bytes_after)),
        ("paths", _count(summary.paths_before), _count(summary.paths_after)),
        ("checks, starts and items that pass", _count(summary.passing_before), _count(summary.passing_after)),
        ("worse than before", "", _count(len(summary.worse) if summary.passed is not None else None)),
        ("removed files that were needed", "", _count(None if summary.missed is None else len(summary.missed))),
    ]
    if summary.repaired:
        rows.append(("files brought back after a first verification", "", f"{summary.repaired:,}"))
    return [*_table(("", markdown_code(summary.image or "before"), markdown_code(summary.tag or "after")), rows), ""]


def _reached(summary: Summary) -> list[str]:
    """How far the steps went into the image."""
    whole = sum(each.bytes for each in summary.reached)
    rows = [
        (each.how, f"{each.packages:,}", f"{size(each.bytes)} ({share(each.bytes, whole)})") for each in summary.reached
    ]
    return [*_table(("packages", "number", "size"), rows), ""] if rows else []


def _places(places: Sequence[Place]) -> list[str]:
    rows = [(markdown_code(each.directory), f"{each.files:,}", size(each.bytes)) for each in places[:_SHOWN]]
    return _table(("directory", "files", "size"), rows)


def _gone(summary: Summary) -> list[str]:
    """What was removed: by class of file, then whole packages, the largest first."""
    if summary.level is None:
        return []
    gone = summary.packages_dropped
    stripped = (
        ""
        if summary.files_stripped is None
        else f", {counted(summary.files_stripped, 'file')} stripped ({_size(summary.bytes_stripped)})"
    )
    lines = [f"{counted(len(gone), 'package')} removed ({size(sum(each.bytes for each in gone))}){stripped}.", ""]
    if gone:
        rows = [(markdown_code(f"{each.kind}:{each.name}"), size(each.bytes)) for each in gone[:_SHOWN]]
        title = "The largest of them (one of them: <code>slimagent explain plan.json KIND:NAME</code>)"
        lines += _folded(title, _table(("package", "size"), rows))
    if summary.unowned_dropped:
        lines += _folded("Removed files that no package owns", _places(summary.unowned_dropped))
    if summary.dropped:
        classes = [(each.kind, f"{each.files:,}", size(each.bytes)) for each in summary.dropped]
        lines += _folded("What was removed, by class of file", _table(("class", "files", "size"), classes))
    return lines


def _layers(summary: Summary) -> list[str]:
    if not summary.layers:
        return []
    rows = [(markdown_code(each.component), size(each.size), f"{each.paths:,}") for each in summary.layers]
    return _folded("Layers", _table(("layer", "size", "paths"), rows))


def _already(summary: Summary) -> list[str]:
    failed = summary.failed_before
    rows = [(markdown_code(each.name), markdown_code(_first(each))) for each in failed]
    return _folded(f"{len(failed)} fail in the original, too", _table(("check", "why"), rows)) if failed else []


def _first(comparison: Comparison) -> str:
    return next(iter(comparison.detail.splitlines()), "")


def _size(count: int | None) -> str:
    return _UNKNOWN if count is None else size(count)


def _count(count: int | None) -> str:
    return _UNKNOWN if count is None else f"{count:,}"


def _folded(summary: str, lines: Sequence[str]) -> list[str]:
    return [f"<details><summary>{summary}</summary>", "", *lines, "", "</details>", ""]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] | None = None) -> list[str]:
    """A table with Markdown in its cells. The columns in `right` are numbers; None: all but the first of several."""
    if right is None:
        right = range(1, len(head)) if len(head) > 2 or head[1] in ("size", "seconds") else ()
    marks = ["---:" if at in right else "---" for at in range(len(head))]
    return [_row(head), _row(marks), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
