"""What became of an image, as Markdown that a person can paste into a pull request. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from slimagent.report.text import share, size
from slimagent.results import Comparison
from slimagent.summaries import Summary

_SHOWN = 10
_UNKNOWN = "unknown"


def pull_request(summary: Summary) -> list[str]:
    """Lines: sizes, notes, proof and how far it reaches, what went, the layers, what failed before too, the time.

    Of a run that failed: why, and what it had come to by then.
    """
    return [
        f"### {_escaped(_headline(summary))}",
        "",
        *_failure(summary),
        *(f"- **Note:** {_escaped(note)}." for note in summary.notes),
        *([""] if summary.notes else []),
        *_proof(summary),
        *_reached(summary),
        *_gone(summary),
        *_layers(summary),
        *_already(summary),
        *_folded(
            "Seconds",
            _table(("phase", "seconds"), [(name, f"{spent:.1f}") for name, spent in summary.seconds.items()]),
        ),
        f"Level `{summary.level}`, {summary.tool}." if summary.level else f"{summary.tool}.",
    ]


def _headline(summary: Summary) -> str:
    if summary.failure is not None or summary.bytes_before is None or summary.bytes_after is None:
        return f"{summary.tag} was not made"
    before, after = summary.bytes_before, summary.bytes_after
    return f"{summary.tag}: {size(before)} → {size(after)}, {share(before - after, before)} smaller"


def _failure(summary: Summary) -> list[str]:
    """Why, as it was said on the terminal, and what is worse."""
    if summary.failure is None:
        return []
    lines = [f"{_escaped(summary.failure.message)}.", "", f"Hint: {_escaped(summary.failure.hint)}.", ""]
    if summary.worse:
        rows = [(each.name, each.before.value, each.after.value, _first(each)) for each in summary.worse[:_SHOWN]]
        lines += [*_table(("worse", "before", "after", "why"), rows, right=()), ""]
    return lines


def _proof(summary: Summary) -> list[str]:
    rows = [
        ("files", _size(summary.bytes_before), _size(summary.bytes_after)),
        ("paths", _count(summary.paths_before), _count(summary.paths_after)),
        ("checks and items that pass", _count(summary.passing_before), _count(summary.passing_after)),
        ("worse than before", "", _count(len(summary.worse) if summary.passed is not None else None)),
        ("files looked for in vain", "", _count(None if summary.missed is None else len(summary.missed))),
    ]
    if summary.repaired:
        rows.append(("files brought back after a first verification", "", f"{summary.repaired:,}"))
    return [*_table(("", f"`{summary.image}`", f"`{summary.tag}`"), rows), ""]


def _reached(summary: Summary) -> list[str]:
    """How far the steps went into the image."""
    whole = sum(each.bytes for each in summary.reached)
    rows = [
        (each.how, f"{each.packages:,}", f"{size(each.bytes)} ({share(each.bytes, whole)})") for each in summary.reached
    ]
    return [*_table(("packages", "number", "size"), rows), ""] if rows else []


def _gone(summary: Summary) -> list[str]:
    """Where the bytes went: by class of file, then whole packages, the largest first."""
    if summary.level is None:
        return []
    gone = summary.packages_dropped
    stripped = (
        ""
        if summary.files_stripped is None
        else f", {summary.files_stripped:,} files lost their symbols ({_size(summary.bytes_stripped)})"
    )
    lines = [f"{len(gone):,} packages went ({size(sum(each.bytes for each in gone))}){stripped}.", ""]
    if gone:
        rows = [(f"{each.kind}:{each.name}", size(each.bytes)) for each in gone[:_SHOWN]]
        title = "The largest of them (one of them: `slimagent explain plan.json KIND:NAME`)"
        lines += _folded(title, _table(("package", "size"), rows))
    if summary.dropped:
        classes = [(each.kind, f"{each.files:,}", size(each.bytes)) for each in summary.dropped]
        lines += _folded("What went, by class of file", _table(("class", "files", "size"), classes))
    return lines


def _layers(summary: Summary) -> list[str]:
    if not summary.layers:
        return []
    rows = [(each.component, size(each.size), f"{each.paths:,}") for each in summary.layers]
    return _folded("Layers", _table(("layer", "size", "paths"), rows))


def _already(summary: Summary) -> list[str]:
    failed = summary.failed_before
    rows = [(each.name, _first(each)) for each in failed]
    return _folded(f"{len(failed)} fail in the original, too", _table(("check", "why"), rows)) if failed else []


def _first(comparison: Comparison) -> str:
    return next(iter(comparison.detail.splitlines()), "")


def _size(count: int | None) -> str:
    return _UNKNOWN if count is None else size(count)


def _count(count: int | None) -> str:
    return _UNKNOWN if count is None else f"{count:,}"


def _folded(summary: str, lines: Sequence[str]) -> list[str]:
    return [f"<details><summary>{_escaped(summary)}</summary>", "", *lines, "", "</details>", ""]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] | None = None) -> list[str]:
    """A table; the columns in `right` are numbers: all but the first where nothing is said and there are several."""
    if right is None:
        right = range(1, len(head)) if len(head) > 2 or head[1] in ("size", "seconds") else ()
    marks = ["---:" if at in right else "---" for at in range(len(head))]
    return [_row(head), _row(marks), *(_row(list(map(_escaped, row))) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    """Text that Markdown and HTML take as it is: names and messages are the image's."""
    kept = "".join(each if each.isprintable() else " " for each in text)
    for old, new in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\\", "\\\\"), ("|", "\\|"), ("[", "\\[")):
        kept = kept.replace(old, new)
    return kept
