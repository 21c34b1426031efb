"""Show a result as lines for a terminal: aligned tables, and the answer last. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from slimagent.model.summary import Place, Summary
from slimagent.paths.algebra import to_text
from slimagent.report.gate import gate_lines, verdict
from slimagent.report.passing import passing
from slimagent.report.repairs import needed_rows, round_line
from slimagent.report.search import search_lines
from slimagent.report.since import since_lines
from slimagent.report.smaller import smaller
from slimagent.report.text import caution, share, size, table, verified
from slimagent.text.counted import counted

_SHOWN = 8
_UNKNOWN = "unknown"
_UNNAMED = "the slim image"  # as its history calls it


def result(summary: Summary, directory: str, *, has_plan: bool = True) -> list[str]:
    """The lines: what was proved, reached and removed, what is worse, notes, changes, the gate, and the answer last.

    `directory` holds the documents; without a plan in it, nothing there can be explained. An empty line separates
    blocks.
    """
    blocks = [
        _proof(summary),
        _reached(summary),
        _gone(summary, directory if has_plan else ""),
        _repaired(summary),
        _worse(summary),
        [line for each in summary.searches for line in search_lines(each)],
        caution(summary.caution),
        [f"note: {note}" for note in summary.notes],
        [] if summary.since is None else since_lines(summary.since, summary.tag or _UNNAMED),
        [*gate_lines(summary.gate), verdict(summary.gate)] if summary.gate else [],
        [*_exported(summary), f"documents and logs: {directory}/", headline(summary)],
    ]
    return [line for block in blocks if block for line in (*block, "")][:-1]


def headline(summary: Summary) -> str:
    """The result in one line."""
    name = summary.tag or _UNNAMED
    before, after = summary.bytes_before, summary.bytes_after
    if not summary.made or before is None or after is None:
        return f"{name} was not made"
    return f"{name}: {size(before)} -> {size(after)}, {share(before - after, before)} smaller"


def _proof(summary: Summary) -> list[str]:
    rows = [
        ["", summary.image or "before", summary.tag or "after"],
        ["size", _size(summary.bytes_before), _size(summary.bytes_after)],
        ["paths", _count(summary.paths_before), _count(summary.paths_after)],
        ["checks, starts and items that pass", _count(summary.passing_before), _count(summary.passing_after)],
        ["worse than before", "", _count(len(summary.worse) if summary.passed is not None else None)],
        ["removed files that were needed", "", _count(None if summary.missed is None else len(summary.missed))],
    ]
    if summary.repaired:
        rows.append(["files brought back after a first verification", "", f"{summary.repaired:,}"])
    rounds = map(round_line, summary.repairs)
    return [*table(rows, right=(1, 2)), *rounds, _verified(summary)]


def _verified(summary: Summary) -> str:
    """How the slim image was verified, and which things the number of those that pass is made of."""
    said = verified(summary.verified, summary.passed)
    if not summary.passing_after:
        return said
    return f"{said}: {passing(summary)} {'passes' if summary.passing_after == 1 else 'pass'}"


def _reached(summary: Summary) -> list[str]:
    whole = sum(each.bytes for each in summary.reached)
    rows = [
        [each.how, f"{each.packages:,}", size(each.bytes), share(each.bytes, whole)]
        for each in summary.reached
        if each.packages or each.bytes
    ]
    head = ["packages", "number", "size in the image", "of all packages"]
    return table([head, *rows], right=(1, 2, 3)) if rows else []


def _gone(summary: Summary, directory: str) -> list[str]:
    """What went. `directory` has the plan; it is empty if no plan is there."""
    classes = [[each.kind, f"{each.files:,}", size(each.bytes)] for each in summary.dropped[:_SHOWN]]
    rest = summary.dropped[_SHOWN:]
    if rest:
        more = counted(len(rest), "more class", "more classes")
        classes.append(
            [f"… and {more}", f"{sum(each.files for each in rest):,}", size(sum(each.bytes for each in rest))]
        )
    lines = table([["removed", "files", "size"], *classes], right=(1, 2)) if classes else []
    packages = [[f"{each.kind}:{each.name}", size(each.bytes)] for each in summary.packages_dropped[:_SHOWN]]
    if packages:
        title = f"the largest of {counted(len(summary.packages_dropped), 'removed package')}"
        command = shlex.join(["slimagent", "explain", directory, packages[0][0]])
        ask = [f"why, and what keeps one: {command}"] if directory else []
        lines += [*([""] if lines else []), *table([[title, "size"], *packages], right=(1,)), *ask]
    if summary.unowned_dropped:
        lines += [*([""] if lines else []), *_nobody_s(summary.unowned_dropped)]
    return [*lines, *smaller(summary, directory)]


def _nobody_s(places: Sequence[Place]) -> list[str]:
    """Files that no package owns: the user's own, perhaps."""
    files, whole = sum(each.files for each in places), sum(each.bytes for each in places)
    rows = [[f"  {each.directory}", f"{each.files:,}", size(each.bytes)] for each in places[:_SHOWN]]
    title = f"removed, and no package owns {'it' if files == 1 else 'them'}"
    lines = table([[title, f"{files:,}", size(whole)], *rows], right=(1, 2))
    return [*lines, "--keep 'DIRECTORY/**' keeps what lies in one"]


def _exported(summary: Summary) -> list[str]:
    export, lines = summary.export, list[str]()
    if export is not None and summary.command == "run":  # of `image` no archive is left
        lines.append(f"archive: {size(export.bytes)}, sha256:{export.sha256}")
    if summary.left_alone:
        lines.append(f"{counted(summary.left_alone, 'path was', 'paths were')} left alone: receipt.json says why")
    return lines


def _repaired(summary: Summary) -> list[str]:
    """The files that repair brought back because a step needed them."""
    rows = [list(row) for row in needed_rows(summary.repairs)]
    if not rows:
        return []
    lines = table([["brought back", "round", "because"], *rows[:_SHOWN]])
    return [*lines, f"… and {len(rows) - _SHOWN:,} more (in summary.json)"] if len(rows) > _SHOWN else lines


def _worse(summary: Summary) -> list[str]:
    """What is worse, and the removed files that were needed."""
    worse = [[each.name, each.before.value, each.after.value, _first(each.detail)] for each in summary.worse]
    missed = [[to_text(each.path), ", ".join(each.steps)] for each in summary.missed or ()]
    lines: list[str] = []
    for head, rows in ((["worse", "before", "after", "why"], worse), (["removed, but needed", "by"], missed)):
        if rows:
            lines += [*([""] if lines else []), *table([head, *rows[:_SHOWN]])]
            lines += [f"… and {len(rows) - _SHOWN:,} more (in verification.json)"] if len(rows) > _SHOWN else []
    return lines


def _first(text: str) -> str:
    return next(iter(text.splitlines()), "")


def _size(count: int | None) -> str:
    return _UNKNOWN if count is None else size(count)


def _count(count: int | None) -> str:
    return _UNKNOWN if count is None else f"{count:,}"
