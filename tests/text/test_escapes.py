"""Texts in the formats that people read: what they hold is shown and never obeyed."""

from __future__ import annotations

import html
import json
from xml.etree import ElementTree

import pytest
from hostile_texts import HOSTILE, assert_printable
from hypothesis import given
from hypothesis import strategies as st

from slimagent.text.escapes import json_text, markdown, markdown_code, markdown_html, printable, xml

# Any text, lone surrogates too, made of what is obeyed somewhere more often than by chance.
TEXTS = st.text(
    st.sampled_from("a :#[`|<&@\\*_~$!\x00\x1b\x9b\u202e\u2028\ud800\n\r\tw.") | st.characters(), max_size=20
)


@given(TEXTS)
def test_a_printable_text_is_one_line_and_stays_as_it_is(text: str) -> None:
    """O1: no control, no line break, no change of direction, no command to a build service; twice is the same."""
    shown = printable(text)
    assert_printable(shown)
    assert "\n" not in shown
    assert printable(shown) == shown


@given(TEXTS)
def test_only_lines_that_are_asked_for_are_kept(text: str) -> None:
    """O1: with line breaks allowed, none of the lines is a command either."""
    assert_printable(printable(text, "\t\n"))
    assert printable(text, "\t\n").count("\n") == text.count("\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("é 日本 ✓", "é 日本 ✓"),
        ("std::vector a::b http://x", "std::vector a::b http://x"),
        ("  ::error::x", "  \\x3a:error::x"),
        ("a ##[group]b", "a \\x23#[group]b"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_is_harmless_is_not_touched(text: str, shown: str) -> None:
    """O1: only what would be obeyed is shown in another way."""
    assert printable(text) == shown


@given(st.recursive(TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=5))
def test_json_keeps_its_value(value: object) -> None:
    """O1: JSON that is printed is the same value in printable characters."""
    for indent in (None, 2):
        shown = json_text(json.dumps(value, ensure_ascii=False, indent=indent))
        assert json.loads(shown) == value
        assert_printable(shown)


@given(TEXTS)
def test_any_text_fits_into_xml(text: str) -> None:
    """O1: in text and in attributes of an XML document, printable, and read back as it was shown."""
    element = ElementTree.Element("x", name=xml(text))
    element.text = xml(text)
    data = ElementTree.tostring(element, encoding="unicode")
    read = ElementTree.fromstring(data)  # noqa: S314  # our own
    assert (read.get("name"), read.text or "") == (xml(text), xml(text))
    assert_printable(read.text or "")


@given(TEXTS)
def test_code_in_markdown_is_closed_by_nothing_in_it(text: str) -> None:
    """O2: a code span (CommonMark 6.1) begins and ends with our backticks, and no cell of a table ends in it."""
    shown = markdown_code(text)
    assert "`" not in shown[1:-1] and "|" not in shown and "\n" not in shown
    assert not shown or (shown[0] == shown[-1] == "`" and shown[1:-1].strip(" "))


@given(TEXTS)
def test_words_in_markdown_are_words(text: str) -> None:
    """O2: what begins markup is escaped, a tag is none, and what GitHub would link is parted by a comment."""
    shown = markdown(text)
    assert "\n" not in shown
    bare = shown.replace("<!-- -->", "")
    assert "<" not in bare and ">" not in bare
    at = 0
    while at < len(bare):
        if bare[at] == "\\":
            assert bare[at + 1] in "\\`*_[]|~$"  # every backslash protects a character
            at += 2
        else:
            assert bare[at] not in "`*_[]|~$"
            at += 1
    for each in ("@", "#"):
        assert shown.count(each) == shown.count(f"{each}<!-- -->")
    assert "://" not in shown and "www." not in shown.lower()


@given(TEXTS)
def test_html_in_markdown_is_words(text: str) -> None:
    """O2: no tag, nothing that GitHub would link, and a browser shows the text as a terminal does."""
    shown = markdown_html(text)
    assert "\n" not in shown and "$" not in shown
    bare = shown.replace("<!-- -->", "")
    assert "<" not in bare and ">" not in bare
    assert html.unescape(bare) == printable(text, "")
    for each in ("@", "#"):
        assert shown.count(each) == shown.count(f"{each}<!-- -->")
    assert "://" not in shown and "www." not in shown.lower()


def test_a_hostile_text_in_every_format() -> None:
    """O1, O2: the text that the other tests plant."""
    for shown in (printable(HOSTILE), xml(HOSTILE), markdown(HOSTILE), markdown_html(HOSTILE), markdown_code(HOSTILE)):
        assert_printable(shown)
    assert "![" not in markdown(HOSTILE) and "](" not in markdown(HOSTILE).replace("\\](", "")
