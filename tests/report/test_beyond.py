"""What leaving tests out says, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.model.proof import Comparison, Missed, Verification
from slimagent.model.reach import LeftOut, LevelReach, Reach, Unit
from slimagent.model.result import Outcome
from slimagent.report.beyond import estimate, held_out, lines, markdown, sentences, share


def lost(unit: int, *, missed: int, with_package: int = 0, size: int = 1_000) -> LeftOut:
    return LeftOut(
        unit=unit,
        files=max(missed, 1),
        size=size,
        packages=("dpkg:vim",) if with_package else (),
        missed=missed,
        missed_with=with_package,
        missed_size=size,
        examples=(b"/usr/share/x\xe9",)[: min(missed, 1)],
    )


def reached(tests: int, *left_out: LeftOut) -> Reach:
    return Reach(
        tool="slimagent 0",
        traces=("0" * 64,),
        steps=("command",),
        units=tuple(Unit(0, f"test_{at}", 1) for at in range(tests)),
        unused=(),
        chosen=tuple(range(tests)),
        idle=tuple(range(len(left_out), tests)),
        levels=(LevelReach(level="file", kept=7, left_out=left_out),),
    )


def test_a_test_that_used_nothing_is_said_and_not_counted() -> None:
    """Of two tests one was skipped: the other says nothing of others."""
    found = replace(reached(2), unused=(1,), chosen=(0,), idle=(0,))
    assert list(lines(found)) == [
        "1 test, each left out once; a plan is made from the others",
        "1 test adds nothing to what stays: others use all its files, too",
        "1 test used no file of the image, and is not counted",
        "one test says nothing of others: mark yours (docs/tests.md), or run the checks of the profile auto",
    ]


@given(st.integers(0, 2_000).flatmap(lambda others: st.tuples(st.integers(0, others), st.just(others))))
def test_the_most_is_never_less_than_the_share(figures: tuple[int, int]) -> None:
    """Both are shares, and more tests with the same share say it more exactly."""
    part, most = share(*figures)
    assert 0 <= part <= most <= 1
    if figures[1]:
        assert share(figures[0] * 4, figures[1] * 4)[1] <= most


def test_the_interval_is_that_of_wilson() -> None:
    """The example of 1 in 10: 0.0179 to 0.4042 (Brown, Cai and DasGupta 2001 give the formula)."""
    part, most = share(1, 10)
    assert part == 0.1
    assert most == pytest.approx(0.4042, abs=1e-4)


def test_few_tests_give_no_figure() -> None:
    """Only tests on software that others use count: 20 of them are needed."""
    found = reached(21, lost(0, missed=1, with_package=1), lost(1, missed=1, with_package=1))
    assert "too few for an estimate" in estimate(found, found.levels[0])
    assert "%" not in estimate(found, found.levels[0])
    found = reached(21, lost(0, missed=1, with_package=1))
    assert "expect none of it to miss a file (at most about 16 %)" in estimate(found, found.levels[0])


def test_a_report_names_what_rests_on_one_test() -> None:
    """The estimate first, then the largest, then how many add nothing; nothing for a level that was not looked at."""
    found = reached(40, lost(0, missed=2, with_package=1, size=5_000_000), lost(1, missed=1))
    first, second, third = sentences(found, "file")
    assert "expect about 3 % of it to miss a file" in first
    assert second == "1 test is alone in using some package, the largest: command: test_0 (5.0 MB)"
    assert third == "38 tests add nothing to what stays"
    assert sentences(found, "cruft") == ()


def test_names_of_the_image_are_printable() -> None:
    """On a terminal and in Markdown."""
    found = reached(40, lost(0, missed=1))
    for line in (*lines(found), *markdown(found)):
        assert line.isprintable() or not line


def test_a_held_out_step_is_told_from_the_others() -> None:
    """Its items count for it, only the first line of a detail is said, and harm to others is named."""
    rows = (("lab", "passed"), ("lab: kernels", "failed"), ("laboratory", "failed"), ("r", "passed"))
    verification = Verification(
        tool="slimagent 0",
        plan="",
        how="in-place",
        backend="seccomp",
        blind_spots=(),
        passed=False,
        steps=(),
        comparisons=tuple(
            Comparison(name=name, before=Outcome.PASSED, after=Outcome(after), detail="first\nsecond")
            for name, after in rows
        ),
        missed=(Missed(path=b"/a", steps=("lab",)),),
        losses=(),
    )
    assert held_out(verification, ["lab", "r"]) == (
        "lab, held out: 1 of 2 results is worse, e.g. lab: kernels: first; it misses 1 removed file, e.g. /a",
        "r, held out: works without being evidence",
        "worse, though not held out: laboratory",
        "nothing was tagged, because steps were held out",
    )
    assert held_out(verification, []) == ()
