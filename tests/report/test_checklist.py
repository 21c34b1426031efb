"""The checklist: how a check stands beside the run before, its lines for people, its XML for continuous integration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_line import assert_error, slimagent
from hypothesis import given
from hypothesis import strategies as st

from slimagent import documents
from slimagent.model.result import CheckResult, Item, Outcome, Standing
from slimagent.report.checklist import check_lines, junit, summary
from slimagent.verify.compare import standing

PASSED, FAILED, SKIPPED = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED


def items(**outcomes: Outcome) -> tuple[Item, ...]:
    return tuple(
        Item(name=name, outcome=outcome, detail="" if outcome is PASSED else f"no {name}")
        for name, outcome in outcomes.items()
    )


def result(outcome: Outcome, *, detail: str = "", name: str = "imports", **outcomes: Outcome) -> CheckResult:
    """A check of that outcome; keywords are its items."""
    return CheckResult(name=name, kind="command", outcome=outcome, seconds=1.25, detail=detail, items=items(**outcomes))


@pytest.mark.parametrize(
    ("before", "after", "stands"),
    [
        (None, result(PASSED), Standing.PASSED),
        (None, result(FAILED), Standing.FAILED),
        (None, result(SKIPPED), Standing.SKIPPED),
        (result(PASSED), result(FAILED), Standing.WORSE),
        (result(PASSED), result(SKIPPED), Standing.WORSE),
        (result(FAILED), result(FAILED), Standing.FAILED_BEFORE),
        (result(SKIPPED), result(SKIPPED), Standing.SKIPPED),
        (result(SKIPPED), result(FAILED), Standing.FAILED),
        (result(FAILED), result(PASSED), Standing.PASSED),
        # Broken before: not to blame. One more broken package: worse, though the check had failed before as well.
        (result(FAILED, a=PASSED, b=FAILED), result(FAILED, a=PASSED, b=FAILED), Standing.FAILED_BEFORE),
        (result(FAILED, a=PASSED, b=FAILED), result(FAILED, a=FAILED, b=PASSED), Standing.WORSE),
        # One that is not exercised any more is none that passes.
        (result(PASSED, a=PASSED, b=PASSED), result(PASSED, a=PASSED), Standing.WORSE),
    ],
)
def test_a_check_stands_beside_the_one_before_item_by_item(
    before: CheckResult | None, after: CheckResult, stands: Standing
) -> None:
    """What was broken before is not blamed on the image, and what got worse cannot hide in a sum."""
    assert standing(after, before) is stands


def test_a_passed_check_is_one_line() -> None:
    """Its mark, its name padded to the others', its items, its seconds; nothing to read below."""
    assert check_lines(result(PASSED, a=PASSED, b=PASSED), width=10) == ["✓ imports           2 of 2     1.2 s"]


def test_a_passed_check_names_the_items_that_it_skipped() -> None:
    """A tick does not hide what did not run: three by name, on the same line."""
    (line,) = check_lines(result(PASSED, a=PASSED, sudo=SKIPPED))
    assert line.endswith("1 of 2     1.2 s  1 skipped: sudo")
    (line,) = check_lines(result(PASSED, a=PASSED, **{f"s{at}": SKIPPED for at in range(4)}))
    assert line.endswith("4 skipped: s0, s1, s2, …")


def test_a_skipped_check_says_why_on_its_line() -> None:
    """A check that had nothing to exercise needs no second line."""
    assert check_lines(result(SKIPPED, detail="no GPU here\nmore")) == [
        f"- imports  {'':12}     1.2 s  skipped: no GPU here"
    ]


def test_a_failed_check_names_its_items_and_ends_with_the_log() -> None:
    """At most ten items by name and reason, then how many more, then the last lines of what it wrote."""
    names = {f"m{at}": FAILED for at in range(12)}
    first, *rest = check_lines(result(FAILED, detail="12 of 13 failed\none\ntwo", ok=PASSED, **names))
    assert first.startswith("✗ imports")
    assert rest[0] == "    ✗ m0: no m0"
    assert rest[10:] == ["    … and 2 more", "    | one", "    | two"]


def test_a_failed_check_without_items_says_its_reason() -> None:
    """The first line of the detail is what happened."""
    assert check_lines(result(FAILED, detail="exit status 3\nlast words"))[1:] == [
        "    exit status 3",
        "    | last words",
    ]


def test_what_failed_before_is_only_named() -> None:
    """New failures come with their reason, old ones as a list."""
    before = result(FAILED, a=PASSED, b=FAILED, c=PASSED)
    after = result(FAILED, a=FAILED, b=FAILED, c=SKIPPED)
    assert check_lines(after, Standing.WORSE, before)[1:] == [
        "    ✗ a: no a",
        "    ✗ c: no c",
        "    ! failed before too: b",
    ]
    assert check_lines(before, Standing.FAILED_BEFORE, before)[0].endswith("failed before too")


def test_the_list_in_a_line() -> None:
    """Checks by how they stand, then items."""
    results = [result(PASSED, a=PASSED), result(FAILED, b=FAILED), result(SKIPPED)]
    line = summary(results, [Standing.PASSED, Standing.WORSE, Standing.SKIPPED], 12.5)
    assert line == "1 of 3 checks passed, 1 worse than before, 1 skipped, 1 of 2 items passed  12.5 s"


