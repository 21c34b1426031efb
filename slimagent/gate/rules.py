"""Read the rules of a gate. Pure.

    size < 2.5 GB              of the slim image's files
    smaller by > 40 %          than the image; or a size
    growth < 50 MB             since an earlier run; or a percentage; below zero if it must shrink
    worse = 0                  checks and items that passed before and do not now
    missed = 0                 removed files that were needed
    unowned dropped < 10 MB    removed files that no package owns and no rule calls cruft
    package absent: dpkg:gcc-*
    package present: r:ggplot2
    finding none: duplicate

Operators are <, <=, =, >= and >.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from slimagent.errors import UsageError
from slimagent.model.gate import SHARE, Level, Limit, Rule, Subject
from slimagent.model.inventory import PackageKind
from slimagent.text.escapes import quoted
from slimagent.text.sizes import UNITS

OPERATORS = ("<=", ">=", "<", ">", "=")
_SIZES = (*UNITS, "")
# The units of each figure, and a rule about it for those who see none that fits.
_UNITS: Mapping[Subject, tuple[str, ...]] = MappingProxyType(
    {
        Subject.SIZE: _SIZES,
        Subject.SMALLER: (SHARE, *_SIZES),
        Subject.GROWTH: (*_SIZES, SHARE),
        Subject.WORSE: ("",),
        Subject.MISSED: ("",),
        Subject.UNOWNED: _SIZES,
    }
)
_EXAMPLES: Mapping[Subject, str] = MappingProxyType(
    {
        Subject.SIZE: "size < 2.5 GB",
        Subject.SMALLER: "smaller by > 40 %",
        Subject.GROWTH: "growth < 50 MB",
        Subject.WORSE: "worse = 0",
        Subject.MISSED: "missed = 0",
        Subject.UNOWNED: "unowned dropped < 10 MB",
        Subject.ABSENT: "package absent: dpkg:gcc-*",
        Subject.PRESENT: "package present: r:ggplot2",
        Subject.FINDING: "finding none: duplicate",
    }
)
_LONGEST = 200  # characters
_RULE = re.compile(r"(?P<words>[a-z]+(?: +[a-z]+)*) *(?::|(?P<operator><=|>=|<|>|=)) *(?P<rest>.*)")
_NUMBER = re.compile(r"(?P<number>-?[0-9]{1,15}(?:\.[0-9]{1,6})?) *(?P<unit>[A-Za-z%]*)")
_PACKAGE = re.compile(rf"(?:\*|{'|'.join(PackageKind)}):[^\s\x00-\x1f\x7f]+")
_SLUG = re.compile(r"[a-z0-9*?]+(?:-[a-z0-9*?]+)*")


def read(text: str, where: str = "--gate", level: Level = Level.FAIL, why: str = "") -> Rule:
    """A rule from its text. Raises UsageError that says the place, the rule and the nearest right form."""
    try:
        return replace(_rule(text), level=level, why=why, where=where)
    except ValueError as error:
        raise UsageError(f"{where}: {quoted(text)}: {error}", f"did you mean {nearest(text)!r}?") from None


def merged(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Each rule once: of several with the same text the last one, in the place of the first."""
    return tuple({rule.text: rule for rule in rules}.values())


def _rule(text: str) -> Rule:
    """A rule. A ValueError says what is wrong with it."""
    match = _RULE.fullmatch(text.strip(" ")) if len(text) <= _LONGEST else None
    if match is None:
        raise ValueError("not a rule")
    words = " ".join(match["words"].split())
    subject = next((each for each in Subject if each.value == words), None)
    if subject is None:
        raise ValueError(f"no rule is about {words!r}")
    compared = match["operator"] is not None
    if compared is not (subject in _UNITS):
        raise ValueError(f"after {subject.value!r} comes {'a colon' if compared else 'an operator: < <= = >= >'}")
    if compared:
        return Rule(subject=subject, limit=_limit(subject, match["operator"], match["rest"]))
    return Rule(subject=subject, pattern=_pattern(subject, match["rest"]))


def _limit(subject: Subject, operator: str, text: str) -> Limit:
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(f"{quoted(text)} is not a number with a unit" if text else "a number is missing")
    limit, units = Limit(operator=operator, number=match["number"], unit=match["unit"]), _UNITS[subject]
    if limit.number.startswith("-") and subject is not Subject.GROWTH:
        what = "count" if units == ("",) else "percentage" if limit.unit == SHARE else "size"
        raise ValueError(f"a {what} is not negative")
    if limit.unit not in units:
        known = ", ".join(filter(None, units))
        raise ValueError(f"{limit.unit} is not a unit of it" + (f": those are {known}" if known else ", it is a count"))
    if limit.unit == "" and len(units) > 1 and limit.amount:
        raise ValueError("a unit is missing")
    if limit.amount.denominator > 1 and units == ("",):
        raise ValueError(f"{limit.number} is not a count")
    return limit


def _pattern(subject: Subject, text: str) -> str:
    if subject is Subject.FINDING:
        if not _SLUG.fullmatch(text):
            raise ValueError("after the colon comes a kind of finding")
    elif not _PACKAGE.fullmatch(text):
        raise ValueError(f"after the colon comes KIND:NAME, with a KIND of {', '.join(PackageKind)} or *")
    return text


