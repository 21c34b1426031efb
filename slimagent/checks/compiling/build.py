"""Where kind `compile` builds packages: steps in a directory, with a message and a log if one fails."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from slimagent.checks.directory import give
from slimagent.checks.finding import FaultError, judged
from slimagent.checks.program import Ended, Workspace
from slimagent.linux.removal import remove_tree
from slimagent.model.result import Item, Outcome

_NO_LIMIT = float("inf")  # but the deadline


class StepError(FaultError):
    """A step of a build that failed: which, and why. `log` is its last output."""

    def __init__(self, what: str, log: str = "") -> None:
        super().__init__(what)
        self.log = log


@dataclass(frozen=True, slots=True)
class Build(Workspace):
    """A workspace for builds, and the last output of failed steps."""

    logs: list[str] = field(default_factory=list)

    def step(self, name: str, argv: Iterable[str], more: Mapping[str, str] | None = None) -> Ended:
        """Run one step of a build, with `more` environment variables. Raises StepError unless it succeeds."""
        try:
            ended = self.complete(tuple(argv), _NO_LIMIT, more)
        except FaultError as fault:
            raise StepError(f"{name}: {fault}") from None
        except OSError as error:
            raise StepError(f"{name}: {error.strerror}") from None
        if not ended.well:
            raise StepError(f"{name}: {ended.why}", ended.log())
        return ended

    def write(self, directory: str, files: Mapping[str, str]) -> str:
        """Write files into a fresh directory of the context's user. Returns its path."""
        top = os.path.join(self.directory, directory)
        with contextlib.suppress(FileNotFoundError):
            remove_tree(top)
        places = {top, *(os.path.dirname(os.path.join(top, name)) for name in files)}
        for place in sorted(places):
            os.makedirs(place, exist_ok=True)
            give(place, self.context.user)
        for name, text in files.items():
            with open(os.path.join(top, name), "w", encoding="ascii") as file:
                file.write(text)
            give(file.name, self.context.user)
        return top

    def failed(self, name: str, error: StepError) -> Item:
        """An item that failed in a step; the step's last output goes into the log."""
        if error.log:
            self.logs.append(f"{name}:\n{error.log}")
        return judged(name, str(error))


def absent(name: str, reason: str) -> Item:
    """An item without the means to build it."""
    return Item(name=name, outcome=Outcome.SKIPPED, detail=reason)