def parsed(data: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(data)  # noqa: S314


def cases(data: bytes) -> dict[str, str]:
    """Each case of a JUnit document and what became of it."""
    return {
        case.get("name", ""): next((child.tag for child in case), "passed") for case in parsed(data).iter("testcase")
    }


def test_a_report_for_continuous_integration() -> None:
    """A suite per check, a case per item; what failed before too is no failure there, what is skipped now is one."""
    before = result(FAILED, a=PASSED, b=FAILED, c=PASSED, d=SKIPPED)
    after = result(FAILED, detail="log", a=FAILED, b=FAILED, c=SKIPPED, d=SKIPPED)
    data = junit([after, result(PASSED, name="smoke")], [before, None])
    assert cases(data) == {"a": "failure", "b": "skipped", "c": "failure", "d": "skipped", "smoke": "passed"}
    root = parsed(data)
    assert (root.get("tests"), root.get("failures"), root.get("skipped"), root.get("time")) == ("5", "2", "2", "2.500")


def test_a_check_that_failed_beside_its_items_is_a_case_too() -> None:
    """A time limit, say: all items that it came to passed."""
    assert cases(junit([result(FAILED, detail="no end", a=PASSED)], [None])) == {"a": "passed", "imports": "failure"}


@given(st.text(), st.text())
def test_any_text_makes_an_xml_document(name: str, detail: str) -> None:
    """Names and logs come from the image: control characters and lone surrogates too."""
    one = CheckResult(
        name="n" + name, kind="k", outcome=FAILED, seconds=0.0, detail=detail,
        items=(Item(name=name, outcome=FAILED, detail=detail),),
    )  # fmt: skip
    parsed(junit([one], [None]))


# The command


PROFILE = """
[[check]]
kind = "command"
name = "good"
shell = "true"
[[check]]
kind = "command"
name = "bad"
shell = "echo at last; exit 3"
"""


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A profile with a check that passes and one that fails."""
    path = tmp_path / "mine.toml"
    path.write_text(PROFILE)
    return path


def test_a_failed_check_is_exit_status_1(profile: Path) -> None:
    """Every check is shown as it ends, then the sum."""
    done = slimagent("check", "--profile", profile)
    assert done.returncode == 1
    good, bad, reason, log, total = done.stdout.splitlines()
    assert good.startswith("✓ good")
    assert bad.startswith("✗ bad")
    assert (reason, log) == ("    exit status 3", "    | at last")
    assert total.startswith("1 of 2 checks passed, 1 failed")


def test_only_what_got_worse_counts_beside_a_baseline(profile: Path, tmp_path: Path) -> None:
    """The same run again is no worse; a check that passed and fails now is, and so is one that is not run any more."""
    path = tmp_path / "before.json"
    assert slimagent("check", "--quiet", "--profile", profile, "-o", path).returncode == 1
    again = slimagent("check", "--profile", profile, "--baseline", path)
    assert again.returncode == 0, again.stdout
    assert "failed before too" in again.stdout
    profile.write_text(PROFILE.replace("true", "false"))
    worse = slimagent("check", "--profile", profile, "--baseline", path)
    assert worse.returncode == 1
    assert "1 worse than before" in worse.stdout
    profile.write_text(PROFILE.replace('"good"', '"renamed"'))
    renamed = slimagent("check", "--profile", profile, "--baseline", path)
    assert renamed.returncode == 1
    assert "good is in the baseline but not in this profile" in renamed.stderr


def test_one_check_alone(profile: Path, tmp_path: Path) -> None:
    """By its name; what is not run is not missed then."""
    path = tmp_path / "before.json"
    slimagent("check", "--quiet", "--profile", profile, "-o", path)
    done = slimagent("check", "--profile", profile, "--only", "good", "--baseline", path)
    assert done.returncode == 0
    assert "bad" not in done.stdout
    assert_error(slimagent("check", "--profile", profile, "--only", "goood"), 2, "--only goood: ")


def test_results_for_programs(profile: Path, tmp_path: Path) -> None:
    """JSON on standard output and nothing else, the same in a file, and a JUnit report."""
    path, report = tmp_path / "checks.json", tmp_path / "junit.xml"
    done = slimagent("check", "--profile", profile, "--json", "-o", path, "--junit", report)
    assert path.read_bytes() == done.stdout.encode()
    assert [each.name for each in documents.decode_checks(path.read_bytes())] == ["good", "bad"]
    assert cases(report.read_bytes()) == {"good": "passed", "bad": "failure"}


def test_what_a_program_writes_is_only_shown(profile: Path) -> None:
    """No escape sequence of the image's reaches the terminal."""
    profile.write_text("[[check]]\nkind = 'command'\nshell = '''printf '\\033[31mred'; exit 1'''\n")
    shown = slimagent("check", "--profile", profile).stdout
    assert "red" in shown
    assert "\033" not in shown


def test_standing_is_the_same_for_equal_runs() -> None:
    """A run is never worse than itself."""
    for outcome in Outcome:
        one = replace(result(outcome), items=items(a=outcome))
        assert standing(one, one) is not Standing.WORSE
