"""A run as its history keeps it, which run it is compared with, and what changed between the two."""

from __future__ import annotations

from dataclasses import replace

import pytest
from document_values import COUNTS, PAST_RUN, PAST_RUNS, PLAN
from hypothesis import given
from hypothesis import strategies as st
from run_documents import Pack, plan_with

from slimagent.model.history import PastRun, Since, Weight
from slimagent.model.plan import HardLink
from slimagent.model.reason import Verdict
from slimagent.model.summary import Export, Owner, Summary
from slimagent.report.history import with_changes
from slimagent.report.since import (
    in_time,
    kept_packages,
    past_run,
    previous,
    shared_files,
    since,
    since_line,
    since_lines,
)
from slimagent.text.escapes import printable

MB = 1_000_000
THEN = replace(
    PAST_RUN, bytes_after=500 * MB, packages_kept=3,
    packages=(Weight("python:torch", 300 * MB), Weight("dpkg:git", 50 * MB), Weight("dpkg:libold", 9 * MB)),
)  # fmt: skip
NOW = replace(
    THEN, plan="ee", when="2026-11-29T09:00:00Z", bytes_after=488 * MB, packages_kept=3,
    packages=(Weight("python:torch", 331 * MB), Weight("dpkg:git", 40 * MB), Weight("dpkg:libfoo", 2 * MB)),
)  # fmt: skip
NAMES = st.sampled_from(("a:1", "a:2", "b:1", "reg:5000/a:1", "a@sha256:x", ""))
RUNS = st.builds(
    lambda tag, level, day, passed, after: replace(
        PAST_RUN, tag=tag, image="", level=level, when=f"2026-11-{day:02}T00:00:00Z", passed=passed, bytes_after=after
    ),
    NAMES, st.sampled_from(("file", "package")), st.integers(1, 9), st.sampled_from((True, False, None)), COUNTS,
)  # fmt: skip


def unique(runs: list[PastRun]) -> list[PastRun]:
    return [replace(run, plan=str(at)) for at, run in enumerate(runs)]


def test_what_changed_is_said_in_a_line() -> None:
    """The size of the image, then the packages, the largest first."""
    assert since_line(since(THEN, NOW), NOW.name) == (
        "since 2026-11-20 14:42: 12.0 MB smaller; grew: python:torch 31.0 MB; shrank: dpkg:git 10.0 MB; "
        "new: dpkg:libfoo 2.0 MB; gone: dpkg:libold 9.0 MB"
    )
    assert since_line(since(NOW, replace(NOW, plan="ff")), "b:1") == "since 2026-11-29 09:00 (app:slim): the same size"


def test_a_long_line_is_several_on_a_terminal() -> None:
    lines = since_lines(since(THEN, NOW), NOW.name)
    assert lines[:2] == ["since 2026-11-20 14:42: 12.0 MB smaller", "  grew: python:torch 31.0 MB"]
    short = Since(when=THEN.when, name="a", change=5)
    assert since_lines(short, "a") == [since_line(short, "a")] == ["since 2026-11-20 14:42: 5 B larger"]


def test_a_history_that_names_some_packages_claims_no_more() -> None:
    """What is not named may have been there, as large as the smallest that is: so little is called new."""
    then = replace(THEN, packages_kept=900)
    changes = since(then, replace(NOW, packages=(*NOW.packages[:2], Weight("dpkg:libbig", 60 * MB))))
    assert changes.is_partial
    assert (changes.new, changes.gone) == ((Weight("dpkg:libbig", 60 * MB),), (Weight("dpkg:libold", 9 * MB),))
    assert "new among the largest: dpkg:libbig 60.0 MB" in since_line(changes)
    assert since(then, NOW).new == ()  # 2 MB are less than what the smallest of the named had


@given(PAST_RUNS, PAST_RUNS)
def test_the_way_back_is_the_opposite(one: PastRun, other: PastRun) -> None:
    """What grew shrinks on the way back, and what is new is gone."""
    there, back = since(one, other), since(other, one)
    assert there.change == -back.change
    assert (there.grew, there.shrank) == (back.shrank, back.grew)
    assert (there.new, there.gone, there.is_partial) == (back.gone, back.new, back.is_partial)
    assert since(one, one) == Since(
        when=one.when, name=one.name, change=0, is_partial=since(one, one).is_partial
    )  # fmt: skip


