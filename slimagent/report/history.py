"""A history as tables and plots for a terminal, and as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from slimagent.model.history import NOBODY, PastRun
from slimagent.report.since import in_time, kin
from slimagent.report.text import table
from slimagent.text.counted import counted
from slimagent.text.escapes import markdown, markdown_code, printable
from slimagent.text.sizes import share, signed, size

BLOCKS, PLAIN = "▁▂▃▄▅▆▇█", "_.-~=+*#"  # from low to high
_WIDE = 18  # characters of an image's name in a table that fits into so many columns:
_COLUMNS = 80
_SHORTEST = 8
_LEVEL = 7  # of which the longest name of a level takes so many
_HEAD = ("before", "after", "smaller by", "change")
_POINTS = 40  # of a plot
Rows = Sequence[tuple[PastRun, int | None]]


def with_changes(runs: Iterable[PastRun]) -> Rows:
    """Runs by their time, each with the change of its size since the one before of the same image."""
    rows: list[tuple[PastRun, int | None]] = []
    same: dict[object, PastRun] = {}
    for run in in_time(runs):
        last = same.get(run.name) or same.get(kin(run))
        rows.append((run, None if last is None else run.bytes_after - last.bytes_after))
        if run.passed is not False:
            same[run.name] = same[kin(run)] = run
    return rows


def history_table(rows: Rows, columns: int = _COLUMNS) -> list[str]:
    """The runs, the latest last, in so many columns of a terminal; an image's name is cut to fit.

    Their levels are shown if they differ: runs of two levels say little together.
    """
    has_labels = any(run.label for run, _ in rows)
    has_levels = len({run.level for run, _ in rows}) > 1
    wide = max(_WIDE - has_levels * _LEVEL + columns - _COLUMNS, _SHORTEST)
    lines = [["when", "image", *_only(has_levels, "level"), *_HEAD, *_only(has_labels, "label")]]
    for run, change in rows:
        cells = [run.minute, shortened(run.name, wide), *_only(has_levels, run.level), *_figures(run, change)]
        lines.append([*cells, *_only(has_labels, run.label)])
    first = 2 + has_levels
    return table(lines, right=tuple(range(first, first + len(_HEAD))))


def _only(has_it: bool, cell: str) -> list[str]:
    """A cell of a column that not every table has."""
    return [cell] if has_it else []


def shortened(name: str, width: int = _WIDE) -> str:
    """A name without its beginning, if it is too long: images of one registry differ in their ends."""
    return name if len(name) <= width else f"...{name[3 - width :]}"


def _figures(run: PastRun, change: int | None) -> list[str]:
    smaller = share(run.bytes_before - run.bytes_after, run.bytes_before)
    since = "" if change is None else signed(change)
    return [size(run.bytes_before), size(run.bytes_after), smaller, "not proved" if run.passed is False else since]


def history_markdown(rows: Rows) -> list[str]:
    """The same for a pull request."""
    lines = [
        "| when | image | level | before | after | smaller by | change | label |",
        "|---|---|---|---:|---:|---:|---:|---|",
    ]
    for run, change in rows:
        cells = [run.minute, markdown_code(run.name), markdown(run.level), *_figures(run, change), markdown(run.label)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def plots(rows: Rows, marks: str, *, by_component: bool) -> list[str]:
    """The size of each image over time; or of each component of it, with its first and last size."""
    images: dict[str, list[PastRun]] = {}
    for run, _ in rows:
        images.setdefault(run.name, []).append(run)
    lines = []
    for name, runs in images.items():
        if by_component:
            lines += ["", *_components(name, runs, marks)]
        elif len(runs) > 1:
            lines.append(_plot(name, runs, marks))
    return lines[1:] if by_component else lines


def _plot(name: str, runs: Sequence[PastRun], marks: str) -> str:
    sizes = [run.bytes_after for run in runs]
    return f"{shortened(printable(name), 40)}, {counted(len(runs), 'run')}, {_course(sizes)}: {spark(sizes, marks)}"


def _course(sizes: Sequence[int]) -> str:
    """The first and the last size, and the smallest and the largest if these are others."""
    first, last, low, high = sizes[0], sizes[-1], min(sizes), max(sizes)
    said = size(first) if low == high else f"first {size(first)}, last {size(last)}"
    return said if {low, high} <= {first, last} else f"{said}, all between {size(low)} and {size(high)}"


def _components(name: str, runs: Sequence[PastRun], marks: str) -> list[str]:
    sizes: list[Mapping[str, int]] = [dict(run.components) for run in runs]
    names = list(dict.fromkeys(each for known in sizes for each in known))
    series = {each: [known.get(each, 0) for known in sizes] for each in names}
    series[_STRIPPED] = [-run.bytes_stripped for run in runs]
    ordered = sorted(series, key=lambda each: -series[each][-1])
    title = [shortened(name, 40), "first", "last", "change", ""]
    lines = [_component(each, series[each], marks) for each in ordered if any(series[each])]
    total = _component("the slim image", [run.bytes_after for run in runs], marks)
    return table([title, *lines, total], right=(1, 2, 3))


_STRIPPED = "saved by stripping"


def _component(name: str, sizes: Sequence[int], marks: str) -> list[str]:
    shown: Callable[[int], str] = signed if name == _STRIPPED else size
    first, last = shown(sizes[0]), shown(sizes[-1])
    return ["nobody" if name == NOBODY else name, first, last, signed(sizes[-1] - sizes[0]), spark(sizes, marks)]


def spark(values: Sequence[int], marks: str) -> str:
    """Values as a line of marks, from the lowest to the highest; the last ones, if there are many.

    >>> spark([5, 5, 6, 9], PLAIN)
    '__.#'
    """
    shown = values[-_POINTS:]
    low, high = min(shown), max(shown)
    if low == high:
        return marks[len(marks) // 2] * len(shown)
    return "".join(marks[(value - low) * (len(marks) - 1) // (high - low)] for value in shown)
