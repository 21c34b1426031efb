"""A history on a terminal: a table that lines up in 80 columns, and plots that stay in their marks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from document_values import PAST_RUN, PAST_RUNS
from hypothesis import given
from hypothesis import strategies as st

from slimagent.model.history import PastRun, Weight
from slimagent.report.history import (
    BLOCKS,
    PLAIN,
    history_markdown,
    history_table,
    plots,
    shortened,
    spark,
    with_changes,
)

MB = 1_000_000


def run(day: int, after: int, **changes: object) -> PastRun:
    return replace(
        PAST_RUN, plan=str((day, changes)), when=f"2026-11-{day:02}T08:30:00Z", label="",
        bytes_before=1000 * MB, bytes_after=after * MB, bytes_stripped=10 * MB,
        components=(Weight("dpkg", 300 * MB), Weight("python", (after - 290) * MB), Weight("", 0)), **changes,
    )  # fmt: skip


RUNS = [run(3, 450), run(1, 400), run(2, 425), run(4, 100, tag="other:slim"), run(5, 440, passed=False), run(6, 430)]


def test_the_table() -> None:
    """By time, whatever the order of the lines; each with the change since the last proved run of the same image."""
    assert history_table(with_changes(RUNS)) == [
        "when              image        before     after  smaller by      change",
        "2026-11-01 08:30  app:slim    1.00 GB  400.0 MB      60.0 %",
        "2026-11-02 08:30  app:slim    1.00 GB  425.0 MB      57.5 %    +25.0 MB",
        "2026-11-03 08:30  app:slim    1.00 GB  450.0 MB      55.0 %    +25.0 MB",
        "2026-11-04 08:30  other:slim  1.00 GB  100.0 MB      90.0 %",
        "2026-11-05 08:30  app:slim    1.00 GB  440.0 MB      56.0 %  not proved",
        "2026-11-06 08:30  app:slim    1.00 GB  430.0 MB      57.0 %    -20.0 MB",
    ]


def test_labels_stand_at_the_end() -> None:
    """After the time to the minute: there can be several runs on one day."""
    lines = history_table(with_changes([replace(RUNS[1], label="torch 2.4"), RUNS[2]]))
    assert lines[0].split() == ["when", "image", "before", "after", "smaller", "by", "change", "label"]
    assert lines[1].startswith("2026-11-01 08:30  app:slim") and lines[1].endswith("torch 2.4")


def test_a_table_fits_a_terminal() -> None:
    """Of a long name the end is shown."""
    name = "registry.example.org:5000/team/project/application:2026.11-slim"
    lines = history_table(with_changes([run(1, 400, tag=name), run(2, 300, tag=name)]))
    assert max(map(len, lines)) <= 80
    assert all("...on:2026.11-slim" in line for line in lines[1:])
    assert shortened("short", 18) == "short"


def test_runs_of_several_levels_say_which() -> None:
    """Their sizes say little together; the table still fits a terminal."""
    name = "registry.example.org:5000/team/project/application:2026.11-slim"
    lines = history_table(with_changes([run(1, 400, tag=name), replace(run(2, 300, tag=name), level="file")]))
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[:3] == ["when", "image", "level"]
    assert "  package  " in lines[1] and "  file     " in lines[2]


def test_the_plot_of_each_image() -> None:
    """One run is no line over time."""
    assert plots(with_changes(RUNS), PLAIN, by_component=False) == [
        "app:slim, 5 runs, first 400.0 MB, last 430.0 MB, all between 400.0 MB and 450.0 MB: _~#+="
    ]
    assert plots(with_changes(RUNS[:1]), BLOCKS, by_component=False) == []


def test_a_plot_says_which_size_was_first() -> None:
    """An image that shrank does not read as one that grew."""
    shrank = with_changes([run(1, 800), run(2, 700)])
    assert plots(shrank, PLAIN, by_component=False) == ["app:slim, 2 runs, first 800.0 MB, last 700.0 MB: #_"]
    same = with_changes([run(1, 800), run(2, 800)])
    assert plots(same, PLAIN, by_component=False) == ["app:slim, 2 runs, 800.0 MB: =="]


def test_a_wide_table_has_the_whole_name() -> None:
    """Where no terminal is, or a wide one."""
    name = "registry.example.org:5000/team/project/application:2026.11-slim"
    rows = with_changes([run(1, 400, tag=name)])
    assert name not in "".join(history_table(rows))
    assert name in "".join(history_table(rows, 200))


def test_the_plot_by_component() -> None:
    """What each owner has at first and at last, the largest first, what stripping saves, and the whole."""
    rows = with_changes(RUNS[:3])
    assert plots(rows, PLAIN, by_component=True) == [
        "app:slim               first      last    change",
        "dpkg                300.0 MB  300.0 MB       0 B  ===",
        "python              110.0 MB  160.0 MB  +50.0 MB  _~#",
        "saved by stripping  -10.0 MB  -10.0 MB       0 B  ===",
        "the slim image      400.0 MB  450.0 MB  +50.0 MB  _~#",
    ]


def test_markdown() -> None:
    lines = history_markdown(with_changes([replace(RUNS[1], label="a|b"), RUNS[2]]))
    assert lines[2] == "| 2026-11-01 08:30 | `app:slim` | package | 1.00 GB | 400.0 MB | 60.0 % |  | a\\|b |"
    assert lines[3] == "| 2026-11-02 08:30 | `app:slim` | package | 1.00 GB | 425.0 MB | 57.5 % | +25.0 MB |  |"


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=60), st.sampled_from((BLOCKS, PLAIN)))
def test_a_plot_rises_where_the_values_do(values: list[int], marks: str) -> None:
    """A larger value never has a lower mark; the lowest and the highest have the ends."""
    drawn, shown = spark(values, marks), values[-40:]
    assert len(drawn) == len(shown)
    heights = [marks.index(mark) for mark in drawn]
    for one, height in zip(shown, heights, strict=True):
        assert all(lower <= height for other, lower in zip(shown, heights, strict=True) if other <= one)
    if min(shown) < max(shown):
        assert {heights[shown.index(min(shown))], heights[shown.index(max(shown))]} == {0, len(marks) - 1}


@given(st.lists(PAST_RUNS, min_size=1, max_size=4))
def test_any_history_can_be_shown(runs: list[PastRun]) -> None:
    """Each run is one line, with whatever names and sizes."""
    rows = with_changes(runs)
    assert len(history_table(rows)) == len(runs) + 1 == len(history_markdown(rows)) - 1
    for by_component in (True, False):
        assert all(line.isprintable() for line in plots(rows, PLAIN, by_component=by_component) if "\t" not in line)


@pytest.mark.parametrize("values", [[5], [7, 7, 7]])
def test_what_does_not_change_is_drawn_in_the_middle(values: list[int]) -> None:
    assert spark(values, PLAIN) == "=" * len(values)