@given(st.lists(RUNS, max_size=8).map(unique), RUNS)
def test_the_run_before_made_the_same_image(runs: list[PastRun], now: PastRun) -> None:
    """It is the last one of that name; or else of that repository and level; never one that was not proved."""
    found = previous(runs, replace(now, plan="now"))
    before = [run for run in runs if run.when <= now.when and run.passed is not False]
    same = [run for run in before if run.name == now.name]
    if found is None:
        assert not same
    else:
        assert found in before and found.name == now.name if same else found.level == now.level
        assert all(run.when <= found.when for run in same)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("a:1", "a:2", True),
        ("reg:5000/a:1", "reg:5000/a", True),
        ("a:1", "b:1", False),
        ("reg:5000/a", "reg:6000/a", False),
        ("a@sha256:1", "a:2", True),
    ],
)
def test_two_tags_of_a_repository(one: str, other: str, alike: bool) -> None:
    """A port of a registry is not a tag."""
    earlier, now = replace(THEN, tag=one), replace(NOW, tag=other)
    assert (previous([earlier], now) == earlier) is alike
    assert previous([replace(earlier, level="file")], now) is None
    assert previous([replace(earlier, plan=now.plan)], now) is None


@given(st.lists(RUNS, max_size=8).map(unique))
def test_the_changes_of_a_table_are_those_since_the_run_before(runs: list[PastRun]) -> None:
    """Found in one pass, and the same as if each was looked for."""
    rows = with_changes(runs)
    assert [run for run, _ in rows] == in_time(runs)
    for at, (run, change) in enumerate(rows):
        last = previous([each for each, _ in rows[:at]], run)
        assert change == (None if last is None else run.bytes_after - last.bytes_after)


@given(st.lists(st.tuples(st.integers(0, 1), COUNTS), max_size=4))
def test_the_packages_that_stay_are_kept_by_name(sizes: list[tuple[int, int]]) -> None:
    """Those of one name in several places count as one; what goes is not there."""
    reasons = (PLAN.reasons[0], replace(PLAN.reasons[0], verdict=Verdict.DROP))
    packages = tuple(replace(PLAN.packages[0], reason=reason, kept=size) for reason, size in sizes)
    kept = kept_packages(replace(PLAN, reasons=reasons, packages=packages))
    staying = [size for reason, size in sizes if reason == 0]
    assert kept == ((Weight("dpkg:vim", sum(staying)),) if staying else ())


def test_files_of_several_packages_are_known() -> None:
    """Those that stay, with the packages that stay; also one whose other name has another owner."""
    made = plan_with([Pack("dpkg:x", 50, 40), Pack("python:x", 30, 30), Pack("r:x", 7, 7), Pack("npm:x", 5, 0)])
    x_kept, x_gone, python_kept, r_kept, npm_gone = range(5)
    further = ((x_kept, (1, 3)), (x_gone, (1, 2)), (npm_gone, (1,)))
    assert shared_files(made) == ()
    assert shared_files(replace(made, further=further)) == ((("dpkg:x", "python:x"), 40),)
    linked = replace(made, further=further, hard_links=(HardLink(r_kept, python_kept),))
    assert shared_files(linked) == ((("dpkg:x", "python:x"), 40), (("python:x", "r:x"), 30))


def test_a_run_is_kept_with_what_its_summary_says() -> None:
    """And one that exported nothing is not kept."""
    summary = Summary(
        tool="slimagent 0", command="image", image="app", tag="app:slim", plan="dd", bytes_before=9, bytes_after=5,
        bytes_stripped=1, passed=True, missed=(), export=Export(sha256="ee", bytes=4),
        owners=(Owner(kind="dpkg", packages=1, packages_kept=1, bytes=9, bytes_kept=4),),
    )  # fmt: skip
    run = past_run(summary, PLAN, "2026-11-20T14:42:47Z", "sha256:aa", "why")
    assert run is not None
    assert (run.digest, run.image_id, run.label, run.worse, run.missed) == ("ee", "sha256:aa", "why", 0, 0)
    assert (run.components, run.packages, run.packages_kept) == ((Weight("dpkg", 4),), (Weight("r:x", 0),), 1)
    assert past_run(replace(summary, bytes_after=None), PLAN, "") is None
    unproved = past_run(replace(summary, passed=None, missed=None), PLAN, "")
    assert unproved is not None and (unproved.worse, unproved.missed) == (None, None)


@given(st.text(), st.text())
def test_no_name_breaks_a_line(package: str, tag: str) -> None:
    """Whatever an image calls a package, what changed is as many lines as it says."""
    changes = Since(when="2026-11-20T00:00:00Z", name=tag, change=1, new=(Weight(package, 1), Weight("; a", 2)))
    lines = since_lines(changes, "x")
    assert len(lines) <= 2
    assert all(printable(line).replace("\t", "").isprintable() for line in lines)
