"""Hold the rules of a gate against what is known of a run. Pure."""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

from slimagent.model.audit import OF_PACKAGES
from slimagent.model.gate import SHARE, Facts, Level, Limit, Outcome, Rule, Ruling, Subject
from slimagent.model.inventory import PackageKind
from slimagent.text.counted import counted
from slimagent.text.near import meant_package
from slimagent.text.sizes import signed, size

_COMPARE: Mapping[str, Callable[[Fraction, Fraction], bool]] = MappingProxyType(
    {"<": operator.lt, "<=": operator.le, "=": operator.eq, ">=": operator.ge, ">": operator.gt}
)
_NAMED = 3  # packages in a message
_LONGEST = 60  # characters of a name in a message
_UNKNOWN_SIZE = "the size is unknown, because no slim image was made"
_UNVERIFIED = "nothing was verified"
_WILD = frozenset("*?[")
_SEPARATORS = re.compile(r"[-_.]+")


class _Found(NamedTuple):
    """A figure and what it is, in words; None for one that is not known, with why."""

    figure: Fraction | None
    words: str


def judge(rules: Iterable[Rule], facts: Facts) -> tuple[Ruling, ...]:
    """What each rule comes to."""
    return tuple(_ruling(rule, facts) for rule in rules)


def _ruling(rule: Rule, facts: Facts) -> Ruling:
    holds, message = _compared(rule, rule.limit, facts) if rule.limit is not None else _matched(rule, facts)
    other = _other_level(rule, facts)
    if holds is None:
        outcome = Outcome.SKIPPED
    elif holds and other:
        outcome = Outcome.WARNED
    elif holds:
        outcome = Outcome.PASSED
    else:
        outcome = Outcome.FAILED if rule.level is Level.FAIL else Outcome.WARNED
    return Ruling(
        rule=rule.text, outcome=outcome, message=message + other, level=rule.level, why=rule.why, where=rule.where
    )  # fmt: skip


def _other_level(rule: Rule, facts: Facts) -> str:
    """Say that two runs had different levels: then growth says nothing of the image. Empty if not."""
    levels = facts.earlier.level if facts.earlier else "", facts.level
    if rule.subject is not Subject.GROWTH or "" in levels or levels[0] == levels[1]:
        return ""
    return f"; the levels differ: {levels[0]} then, {levels[1]} now"


def _compared(rule: Rule, limit: Limit, facts: Facts) -> tuple[bool | None, str]:
    found = _FIGURES[rule.subject](facts, limit)
    if found.figure is None:
        return None, found.words
    holds = _COMPARE[limit.operator](found.figure, limit.amount)
    is_count = rule.subject in (Subject.WORSE, Subject.MISSED)
    return holds, f"{found.words}: {_distance(found.figure, limit, is_count=is_count)}"


def _distance(figure: Fraction, limit: Limit, *, is_count: bool) -> str:
    """How far a figure is from its limit."""
    gap = figure - limit.amount
    if limit.operator == "=":
        return "as it must be" if not gap else f"it must be {limit}"
    what = f"{'minimum' if limit.operator[0] == '>' else 'limit'} of {limit}"
    if gap:
        amount = f"{int(abs(gap)):,}" if is_count else _amount(abs(gap), limit.unit)
        return f"{amount} {'above' if gap > 0 else 'below'} the {what}"
    must = {"<": ", and it must be less", ">": ", and it must be more"}.get(limit.operator, "")
    return f"exactly the {what}{must}"


