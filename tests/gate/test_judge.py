"""The judgement: each rule holds or does not as arithmetic says, and the message has the figure and the limit."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.gate.judge import judge
from slimagent.gate.rules import OPERATORS, read
from slimagent.model.gate import Earlier, Facts, Finding, Level, Outcome, Ruling

BYTES = st.integers(0, 10**13)
KNOWN = Facts(
    bytes_before=4_777_892_191, bytes_after=2_610_000_000, earlier=Earlier("2026-11-20", 2_622_000_000),
    is_verified=True, worse=2, missed=0, bytes_unowned=12_300_000,
    packages=(("dpkg:gcc-12-base", 69_000), ("dpkg:gcc-13", 7), ("python:torch", 523_911_646)),
    findings=(Finding("duplicate", 100), Finding("duplicate", 1), Finding("core-dump", 9)),
)  # fmt: skip


def ruling(text: str, facts: Facts = KNOWN, level: Level = Level.FAIL) -> Ruling:
    (found,) = judge([read(text, "--gate", level, "because")], facts)
    return found


@pytest.mark.parametrize(
    ("text", "outcome", "message"),
    [
        ("size < 2.5 GB", "failed", "size is 2.61 GB: 110.0 MB above the limit of 2.5 GB"),
        ("size < 2.61 GB", "failed", "size is 2.61 GB: exactly the limit of 2.61 GB, and it must be less"),
        ("size <= 2.61 GB", "passed", "size is 2.61 GB: exactly the limit of 2.61 GB"),
        ("size < 3 GB", "passed", "size is 2.61 GB: 390.0 MB below the limit of 3 GB"),
        ("size >= 2 GiB", "passed", "size is 2.61 GB: 462.5 MB above the minimum of 2 GiB"),
        ("size > 2.61 GB", "failed", "size is 2.61 GB: exactly the minimum of 2.61 GB, and it must be more"),
        ("smaller by > 40 %", "passed", "the slim image is 45.4 % smaller: 5.4 points above the minimum of 40 %"),
        ("smaller by > 50 %", "failed", "the slim image is 45.4 % smaller: 4.6 points below the minimum of 50 %"),
        ("smaller by > 45.374 %", "failed",
         "the slim image is 45.4 % smaller: less than 0.1 points below the minimum of 45.374 %"),
        ("smaller by > 1 GB", "passed", "the slim image is 2.17 GB smaller: 1.17 GB above the minimum of 1 GB"),
        ("growth < 50 MB", "passed", "growth since 2026-11-20 is -12.0 MB: 62.0 MB below the limit of 50 MB"),
        ("growth <= 0", "passed", "growth since 2026-11-20 is -12.0 MB: 12.0 MB below the limit of 0"),
        ("growth < 1 %", "passed", "growth since 2026-11-20 is -0.5 %: 1.5 points below the limit of 1 %"),
        ("worse = 0", "failed", "2 checks or items are worse than before: it must be 0"),
        ("worse < 5", "passed", "2 checks or items are worse than before: 3 below the limit of 5"),
        ("missed = 0", "passed", "no removed file was needed: as it must be"),
        ("unowned dropped < 10 MB", "failed",
         "12.3 MB of files that no package owns was dropped, cruft left out: 2.3 MB above the limit of 10 MB"),
        ("package absent: dpkg:gcc-*", "failed",
         "2 packages of the slim image are dpkg:gcc-* (69.0 kB): dpkg:gcc-12-base, dpkg:gcc-13"),
        ("package absent: dpkg:vim", "passed", "no package of the slim image is dpkg:vim"),
        ("package present: python:torch", "passed", "python:torch is in the slim image (523.9 MB)"),
        ("package present: r:ggplot2", "failed", "no package of the slim image is r:ggplot2"),
        ("package present: *:torch", "passed", "1 package of the slim image is *:torch (523.9 MB): python:torch"),
        ("finding none: duplicate", "failed", "2 findings are duplicate (101 B)"),
        ("finding none: setuid", "passed", "no finding is setuid"),
        ("finding none: *", "failed", "3 findings are * (110 B)"),
    ],
)  # fmt: skip
def test_the_message_says_the_figure_and_the_limit(text: str, outcome: str, message: str) -> None:
    found = ruling(text)
    assert (found.outcome.value, found.message) == (outcome, message)
    assert (found.rule, found.why, found.where) == (text, "because", "--gate")


def test_a_file_of_several_packages_counts_once() -> None:
    """In the sum of those that a pattern means, which so is not more than the image; and with each of them alone."""
    packages = (("dpkg:python3-six", 50), ("dpkg:x", 9), ("python:six", 40), ("python:y", 30))
    shared = ((("dpkg:python3-six", "python:six"), 40), (("dpkg:python3-six", "python:six", "python:y"), 0),
              (("python:six", "python:y"), 7))  # fmt: skip
    facts = Facts(packages=packages, shared=shared, strips=True)
    says = {pattern: ruling(f"package absent: {pattern}", facts).message for pattern in ("*:*", "python:*", "dpkg:*")}
    assert "are *:* (82 B before stripping): dpkg:python3-six" in says["*:*"]
    assert "are python:* (63 B before stripping): " in says["python:*"]
    assert "are dpkg:* (59 B before stripping): " in says["dpkg:*"]
    alone = ruling("package absent: python:six", facts).message
    assert alone == "python:six is in the slim image (40 B before stripping)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("size < 1 GB", "no slim image was made"),
        ("smaller by > 1 %", "no slim image was made"),
        ("growth < 1 MB", "no slim image was made"),
        ("worse = 0", "nothing was verified"),
        ("missed = 0", "nothing was verified"),
        ("unowned dropped < 1 MB", "without a plan"),
        ("package absent: dpkg:x", "without a plan"),
        ("package present: dpkg:x", "without a plan"),
        ("finding none: duplicate", "no audit of the image was given"),
    ],
)
def test_what_is_unknown_is_skipped(text: str, words: str) -> None:
    """Neither held nor broken: whoever reads it learns why."""
    for level in Level:
        found = ruling(text, Facts(), level)
        assert found.outcome is Outcome.SKIPPED and words in found.message


def test_growth_needs_an_earlier_run_and_a_backend_that_sees_lookups() -> None:
    facts = Facts(bytes_after=1, is_verified=True, worse=0)
    assert "no earlier run" in ruling("growth < 1 MB", facts).message
    assert "could not see it" in ruling("missed = 0", facts).message
    assert ruling("worse = 0", facts).outcome is Outcome.PASSED


@given(BYTES, BYTES, st.integers(0, 10**6), st.sampled_from(OPERATORS))
def test_sizes_are_compared_exactly(before: int, after: int, kilobytes: int, operator: str) -> None:
    """Not as they are rounded for people; of `<` and `>=` exactly one holds."""
    facts, limit = Facts(bytes_before=before, bytes_after=after), kilobytes * 1000
    holds = {"<": after < limit, "<=": after <= limit, "=": after == limit, ">=": after >= limit, ">": after > limit}
    assert (ruling(f"size {operator} {kilobytes} kB", facts).outcome is Outcome.PASSED) is holds[operator]
    for each in ("<", ">="):
        outcome = ruling(f"smaller by {each} {kilobytes} kB", facts).outcome
        assert (outcome is Outcome.PASSED) is (before - after < limit if each == "<" else before - after >= limit)


@given(st.integers(1, 10**12), BYTES, st.integers(0, 10**4))
def test_percentages_are_compared_exactly(whole: int, part: int, hundredths: int) -> None:
    """As fractions, without a rounding error."""
    rule = f"{hundredths // 100}.{hundredths % 100:02} %"
    limit = Fraction(hundredths, 10_000)
    outcome = ruling(f"smaller by > {rule}", Facts(bytes_before=whole, bytes_after=part)).outcome
    assert (outcome is Outcome.PASSED) is (Fraction(whole - part, whole) > limit)
    outcome = ruling(f"growth <= {rule}", Facts(bytes_after=part, earlier=Earlier("x", whole))).outcome
    assert (outcome is Outcome.PASSED) is (Fraction(part - whole, whole) <= limit)


@given(st.sampled_from(["size < 1 GB", "worse = 0", "package absent: dpkg:*", "finding none: *"]), BYTES)
def test_a_warning_fails_nothing(text: str, after: int) -> None:
    """The level changes what becomes of a rule, and not whether it holds."""
    facts = Facts(bytes_after=after, is_verified=True, worse=after % 3, packages=(("dpkg:x", 1),), findings=())
    strict, mild = ruling(text, facts), ruling(text, facts, Level.WARN)
    assert mild.outcome is not Outcome.FAILED
    assert (strict.outcome is Outcome.FAILED) is (mild.outcome is Outcome.WARNED)
    assert strict.message == mild.message


@given(st.lists(st.tuples(st.text(max_size=300), BYTES), max_size=6))
def test_no_list_of_packages_makes_a_message_long(packages: list[tuple[str, int]]) -> None:
    """A record of the image can give a package any name."""
    named = tuple((f"dpkg:{name}", length) for name, length in packages)
    assert len(ruling("package absent: dpkg:*", Facts(packages=named)).message) < 400


DOUBTFUL = replace(
    KNOWN,
    packages_before=("dpkg:gcc-13", "r:zip"),
    unread=(("/lib/apk/db/installed", "other"), ("/opt/meta/gpl.json", "conda"), ("/opt/meta/x.json", "conda")),
)
UNREAD = "package records could not be read: "


@pytest.mark.parametrize(
    ("text", "outcome", "message"),
    [
        ("package absent: conda:gpl", "skipped",
         "it is unknown whether a package of the slim image is conda:gpl: "
         "2 package records could not be read: /opt/meta/gpl.json, /opt/meta/x.json"),
        ("package absent: *:openssl", "skipped", f"3 {UNREAD}/lib/apk/db/installed, /opt/meta/gpl.json"),
        ("package absent: dpkg:vim", "passed", "no package of the slim image is dpkg:vim"),
        ("package absent: dpkg:gcc-13", "failed", "dpkg:gcc-13 is in the slim image (7 B)"),
        ("package absent: *:gcc-*", "failed", "2 packages of the slim image are *:gcc-*"),
        ("package present: python:torch", "passed", "python:torch is in the slim image (523.9 MB)"),
        ("package present: conda:gpl", "failed", f"had none either; 2 {UNREAD}/opt/meta/gpl.json"),
        ("unowned dropped < 20 MB", "passed", f"cruft left out (3 {UNREAD}/lib/apk/db/installed"),
        ("unowned dropped < 10 MB", "failed", f"cruft left out (3 {UNREAD}/lib/apk/db/installed"),
        ("unowned dropped > 10 MB", "skipped", f"3 {UNREAD}/lib/apk/db/installed"),
        ("finding none: required-anyway", "skipped",
         f"it is unknown whether a finding is required-anyway: 3 {UNREAD}/lib"),
        ("finding none: build-*", "skipped", f"3 {UNREAD}/lib"),
        ("finding none: duplicate", "failed", "2 findings are duplicate (101 B)"),
        ("finding none: hidden", "passed", "no finding is hidden"),
        ("size < 3 GB", "passed", "size is 2.61 GB"),
    ],
)  # fmt: skip
def test_what_rests_on_records_that_could_not_be_read_is_not_passed(text: str, outcome: str, message: str) -> None:
    """A package may be there that nobody saw. What was seen decides a rule all the same."""
    found = ruling(text, DOUBTFUL)
    assert found.outcome.value == outcome and message in found.message


@given(st.lists(st.tuples(st.text(max_size=300), st.sampled_from(["dpkg", "r", "other", "*"]))))
def test_a_rule_is_passed_only_if_no_record_of_its_kind_is_unread(unread: list[tuple[str, str]]) -> None:
    """Those of an earlier slimagent's plan can be of any kind."""
    facts = replace(KNOWN, unread=tuple(unread))
    for kind in ("dpkg", "r", "conda"):
        found = ruling(f"package absent: {kind}:vim", facts)
        doubtful = any(each in (kind, "*") for _, each in unread)
        assert found.outcome is (Outcome.SKIPPED if doubtful else Outcome.PASSED)
        assert len(found.message) < 400
    assert ruling("package absent: *:vim", facts).outcome is (Outcome.SKIPPED if unread else Outcome.PASSED)


