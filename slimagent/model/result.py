"""The nouns of a checklist: how its checks, and the items of each, ended, once and twice. As in `model`."""

from __future__ import annotations

import enum
from dataclasses import dataclass

NOT_RUN = "it did not take place"  # the detail of what one run has and another has not


class Outcome(str, enum.Enum):
    """How a check, or one item of it, ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Standing(str, enum.Enum):
    """How a check, or an item, compares with the same one on the original image; `worse` must not happen."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    FAILED_BEFORE = "failed before"
    WORSE = "worse"

    @classmethod
    def of(cls, after: Outcome, before: Outcome | None) -> Standing:
        """From the two outcomes; `before` None: unknown."""
        if before is Outcome.PASSED and after is not Outcome.PASSED:
            return cls.WORSE
        if before is Outcome.FAILED is after:
            return cls.FAILED_BEFORE
        return cls(after.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that a check looks at by itself: an import, a page, a cell."""

    name: str
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """A check that was run. `status` is the exit status where the check is a command.

    `snapshot` is what a later run of the same kind compares with; only the kind can read it.
    """

    name: str
    kind: str
    outcome: Outcome
    seconds: float
    detail: str = ""
    status: int | None = None
    items: tuple[Item, ...] = ()
    snapshot: str = ""

    @property
    def first_line(self) -> str:
        """The first line of the detail: how it ended, in a few words."""
        return self.detail.partition("\n")[0]

    def has_passed(self, item: str) -> bool:
        """Whether it has an item of that name, and that passed."""
        return any(each.name == item and each.outcome is Outcome.PASSED for each in self.items)