def _amount(gap: Fraction, unit: str) -> str:
    if unit == SHARE:
        return f"{float(100 * gap):.1f} points" if 100 * gap >= Fraction(1, 10) else "less than 0.1 points"
    return size(-(-gap.numerator // gap.denominator))  # rounded up: a gap is never nothing


def _size(facts: Facts, limit: Limit) -> _Found:
    after = facts.bytes_after
    return _Found(None, _UNKNOWN_SIZE) if after is None else _Found(Fraction(after), f"size is {size(after)}")


def _smaller(facts: Facts, limit: Limit) -> _Found:
    before, after = facts.bytes_before, facts.bytes_after
    if before is None or after is None:
        return _Found(None, _UNKNOWN_SIZE)
    by, shown = _change(before - after, before, limit)
    return _Found(by, f"the slim image is {shown} smaller")


def _growth(facts: Facts, limit: Limit) -> _Found:
    if facts.bytes_after is None:
        return _Found(None, _UNKNOWN_SIZE)
    if facts.earlier is None:
        return _Found(None, "no earlier run to compare with")
    by, shown = _change(facts.bytes_after - facts.earlier.bytes_after, facts.earlier.bytes_after, limit)
    return _Found(by, f"growth since {facts.earlier.name} is {shown}")


def _change(by: int, whole: int, limit: Limit) -> tuple[Fraction, str]:
    """A change of a size in the unit of a limit, and as text."""
    if limit.unit != SHARE:
        return Fraction(by), signed(by).lstrip("+")
    part = Fraction(by, whole) if whole else Fraction(0)
    return part, f"{float(100 * part):.1f} %"


def _worse(facts: Facts, limit: Limit) -> _Found:
    if not facts.is_verified or facts.worse is None:
        return _Found(None, _UNVERIFIED)
    count = _none_or(facts.worse, "check or item is", "checks or items are")
    return _Found(Fraction(facts.worse), f"{count} worse than before")


def _missed(facts: Facts, limit: Limit) -> _Found:
    if not facts.is_verified:
        return _Found(None, _UNVERIFIED)
    if facts.missed is None:
        return _Found(None, "which removed files were needed is unknown: the verification could not see it")
    return _Found(Fraction(facts.missed), f"{_none_or(facts.missed, 'removed file was', 'removed files were')} needed")


def _none_or(count: int, one: str, several: str) -> str:
    return counted(count, one, several) if count else f"no {one}"


def _unowned(facts: Facts, limit: Limit) -> _Found:
    """Files of a package that could not be read have no owner, so it can be less than the figure, and not more."""
    if facts.bytes_unowned is None:
        return _Found(None, "without a plan it is unknown what was dropped")
    words = f"{size(facts.bytes_unowned)} of files that no package owns was dropped, cruft left out"
    unread = _unread("*", facts)
    if unread and limit.operator[0] == ">":
        return _Found(None, f"it is unknown how much was dropped that no package owns: {unread}")
    return _Found(Fraction(facts.bytes_unowned), words + (f" ({unread})" if unread else ""))


_FIGURES: Mapping[Subject, Callable[[Facts, Limit], _Found]] = MappingProxyType(
    {
        Subject.SIZE: _size,
        Subject.SMALLER: _smaller,
        Subject.GROWTH: _growth,
        Subject.WORSE: _worse,
        Subject.MISSED: _missed,
        Subject.UNOWNED: _unowned,
    }
)


def _matched(rule: Rule, facts: Facts) -> tuple[bool | None, str]:
    if rule.subject is Subject.FINDING:
        return _without(rule.pattern, facts)
    if facts.packages is None:
        return None, "without a plan it is unknown which packages stay"
    found = [each for each in facts.packages if _fits(each[0], rule.pattern)]
    if not found:
        return _not_seen(rule, facts)
    weight = f"{size(_together(found, facts))}{' before stripping' if facts.strips else ''}"
    if len(found) == 1 and not _WILD & set(rule.pattern):
        return rule.subject is Subject.PRESENT, f"{found[0][0]} is in the slim image ({weight})"
    count = counted(len(found), "package of the slim image is", "packages of the slim image are")
    says = f"{count} {rule.pattern} ({weight}): {_names(found)}"
    return rule.subject is Subject.PRESENT, says


def _together(found: Sequence[tuple[str, int]], facts: Facts) -> int:
    """The bytes of some packages together: a file counts once, however many of them own it."""
    those = {name for name, _ in found}
    again = sum(max(sum(each in those for each in labels) - 1, 0) * length for labels, length in facts.shared)
    return sum(length for _, length in found) - again


def _fits(label: str, pattern: str) -> bool:
    """Whether a package is meant. Names of Python distributions are compared as PEP 503 says: Pillow is pillow."""
    kind, _, name = label.partition(":")
    asked, _, wanted = pattern.partition(":")
    if asked not in ("*", kind):
        return False
    return fnmatch.fnmatchcase(name, wanted) or (
        kind == PackageKind.PYTHON and fnmatch.fnmatchcase(name, _SEPARATORS.sub("-", wanted).lower())
    )


def _not_seen(rule: Rule, facts: Facts) -> tuple[bool | None, str]:
    """The answer about a package that is not among those of the slim image: it may be there if not all could be read.

    Then a rule that it is absent is not judged. One that it is present does not hold, because nothing shows it.
    """
    holds, message = _not_there(rule, facts.packages_before)
    unread = _unread(rule.pattern.partition(":")[0], facts)
    if not unread:
        return holds, message
    if holds:
        return None, f"it is unknown whether a package of the slim image is {rule.pattern}: {unread}"
    return holds, f"{message}; {unread}"


def _unread(kind: str, facts: Facts) -> str:
    """Say that packages of a kind (`*` for any) may be missing, because their records could not be read; empty if not.

    A record of an unknown kind says nothing about packages of the kinds that a rule can name.
    """
    paths = sorted({path for path, of in facts.unread if kind == "*" or of in (kind, "*")})
    if not paths:
        return ""
    return f"{counted(len(paths), 'package record', 'package records')} could not be read: {_first(paths)}"


def _not_there(rule: Rule, before: tuple[str, ...] | None) -> tuple[bool, str]:
    """The answer about a package that the slim image does not have."""
    message = f"no package of the slim image is {rule.pattern}"
    is_absent = rule.subject is Subject.ABSENT
    if before is None or any(_fits(each, rule.pattern) for each in before):
        return is_absent, message
    asked, _, wanted = rule.pattern.partition(":")
    name, colon, suffix = wanted.rpartition(":")
    if (
        colon
        and asked in ("*", PackageKind.DPKG)
        and not any(fnmatch.fnmatchcase(each, f"*:*:{suffix}") for each in before)
    ):
        hint = f"write {rule.subject.value}: {asked}:{name}"
        return False, f"no package of the image has the architecture {suffix} in its name: {hint}"
    near = "" if _WILD & set(wanted) else meant_package(rule.pattern, before)
    return is_absent, f"{message}, and the image before had none either" + (f"; {near}" if near else "")


def _names(found: Sequence[tuple[str, int]]) -> str:
    """The largest of them."""
    return _first([name for name, _ in sorted(found, key=lambda each: (-each[1], each[0]))])


def _first(names: Sequence[str]) -> str:
    shown = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..." for name in names[:_NAMED]]
    return ", ".join(shown) + (f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else "")


def _without(pattern: str, facts: Facts) -> tuple[bool | None, str]:
    if facts.findings is None:
        return None, facts.no_findings
    found = [each for each in facts.findings if fnmatch.fnmatchcase(each.kind, pattern)]
    unread = _unread("*", facts) if any(fnmatch.fnmatchcase(each, pattern) for each in OF_PACKAGES) else ""
    why = unread or dict(facts.unsought).get(pattern, "")
    if not found and why:
        return None, f"it is unknown whether a finding is {pattern}: {why}"
    if not found:
        return True, f"no finding is {pattern}"
    whole = size(sum(each.bytes for each in found))
    return False, f"{counted(len(found), 'finding is', 'findings are')} {pattern} ({whole})"
