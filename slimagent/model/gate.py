"""The nouns of a gate: rules about the result of a run, the facts that they are held against, and what came of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from slimagent.text.sizes import UNITS

SHARE = "%"


class Level(str, enum.Enum):
    """What becomes of a rule that does not hold."""

    FAIL = "fail"
    WARN = "warn"


class Subject(str, enum.Enum):
    """What a rule is about, as it stands in the rule."""

    SIZE = "size"
    SMALLER = "smaller by"
    GROWTH = "growth"
    WORSE = "worse"
    MISSED = "missed"
    UNOWNED = "unowned dropped"
    ABSENT = "package absent"
    PRESENT = "package present"
    FINDING = "finding none"


class Outcome(str, enum.Enum):
    """How a rule was judged."""

    PASSED = "passed"
    FAILED = "failed"
    WARNED = "warned"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What a figure is compared with: `number` as it was written, in `unit` (of a size, `%`, or none for a count)."""

    operator: str
    number: str
    unit: str = ""

    @property
    def amount(self) -> Fraction:
        """The number in bytes, as a part of one, or as a count."""
        number = Fraction(self.number)
        return number / 100 if self.unit == SHARE else number * UNITS.get(self.unit, 1)

    def __str__(self) -> str:
        return f"{self.number} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: it has a `limit`, or a `pattern` (of packages, of kinds of findings).

    `where` is the place where it stands, e.g. `--gate` or `profile mine: gate[2]`. `why` may be empty.
    """

    subject: Subject
    limit: Limit | None = None
    pattern: str = ""
    level: Level = Level.FAIL
    why: str = ""
    where: str = ""

    @property
    def text(self) -> str:
        """The rule as it is written: reading it gives this rule again."""
        if self.limit is None:
            return f"{self.subject.value}: {self.pattern}"
        return f"{self.subject.value} {self.limit.operator} {self.limit}"


class Finding(NamedTuple):
    """Something that an audit found, and the bytes that it costs: the kind is a slug, e.g. `duplicate`."""

    kind: str
    bytes: int


class Earlier(NamedTuple):
    """The run that this one is compared with: what to call it, the size of its slim image in bytes, and its level.

    The level is empty if it is unknown.
    """

    name: str
    bytes_after: int
    level: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a gate needs to know of a run. None is what is not known.

    `packages` are those of the slim image as KIND:NAME, with their bytes in it; `packages_before` has the names of
    those of the image. A file of several packages is in the bytes of each: `shared` are such packages, and the bytes of
    their files. `strips` says that the slim image loses symbols, which all these bytes still have. `unread` are the
    paths of package records for which packages may be missing in both, each with the kind of these, as a plan has them.
    `no_findings` says why `findings` are not known.
    `unsought` are kinds of findings that the audit could not have made, each with why.
    """

    bytes_before: int | None = None
    bytes_after: int | None = None
    earlier: Earlier | None = None
    level: str = ""
    is_verified: bool = False
    worse: int | None = None
    missed: int | None = None
    bytes_unowned: int | None = None
    packages: tuple[tuple[str, int], ...] | None = None
    shared: tuple[tuple[tuple[str, ...], int], ...] = ()
    strips: bool = False
    packages_before: tuple[str, ...] | None = None
    unread: tuple[tuple[str, str], ...] = ()
    findings: tuple[Finding, ...] | None = None
    no_findings: str = "no audit of the image was given"
    unsought: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What a rule came to. `message` says the figure and the limit, or why the rule was skipped."""

    rule: str
    outcome: Outcome
    message: str
    level: Level = Level.FAIL
    why: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a gate came to. `status` is the exit status: 1 if a rule fails."""

    tool: str
    image: str | None
    tag: str | None
    rules: tuple[Ruling, ...]

    @property
    def status(self) -> int:
        return int(any(each.outcome is Outcome.FAILED for each in self.rules))
