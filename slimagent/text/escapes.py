"""Make text from images and documents safe in every format that people read. Pure.

One function per format. What a terminal, a browser or a build service would obey is escaped as Python does it.
"""

from __future__ import annotations

import re
import reprlib

# What build services obey in logs: on GitHub a line that begins with `::` (ActionCommand.cs of actions/runner trims
# it first); anywhere `##[` of GitHub and Azure Pipelines, `##vso[` of the latter and `##teamcity[`.
_COMMAND = re.compile(r"^([ \t]*)(:)(?=:)|(#)(?=#(?:vso|teamcity)?\[)", re.MULTILINE)
# What Markdown obeys within a line (CommonMark 0.31, 6; GitHub's tables, strike-through and formulas), and where GitHub
# looks for names, numbers of issues and addresses in what is left.
_MARKDOWN = re.compile(r"[\\`*_\[\]|~$]")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_REFERENCE = re.compile(r"(@|#|:(?=//)|(?i:www)(?=\.)|(?i:gh-)(?=\d)|(?i:mailto|xmpp)(?=:))")
_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother, _REPR.maxlong = 3, 200, 200, 60


def quoted(value: object) -> str:
    """Quote a value of a document for a message: one line of a few hundred characters, whatever the value.

    >>> quoted([1, "a"])
    "[1, 'a']"
    """
    return printable(_REPR.repr(value), "")


def printable(text: str, also: str = "\t") -> str:
    r"""Escape controls, line breaks and changes of direction, except those in `also`, for a terminal or a log.

    Doing it twice changes nothing.

    >>> printable("\x1b]0;title\x07")
    '\\x1b]0;title\\x07'
    """
    if not text.isprintable():
        text = "".join(each if each.isprintable() or each in also else ascii(each)[1:-1] for each in text)
    return _COMMAND.sub(lambda found: f"{found[1] or ''}\\x{ord(found[2] or found[3]):02x}", text)


def json_text(text: str) -> str:
    """Make JSON safe for a terminal or a log: the same value, in printable characters and line breaks."""
    shown = "".join(each if each.isprintable() or each == "\n" else _json_escape(each) for each in text)
    return _COMMAND.sub(lambda found: f"{found[1] or ''}\\u{ord(found[2] or found[3]):04x}", shown)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def xml(text: str) -> str:
    """Make a text safe for an XML document (XML 1.0, 2.2) and a web page. It keeps its lines."""
    return printable(text, "\t\n")


def markdown(text: str) -> str:
    """Make a text safe within a line of GitHub's Markdown: no markup, tag, link, picture, mention or line break."""
    shown = _MARKDOWN.sub(lambda found: f"\\{found[0]}", printable(text, ""))
    shown = "".join(_HTML.get(each, each) for each in shown)
    return _REFERENCE.sub(r"\1<!-- -->", shown)  # a comment is invisible and splits the reference


def markdown_html(text: str) -> str:
    """Make a text safe within HTML in GitHub's Markdown, e.g. in a `<summary>`: there a backslash escapes nothing.

    >>> markdown_html("a_b <c>")
    'a_b &lt;c&gt;'
    """
    shown = "".join(_HTML.get(each, each) for each in printable(text, "")).replace("$", "&dollar;")
    return _REFERENCE.sub(r"\1<!-- -->", shown)


def markdown_code(text: str) -> str:
    """Make a text code in a line or a table of GitHub's Markdown. Nothing in it is markup. "" for a blank text."""
    shown = printable(text, "").replace("`", "\\x60").replace("|", "\\x7c")
    if not shown.strip(" "):
        return ""
    return f"`{shown}`"


def github_annotation(level: str, title: str, message: str) -> str:
    """A line that GitHub shows beside a job: `level` is error or warning. Whatever the texts are, it is one command.

    GitHub's toolkit escapes in this way (toCommandValue and escapeProperty of actions/toolkit, command.ts).

    >>> github_annotation("error", "a: b, c", "100 %")
    '::error title=a%3A b%2C c::100 %25'
    """
    named = _github(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={named}::{_github(message)}"


def _github(text: str) -> str:
    shown = printable(text, "\t\r\n").replace("%", "%25")
    return shown.replace("\r", "%0D").replace("\n", "%0A")
