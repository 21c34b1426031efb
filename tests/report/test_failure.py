"""Why an image was not made: each step that failed, with what it said last; what is worse, and what was missed."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from slimagent.model.proof import Comparison, Missed, Verification
from slimagent.model.result import CheckResult, Outcome
from slimagent.report.failure import failed_steps, not_proved

PASSED, FAILED, SKIPPED = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED
NOTHING = Verification(
    tool="slimagent 0", plan="p", how="in-place", backend="seccomp", blind_spots=(), passed=False, steps=(), losses=(),
    missed=(), comparisons=(),
)  # fmt: skip
texts = st.text(st.sampled_from("ab \n\r\t\u2028"), max_size=30)


def step(name: str, detail: str, outcome: Outcome = FAILED) -> CheckResult:
    return CheckResult(name=name, kind="command", outcome=outcome, seconds=1, detail=detail)


def test_a_step_that_failed_shows_the_end_of_its_log() -> None:
    """Its last lines that hold anything, and where all of it is; without a log the rest of its detail."""
    log = "".join(f"line {number}\n\n" for number in range(40))
    lines = failed_steps(
        (step("one", "exit status 1\nnot shown"), step("two", "exit status 2\nwhy\nreally")),
        {"one": ("out/logs/full-one.log", log)},
    )
    assert lines == [
        "✗ one: exit status 1",
        *(f"    line {number}" for number in range(25, 40)),
        "    full log: out/logs/full-one.log",
        "✗ two: exit status 2",
        "    why",
        "    really",
    ]


def test_what_is_worse_is_shown_item_by_item() -> None:
    """With how it was, how it is and why; what passes, and what failed before as it does now, is not."""
    verification = replace(
        NOTHING,
        comparisons=(
            Comparison(name="fine", before=PASSED, after=PASSED),
            Comparison(name="old", before=FAILED, after=FAILED, detail="as ever"),
            Comparison(name="imports", before=PASSED, after=FAILED, detail="1 of 2\nNo module named x"),
            Comparison(name="imports: x", before=PASSED, after=SKIPPED),
        ),
    )
    assert not_proved(verification, {"imports": ("logs/slim-imports.log", "said\n"), "fine": ("f", "not shown")}) == [
        "✗ worse: imports: passed before, failed now (1 of 2)",
        "    No module named x",
        "    said",
        "    full log: logs/slim-imports.log",
        "✗ worse: imports: x: passed before, skipped now",
    ]


def test_a_step_that_never_ran_before_is_named() -> None:
    """Nobody knows whether it ever passed; it is one line, and the rest of what it said is below."""
    verification = replace(
        NOTHING,
        steps=(step("new", "exit status 1\nwhy"),),
        comparisons=(Comparison(name="new", before=SKIPPED, after=FAILED, detail="exit status 1\nwhy"),),
    )
    assert not_proved(verification, {}) == [
        "✗ new fails, and did not run on the original image: exit status 1",
        "    why",
    ]


def test_much_is_cut_and_counted() -> None:
    """Twenty of a kind, and how many there are."""
    verification = replace(
        NOTHING,
        comparisons=tuple(Comparison(name=f"c{number}", before=PASSED, after=FAILED) for number in range(25)),
        missed=tuple(Missed(path=b"/%d\xff" % number, steps=("a", "b")) for number in range(21)),
    )
    lines = not_proved(verification, {})
    assert lines[19:23] == [
        "✗ worse: c19: passed before, failed now",
        "    … 25 things are worse in all",
        "removed, but needed:",
        "    /0\\xff  (a, b)",
    ]
    assert lines[-1] == "    … 21 removed files were needed in all"
    assert len(lines) == 20 + 1 + 1 + 20 + 1


@given(texts, texts, st.booleans(), st.sampled_from([PASSED, SKIPPED]))
def test_each_line_is_one_line(detail: str, log: str, has_log: bool, before: Outcome) -> None:
    """Whatever was said: who prints it takes out the controls."""
    logs = {"it": ("logs/it.log", log)} if has_log else {}
    verification = replace(
        NOTHING,
        steps=(step("it", detail),),
        comparisons=(Comparison(name="it", before=before, after=FAILED, detail=detail),),
    )
    for each in (*failed_steps((step("it", detail),), logs), *not_proved(verification, logs)):
        assert len(each.splitlines()) == 1
