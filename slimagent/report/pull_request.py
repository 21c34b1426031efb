"""Show a result as Markdown that people can paste into a pull request. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from slimagent.model.profile import COMPONENTS
from slimagent.model.proof import Comparison
from slimagent.model.summary import Place, Summary
from slimagent.paths.algebra import to_text
from slimagent.report.gate import gate_markdown
from slimagent.report.markdown import folded, row_table
from slimagent.report.repairs import needed_rows, round_line
from slimagent.report.search import answer, fate
from slimagent.report.since import since_line
from slimagent.report.smaller import smaller
from slimagent.report.text import share, size
from slimagent.text.counted import counted
from slimagent.text.escapes import markdown, markdown_code

_SHOWN = 10
_MOST_NEEDED = 200
_PART, _DEEPEST = "· ", 8
_UNKNOWN = "unknown"
_UNNAMED = "the slim image"  # as its history calls it


def pull_request(summary: Summary) -> list[str]:
    """The lines: sizes, notes, changes, the gate, proof, how far it reaches, what was removed, layers, the time.

    Also what failed before too. For a failed run: why it failed, and the results until then.
    """
    return [
        f"### {_headline(summary)}",
        "",
        *_failure(summary),
        *(f"- **Note:** {markdown(note)}." for note in summary.notes),
        *([""] if summary.notes else []),
        *([] if summary.since is None else [f"{markdown(since_line(summary.since, summary.tag or _UNNAMED))}.", ""]),
        *gate_markdown(summary.gate),
        *_searched(summary),
        *_proof(summary),
        *_reached(summary),
        *_repaired(summary),
        *_gone(summary),
        *_layers(summary),
        *_already(summary),
        *folded("Seconds", row_table(("phase", "seconds"), _phases(summary))),
        f"Level {markdown_code(summary.level)}, {markdown(summary.tool)}."
        if summary.level
        else f"{markdown(summary.tool)}.",
    ]


def _phases(summary: Summary) -> list[tuple[str, str]]:
    """What the run spent its time on: the parts of a phase stand below it, and the last row is the whole run."""
    rows = [
        (f"{_PART * min(each.depth, _DEEPEST)}{markdown(each.name)}", f"{each.seconds:.1f}") for each in summary.phases
    ]
    return rows if summary.seconds is None else [*rows, ("the whole run", f"{summary.seconds:.1f}")]


def _headline(summary: Summary) -> str:
    name = markdown(summary.tag or _UNNAMED)
    before, after = summary.bytes_before, summary.bytes_after
    if not summary.made or before is None or after is None:
        return f"{name} was not made"
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
        lines += [*row_table(("worse", "before", "after", "why"), rows, right=()), ""]
    return lines


def _searched(summary: Summary) -> list[str]:
    """What made a step worse that no lookup explains."""
    lines: list[str] = []
    for search in summary.searches:
        lines += [f"{markdown(answer(search))}.", ""]
        rows = [(markdown_code(to_text(each.path)), markdown(fate(each))) for each in search.causes[:_SHOWN]]
        if rows:
            lines += [*row_table(("file", "what happened to it"), rows, right=()), ""]
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
    return [*row_table(("", markdown_code(summary.image or "before"), markdown_code(summary.tag or "after")), rows), ""]


def _repaired(summary: Summary) -> list[str]:
    """The rounds of repair, and the files that steps needed."""
    if not summary.repairs:
        return []
    needed = list(needed_rows(summary.repairs))
    rows = [(markdown_code(path), number, markdown(why)) for path, number, why in needed[:_MOST_NEEDED]]
    table = row_table(("file", "round", "because"), rows, right=(1,))
    if len(needed) > _MOST_NEEDED:
        table += ["", f"… and {len(needed) - _MOST_NEEDED:,} more, in summary.json."]
    rounds = [f"- {markdown(round_line(each))}." for each in summary.repairs]
    return [*rounds, "", *folded("Brought back", table)]


def _reached(summary: Summary) -> list[str]:
    """How far the steps went into the image."""
    whole = sum(each.bytes for each in summary.reached)
    rows = [
        (each.how, f"{each.packages:,}", f"{size(each.bytes)} ({share(each.bytes, whole)})") for each in summary.reached
    ]
    return [*row_table(("packages", "number", "size in the image (of all packages)"), rows), ""] if rows else []


def _places(places: Sequence[Place]) -> list[str]:
    rows = [(markdown_code(each.directory), f"{each.files:,}", size(each.bytes)) for each in places[:_SHOWN]]
    return row_table(("directory", "files", "size"), rows)


def _gone(summary: Summary) -> list[str]:
    """What was removed: by class of file, then whole packages, the largest first."""
    if summary.level is None:
        return []
    gone = summary.packages_dropped
    lines = [f"{counted(len(gone), 'package')} removed; {size(sum(each.bytes for each in gone))} went with them.", ""]
    out_of_files = [f"- {markdown(each)}." for each in smaller(summary)]
    lines += [*out_of_files, ""] if out_of_files else []
    if gone:
        rows = [(markdown_code(f"{each.kind}:{each.name}"), size(each.bytes)) for each in gone[:_SHOWN]]
        title = "The largest removed packages (why one went: <code>slimagent explain OUT KIND:NAME</code>)"
        lines += folded(title, row_table(("package", "size"), rows))
    if summary.unowned_dropped:
        lines += folded("Removed files that no package owns", _places(summary.unowned_dropped))
    if summary.dropped:
        classes = [(markdown(each.kind), f"{each.files:,}", size(each.bytes)) for each in summary.dropped]
        lines += folded("What was removed, by class of file", row_table(("class", "files", "size"), classes))
    return lines


def _layers(summary: Summary) -> list[str]:
    if not summary.layers:
        return []
    rows = [
        (markdown(COMPONENTS.get(each.component, each.component)), size(each.size), f"{each.paths:,}")
        for each in summary.layers
    ]
    return folded("Layers", row_table(("layer", "size as tar", "paths"), rows))


def _already(summary: Summary) -> list[str]:
    failed = summary.failed_before
    rows = [(markdown_code(each.name), markdown_code(_first(each))) for each in failed]
    return folded(f"{len(failed)} fail in the original, too", row_table(("check", "why"), rows)) if failed else []


def _first(comparison: Comparison) -> str:
    return next(iter(comparison.detail.splitlines()), "")


def _size(count: int | None) -> str:
    return _UNKNOWN if count is None else size(count)


def _count(count: int | None) -> str:
    return _UNKNOWN if count is None else f"{count:,}"
