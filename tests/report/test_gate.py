"""What a gate came to, in each form in which people and build services read it."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from document_values import RULINGS
from hostile_texts import HOSTILE
from hypothesis import given
from hypothesis import strategies as st

from slimagent.model.gate import Level, Outcome, Ruling
from slimagent.report.gate import failing, for_github, gate_junit, gate_lines, gate_markdown, verdict
from slimagent.text.escapes import github_annotation, printable

RULES = (
    Ruling(rule="missed = 0", outcome=Outcome.PASSED, message="no removed file was needed: as it must be"),
    Ruling(
        rule="size < 2.5 GB", outcome=Outcome.FAILED, where="profile ./app.toml: gate[0]", why="nodes pull it",
        message="size is 2.61 GB: 110.0 MB above the limit of 2.5 GB",
    ),
    Ruling(rule="package absent: dpkg:gcc-*", outcome=Outcome.WARNED, message="it is there", level=Level.WARN),
    Ruling(rule="growth < 50 MB", outcome=Outcome.SKIPPED, message="no earlier run", where="--gate"),
)  # fmt: skip
PIECES = ("::", "\n", "\r\n", "%0A", "##[", "error", ",", ":", "%", "\x1b[2K", "é", " ")
PARTS = st.lists(st.sampled_from(PIECES)).map("".join)


def test_the_lines() -> None:
    """A line for each rule; the rule, its place and its reason below one that does not hold or was skipped."""
    assert gate_lines(RULES) == [
        "✓ no removed file was needed: as it must be",
        "✗ size is 2.61 GB: 110.0 MB above the limit of 2.5 GB",
        "    rule: size < 2.5 GB  (profile ./app.toml: gate[0])",
        "    why: nodes pull it",
        "! warned: it is there",
        "    rule: package absent: dpkg:gcc-*",
        "- skipped: no earlier run",
        "    rule: growth < 50 MB  (--gate)",
    ]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (RULES, "gate: 1 of 4 rules failed, 1 warned, 1 skipped"),
        (RULES[1:2] * 2, "gate: 2 of 2 rules failed"),
        (RULES[:1], "gate: 1 of 1 rule passed"),
        (RULES[:1] * 2 + RULES[3:], "gate: 2 of 3 rules passed, 1 skipped"),
        (RULES[2:], "gate: 0 of 2 rules passed, 1 warned, 1 skipped"),
    ],
)
def test_the_verdict(rules: tuple[Ruling, ...], said: str) -> None:
    assert verdict(rules) == said


def test_the_message_of_an_error_is_the_first_that_fails() -> None:
    assert failing(RULES) == RULES[1].message
    assert failing(RULES[1:2] * 3) == f"{RULES[1].message} (and 2 more rules fail)"
    assert failing(RULES[:1]) == ""


def test_markdown_has_what_does_not_hold_first() -> None:
    assert gate_markdown(RULES)[2:5] == [
        "| **failed** | `size < 2.5 GB` | size is 2.61 GB: 110.0 MB above the limit of 2.5 GB (nodes pull it) |",
        "| **warned** | `package absent: dpkg:gcc-*` | it is there |",
        "| skipped | `growth < 50 MB` | no earlier run |",
    ]
    assert gate_markdown(()) == []


def test_junit() -> None:
    """A case for each rule, and counts that are those of the cases."""
    root = ElementTree.fromstring(gate_junit(RULES))  # noqa: S314  # our own
    assert root.attrib == {
        "name": "slimagent", "tests": "4", "failures": "1", "skipped": "2", "errors": "0", "time": "0.000"
    }  # fmt: skip
    cases = root.findall("testsuite/testcase")
    assert [case.get("name") for case in cases] == [each.rule for each in RULES]
    assert [[inside.tag for inside in case] for case in cases] == [[], ["failure"], ["skipped"], ["skipped"]]
    assert cases[1][0].get("message") == RULES[1].message and cases[1][0].text == "nodes pull it"
    assert cases[2][0].get("message") == "warning: it is there"


def test_github_shows_what_does_not_hold() -> None:
    assert [github_annotation(*each) for each in for_github(RULES)] == [
        "::error title=slimagent gate%3A size < 2.5 GB::"
        "size is 2.61 GB: 110.0 MB above the limit of 2.5 GB (nodes pull it)",
        "::warning title=slimagent gate%3A package absent%3A dpkg%3Agcc-*::it is there",
    ]


def obeyed(line: str) -> tuple[str, dict[str, str], str]:
    """A command as GitHub's runner reads it (ActionCommand.cs of actions/runner, TryParseV2)."""
    assert line.startswith("::")
    head, _, data = line[2:].partition("::")
    name, _, properties = head.partition(" ")
    pairs = dict(each.split("=", 1) for each in properties.split(",") if each)
    decoded = {key: _decoded(value, {"%3A": ":", "%2C": ","}) for key, value in pairs.items()}
    return name, decoded, _decoded(data, {})


def _decoded(text: str, more: dict[str, str]) -> str:
    for escape, character in {"%0D": "\r", "%0A": "\n", **more, "%25": "%"}.items():
        text = text.replace(escape, character)
    return text


@given(st.text() | PARTS, st.text() | PARTS)
def test_no_text_becomes_a_command(title: str, message: str) -> None:
    """Whatever the texts are it is one line and one command; the runner reads the same texts, made printable."""
    line = github_annotation("error", title, message)
    assert line.replace("\t", "").isprintable() and "##[" not in line
    name, properties, data = obeyed(line)
    assert name == "error" and list(properties) == ["title"]
    for said, read in ((title, properties["title"]), (message, data)):
        assert read == printable(said, "\t\r\n")


def test_a_hostile_name_in_an_annotation() -> None:
    name, _, data = obeyed(github_annotation("warning", HOSTILE, f"a\n::error::{HOSTILE}"))
    assert name == "warning" and "\x1b" not in data and "\\x3a:error" in data


@given(st.lists(RULINGS, max_size=4))
def test_no_text_breaks_a_form(rulings: list[Ruling]) -> None:
    """Each rule is one row of Markdown, and the XML is XML."""
    table = gate_markdown(rulings)
    assert len(table) == (len(rulings) + 3 if rulings else 0)
    assert all(line.isprintable() for line in table)
    root = ElementTree.fromstring(gate_junit(rulings))  # noqa: S314  # our own
    assert len(root.findall("testsuite/testcase")) == len(rulings)
    failed = sum(each.outcome is Outcome.FAILED for each in rulings)
    assert root.get("failures") == str(failed) and len(root.findall(".//failure")) == failed
    assert sum(each.level == "error" for each in for_github(rulings)) == failed