def test_an_audit_without_a_trace_says_nothing_of_what_is_unused() -> None:
    """It cannot find any."""
    facts = replace(KNOWN, unsought=(("unused", "the audit has no trace of a test"),))
    found = ruling("finding none: unused", facts)
    assert found.outcome is Outcome.SKIPPED and "the audit has no trace of a test" in found.message
    assert ruling("finding none: extension", facts).outcome is Outcome.PASSED


BEFORE = (
    "dpkg:gcc-12",
    "dpkg:zip",
    "dpkg:libc6:i386",
    "python:pillow",
    "python:zope-interface",
    "r:ggplot2",
    "npm:vim",
)


@pytest.mark.parametrize(
    ("text", "outcome", "message"),
    [
        ("package absent: python:Pillow", "failed", "python:pillow is in the slim image (5 B)"),
        ("package absent: *:Pillow", "failed", "1 package of the slim image is *:Pillow (5 B): python:pillow"),
        ("package absent: python:Zope.*", "failed", "python:zope-interface"),
        ("package present: python:zope.interface", "passed", "python:zope-interface is in the slim image (7 B)"),
        ("package absent: npm:Pillow", "passed", "the image before had none either"),
        ("package absent: dpkg:gcc-12:amd64", "failed", "write package absent: dpkg:gcc-12"),
        ("package absent: dpkg:libc6:i386", "passed", "no package of the slim image is dpkg:libc6:i386"),
        ("package absent: dpkg:gccc-12", "passed", "had none either; did you mean dpkg:gcc-12?"),
        ("package absent: dpkg:curl", "passed", "no package of the slim image is dpkg:curl, and the image before had"),
        ("package absent: dpkg:vim", "passed", "did you mean npm:vim?"),
        ("package absent: dpkg:gcc-12", "passed", "no package of the slim image is dpkg:gcc-12"),
        ("package present: r:ggplot", "failed", "did you mean r:ggplot2?"),
        ("package present: dpkg:gxx-*", "failed", "had none either"),
    ],
)
def test_a_package_that_the_image_never_had_may_be_misspelt(text: str, outcome: str, message: str) -> None:
    """A rule about it would hold for ever. Names of Python distributions are compared as PEP 503 says."""
    facts = Facts(packages=(("python:pillow", 5), ("python:zope-interface", 7)), packages_before=BEFORE)
    found = ruling(text, facts)
    assert found.outcome.value == outcome and message in found.message
    if "either" not in message and "did you" not in message:
        assert "did you mean" not in found.message
