"""The rules of a gate: written and read again they are the same, and a wrong one is answered with a right one."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slimagent.errors import UsageError
from slimagent.gate.rules import OPERATORS, merged, nearest, read
from slimagent.model.gate import Level, Limit, Rule, Subject
from slimagent.model.inventory import PackageKind
from slimagent.text.sizes import UNITS

NUMBERS = st.from_regex(r"\A(0|[1-9][0-9]{0,14})(\.[0-9]{1,6})?\Z")
COUNTS = st.integers(0, 10**15 - 1).map(str)
NAMES = st.from_regex(r"\A[a-z@*?/+._-][a-zA-Z0-9@*?/+._-]{0,20}\Z")


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Any rule."""
    subject = draw(st.sampled_from(Subject))
    if subject is Subject.FINDING:
        return Rule(subject=subject, pattern=draw(st.from_regex(r"\A[a-z0-9*]+(-[a-z0-9]+){0,2}\Z")))
    if subject in (Subject.ABSENT, Subject.PRESENT):
        return Rule(subject=subject, pattern=f"{draw(st.sampled_from((*PackageKind, '*')))}:{draw(NAMES)}")
    operator = draw(st.sampled_from(OPERATORS))
    if subject in (Subject.WORSE, Subject.MISSED):
        return Rule(subject=subject, limit=Limit(operator=operator, number=draw(COUNTS)))
    units = (*UNITS, "%") if subject in (Subject.SMALLER, Subject.GROWTH) else tuple(UNITS)
    limit = Limit(operator=operator, number=draw(NUMBERS), unit=draw(st.sampled_from(units)))
    return Rule(subject=subject, limit=limit)


@given(rules())
def test_a_rule_is_read_as_it_was_written(rule: Rule) -> None:
    """Its text gives it again, with any space around its parts, and with none."""
    assert read(rule.text, "") == rule
    assert read(f"  {rule.text.replace(' ', '  ')} ", "") == rule
    if rule.limit is not None:
        close = rule.subject.value + f"{rule.limit.operator}{rule.limit}".replace(" ", "")
        assert read(close, "") == rule


@given(rules(), st.sampled_from(Level), st.text(), st.text())
def test_a_rule_knows_where_it_stands(rule: Rule, level: Level, why: str, where: str) -> None:
    """And what becomes of it, and why it is there."""
    read_again = read(rule.text, where, level, why)
    assert (read_again.level, read_again.why, read_again.where) == (level, why, where)


@given(st.text(max_size=300) | st.text("sizegrowth <>=:%.0123456789MGBk", max_size=30))
@example("size < 2.5 GB" + " " * 300)
@example("growth < -1 MB")
@example("package absent: " + "*" * 150)
def test_whatever_is_written_it_is_a_rule_or_the_nearest_one_is_named(text: str) -> None:
    """The error says the place, the rule and one that can be read, in printable lines."""
    try:
        rule = read(text, "profile x: gate[1]")
    except UsageError as error:
        assert error.message.startswith("profile x: gate[1]: ")
        assert error.message.isprintable() and error.hint.isprintable()
        assert read(nearest(text)).text == nearest(text)
        assert error.hint == f"did you mean {nearest(text)!r}?"
    else:
        assert read(rule.text).text == rule.text


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("size < 2.5 gb", "size < 2.5 GB"),
        ("sise <= 3G", "size <= 3 GB"),
        ("size 2.5GB", "size < 2.5 GB"),
        ("size =< 1 gib", "size <= 1 GiB"),
        ("size < 1,500 kB", "size < 1500 kB"),
        ("size < 1,500 MB", "size < 1500 MB"),
        ("size < 1,500,000 kB", "size < 1500000 kB"),
        ("size < 1,500.5 MB", "size < 1500.5 MB"),
        ("size < 1.500,5 MB", "size < 1500.5 MB"),
        ("size < 1,5 GB", "size < 1.5 GB"),
        ("size < 2,25gb", "size < 2.25 GB"),
        ("size < 0,125 GB", "size < 0.125 GB"),
        ("size < 1,2345 GB", "size < 1.2345 GB"),
        ("smaller by > 12,5 %", "smaller by > 12.5 %"),
        ("growth < -1,5 GB", "growth < -1.5 GB"),
        ("size < -1 GB", "size < 1 GB"),
        ("worse < -1", "worse < 1"),
        ("size < 5", "size < 5 MB"),
        ("smaller by 40", "smaller by > 40 %"),
        ("smaller >= 40 percent", "smaller by >= 40 %"),
        ("growth ≤ 50mb", "growth <= 50 MB"),
        ("worse == 0", "worse = 0"),
        ("worse = 0.5", "worse = 0"),
        ("missing: 0", "missed = 0"),
        ("unowned < 10MB", "unowned dropped < 10 MB"),
        ("package absent: gcc-*", "package absent: *:gcc-*"),
        ("package absent: deb:gcc", "package absent: dpkg:gcc"),
        ("package present: pip:torch", "package present: python:torch"),
        ("package present pyton:torch", "package present: python:torch"),
        ("no package dpkg:vim", "package absent: dpkg:vim"),
        ("finding: Duplicate", "finding none: duplicate"),
        ("findings none: setuid program", "finding none: setuid-program"),
        ("", "size < 2.5 GB"),
    ],
)
def test_the_nearest_rule(wrong: str, meant: str) -> None:
    with pytest.raises(UsageError, match="--gate") as caught:
        read(wrong)
    assert shlex.split(caught.value.hint.removeprefix("did you mean ").removesuffix("?")) == [meant]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("size < 40 %", "% is not a unit of it: those are B, kB, MB, GB, KiB, MiB, GiB"),
        ("worse = 3 MB", "it is a count"),
        ("size < -1 GB", "a size is not negative"),
        ("smaller by > -5 %", "a percentage is not negative"),
        ("worse < -1", "a count is not negative"),
        ("growth <", "a number is missing"),
        ("size < 1e9 B", "is not a number with a unit"),
        ("package absent < 3", "comes a colon"),
        ("size: 3", "comes an operator"),
        ("package absent: dpkg:", "KIND:NAME"),
        ("siez < 1 GB", "no rule is about 'siez'"),
        ("size < 1234567890123456 B", "is not a number with a unit"),
    ],
)
def test_the_error_says_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert words in caught.value.message and repr(text) in caught.value.message


def test_zero_needs_no_unit() -> None:
    """Nothing is nothing, in whatever unit."""
    assert read("growth <= 0").limit == Limit(operator="<=", number="0")


def test_of_two_equal_rules_the_last_counts() -> None:
    """A command line can say what becomes of a rule of a profile."""
    first, other, last = read("size < 1 GB", "a", Level.WARN), read("worse = 0", "b"), read("size<1GB", "c")
    assert merged([first, other, last]) == (last, other)
