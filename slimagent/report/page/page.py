"""Write a report as one HTML page that needs nothing else: no network, no server, no other file. Pure.

Every text in a report may come from an image and mean harm. The template escapes all of them; the script writes them
as text; the page's policy allows no other script, no style of somebody else's, and no address at all.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from slimagent.model.plan import Plan
from slimagent.model.profile import COMPONENTS
from slimagent.model.proof import Receipt
from slimagent.model.report import Fate, Needed, Part, Report
from slimagent.model.summary import Checked
from slimagent.paths.algebra import to_text
from slimagent.report.account import facts, headline, subtitle, unstripped
from slimagent.report.fates import Fates, words
from slimagent.report.gate import MARKS, verdict
from slimagent.report.page.payload import packed, payload
from slimagent.report.page.tree import NAMED
from slimagent.report.smaller import smaller
from slimagent.report.text import share, size, verified
from slimagent.text.counted import counted
from slimagent.text.escapes import xml

PARTS = ("page.html.jinja", "page.css", "data.js", "picture.js", "page.js")
VENDORED = ("d3-hierarchy.min.js", "LICENSE.d3-hierarchy")  # in the directory `vendored`
SHOWN, FEW = 30, 15  # rows of a table
_WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    """The texts of `PARTS` and `VENDORED`, by name, as they were read."""

    texts: dict[str, str]

    @property
    def style(self) -> str:
        return self.texts["page.css"]

    @property
    def script(self) -> str:
        """The one script: the layout's library with its licence, then ours."""
        library, licence = (self.texts[each] for each in VENDORED)
        ours = "\n".join(self.texts[each] for each in PARTS if each.endswith(".js"))
        return f'/*\n{licence.strip()}\n*/\n{library}\n(() => {{\n"use strict";\n{ours}}})();\n'


class _Slice(NamedTuple):
    """A part of a bar, and where it begins."""

    fate: Fate
    bytes: int
    x: int


def page(
    report: Report, plan: Plan | None, receipt: Receipt | None, assets: Assets, version: str, named: int = NAMED
) -> str:
    """The page. Without a plan it has no picture; `named` files have a name in it, of small ones only their number.

    `version` is slimagent's. Raises ImportError without Jinja.
    """
    # Imported only here: the agent in containers has no Jinja (model/agent.py).
    from jinja2 import Environment, StrictUndefined

    names = (report.summary.tag, report.summary.image)
    title = report.summary.image or "the image"
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_finalized,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {
        "size": size,
        "share": share,
        "count": counted,
        "number": lambda count: f"{count:,}",
        "path": to_text,
        "capital": lambda sentence: _capital(sentence, names),
        "per_mille": lambda part, whole: f"{1000 * part / whole:.2f}" if whole else "0",
    }
    data = "" if plan is None else packed(payload(plan, Fates(plan, receipt), title, named))
    return environment.from_string(assets.texts["page.html.jinja"]).render(
        _values(report),
        version=version,
        policy=_policy(assets, bool(data)),
        style=assets.style,
        script=assets.script,
        data=data,
    )


def _capital(sentence: str, names: Iterable[str | None] = ()) -> str:
    """A sentence as it begins in a text of several. One of these names, or what is no word, begins as it is."""
    word = sentence.split(" ", 1)[0].rstrip(",;:")
    return sentence if word in names or not _WORD.fullmatch(word) else sentence[:1].upper() + sentence[1:]


def _finalized(value: object) -> object:
    """What is shown of a value: of a text nothing that a browser obeys, which leaves escaping as it is."""
    return xml(str(value)) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _policy(assets: Assets, scripted: bool) -> str:
    """The page's Content Security Policy (CSP level 3): our own style and script by their digests, and nothing else."""
    script = f"script-src '{_source(assets.script)}'; " if scripted else ""
    return f"default-src 'none'; {script}style-src '{_source(assets.style)}'; base-uri 'none'; form-action 'none'"


def _source(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def _values(report: Report) -> dict[str, Any]:
    summary, parts = report.summary, report.parts
    whole = sum(part.bytes for part in parts)
    stays = [part for part in parts if part.fate.stays]
    after = sum(part.bytes for part in stays)
    names = words(summary)
    return {
        "report": report,
        "summary": summary,
        "headline": headline(report).replace(" -> ", " → "),
        "subtitle": subtitle(summary),
        "parts": parts,
        "whole": whole,
        "before": whole if summary.bytes_before is None else summary.bytes_before,
        "after": after if summary.bytes_after is None else summary.bytes_after,
        "after_parts": after,
        "used": sum(part.bytes for part in parts if part.fate is Fate.USED),
        "stacked": _stacked(parts),
        "stacked_after": _stacked(stays),
        "sentence_before": _sentence(parts, names),
        "sentence_after": _sentence(stays, names),
        "words": names,
        "shown": SHOWN,
        "few": FEW,
        "marks": MARKS,
        "gate_verdict": verdict(summary.gate),
        "unstripped": unstripped(report),
        "untested_bytes": sum(each.bytes for each in report.untested),
        "smaller": list(smaller(summary)),
        "gone_packages": sum(each.bytes for each in summary.packages_dropped),
        "steps": _steps(report),
        "proof": _proof(report),
        "components": COMPONENTS,
        "facts": facts(report),
    }


def _stacked(parts: Iterable[Part]) -> list[_Slice]:
    found, x = list[_Slice](), 0
    for part in parts:
        found.append(_Slice(part.fate, part.bytes, x))
        x += part.bytes
    return found


def _sentence(parts: Iterable[Part], names: Mapping[Fate, str]) -> str:
    return "; ".join(f"{names[part.fate]}: {size(part.bytes)}" for part in parts)


def _steps(report: Report) -> list[tuple[Checked, Needed | None]]:
    """Each step with what it used, the starts of the image first."""
    used = {each.step: each for each in report.needed}
    return [(each, used.get(each.name)) for each in (*report.summary.start, *report.summary.checks)]


def _proof(report: Report) -> str:
    summary = report.summary
    said = verified(summary.verified, summary.passed)
    if summary.passing_before is None or summary.passing_after is None:
        return _capital(said)
    before = counted(summary.passing_before, "check, start or item", "checks, starts and items")
    return f"{_capital(said)}: {before} passed before, {summary.passing_after:,} pass now"