# How people write what they mean.
_SAME = MappingProxyType({"==": "=", "=<": "<=", "=>": ">=", "≤": "<=", "≥": ">=", "!=": "=", "<>": "=", ":": ""})
_ALSO: Mapping[str, Subject] = MappingProxyType(
    {
        **{each.value: each for each in Subject},
        **dict.fromkeys(("smaller", "reduction", "reduced by", "saves", "saving"), Subject.SMALLER),
        **dict.fromkeys(("total", "total size", "image size", "weight", "bytes"), Subject.SIZE),
        **dict.fromkeys(("grows", "grown by", "grows by", "increase", "larger by"), Subject.GROWTH),
        **dict.fromkeys(("regressions", "failed", "failures"), Subject.WORSE),
        **dict.fromkeys(("missing", "misses", "needed"), Subject.MISSED),
        **dict.fromkeys(("unowned", "dropped unowned"), Subject.UNOWNED),
        **dict.fromkeys(("absent", "no package", "packages absent", "package"), Subject.ABSENT),
        **dict.fromkeys(("present", "packages present"), Subject.PRESENT),
        **dict.fromkeys(("finding", "findings", "findings none", "no finding"), Subject.FINDING),
    }
)
_POINTED_THOUSANDS = re.compile(r"(?<![0-9.,])[1-9][0-9]{0,2}(?:\.[0-9]{3})+(?=,[0-9])")
_THOUSANDS = re.compile(r"(?<![0-9.,])[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9,])")
_DECIMAL_COMMA = re.compile(r"(?<=[0-9]),(?=[0-9])")
_LOOSE = re.compile(r"\s*(?P<words>[^<>=≤≥:!0-9]*)(?P<operator>[<>=≤≥:!]*)\s*(?P<rest>.*)", re.DOTALL)


def nearest(text: str) -> str:
    """The rule that somebody may have meant: always one that can be read."""
    match = _LOOSE.fullmatch(text[:_LONGEST])
    if match is None:  # every text matches
        return _EXAMPLES[Subject.SIZE]
    subject, left = _guessed_subject(re.sub(r"[\s_-]+", " ", match["words"]).lower().split())
    example = _rule(_EXAMPLES[subject])
    if example.limit is None:
        said = f"{left}{match['operator']}{match['rest']}" if left else match["rest"]
        guess = f"{subject.value}: {_guessed_pattern(subject, said.strip())}"
    else:
        operator = _SAME.get(match["operator"], match["operator"]) or example.limit.operator
        guess = f"{subject.value} {operator} {_guessed_limit(subject, match['rest'])}"
    for each in (guess, example.text):
        try:
            return _rule(each).text
        except ValueError:
            continue
    return example.text


def _guessed_subject(words: Sequence[str]) -> tuple[Subject, str]:
    """The subject that the first words are most like, and the other words."""
    best, found, left = 0.6, Subject.SIZE, ""
    for count in range(1, min(len(words), 4) + 1):
        said = " ".join(words[:count])
        for name, subject in _ALSO.items():
            likeness = difflib.SequenceMatcher(None, name, said).ratio()
            if likeness > best or (likeness == best and count > 1):
                best, found, left = likeness, subject, " ".join(words[count:])
    return found, left


def _guessed_limit(subject: Subject, text: str) -> str:
    text = _with_point(text.lstrip(" ="))
    match = _NUMBER.match(text if subject is Subject.GROWTH else text.lstrip("-"))
    if match is None:
        return ""
    units, said = _UNITS[subject], match["unit"].lower()
    if said in ("percent", "pct") or (not said and "%" in text):
        said = SHARE
    near = [each for each in units if each.lower() == said or (said and each.lower() == f"{said}b")]
    return f"{match['number']} {near[0] if said and near else units[0] if units[0] in ('', SHARE) else 'MB'}".rstrip()


def _with_point(text: str) -> str:
    """A text whose numbers have a decimal point, and no separators of thousands.

    A comma with exactly three digits after it separates thousands, and any other one is a decimal comma: a limit of
    1,5 GB that was read as 15 GB would be ten times looser.

    >>> _with_point("1,5 GB"), _with_point("1,500 MB"), _with_point("1.500,5 MB"), _with_point("0,125 GB")
    ('1.5 GB', '1500 MB', '1500.5 MB', '0.125 GB')
    """
    plain = _POINTED_THOUSANDS.sub(lambda found: found[0].replace(".", ""), text)
    plain = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), plain)
    return _DECIMAL_COMMA.sub(".", plain)


def _guessed_pattern(subject: Subject, text: str) -> str:
    if subject is Subject.FINDING:
        return re.sub(r"[\s_]+", "-", text.lower()).strip("-")
    kind, colon, name = text.partition(":")
    if not colon:
        return f"*:{text}"  # of any kind: a rule about the wrong one always holds
    same = {"deb": PackageKind.DPKG, "apt": PackageKind.DPKG, "pip": PackageKind.PYTHON, "pypi": PackageKind.PYTHON}
    kinds = [same[kind.lower()]] if kind.lower() in same else difflib.get_close_matches(kind.lower(), PackageKind, 1)
    return f"{kinds[0] if kinds else '*'}:{name.strip()}"
