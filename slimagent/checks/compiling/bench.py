"""Where kind `compile` builds things: steps that say what went wrong, in a directory of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from slimagent.checks.context import Context
from slimagent.checks.program import Ended, complete
from slimagent.linux.removal import remove_tree
from slimagent.model.result import Item, Outcome


class StepError(Exception):
    """A step of a build that did not go well: which, and why. `log` is what it wrote last."""

    def __init__(self, what: str, log: str = "") -> None:
        super().__init__(what)
        self.log = log


@dataclass(slots=True)
class Bench:
    """Where things are built: the environment, a directory, when all must be over; and what failed steps wrote last."""

    context: Context
    env: Mapping[str, str]
    directory: str
    deadline: float
    logs: list[str] = field(default_factory=list)

    def find(self, program: str) -> str | None:
        """A program on the image's PATH."""
        return shutil.which(program, path=self.env.get("PATH", os.defpath))

    def step(self, name: str, argv: Iterable[str], more: Mapping[str, str] | None = None) -> Ended:
        """Run one step of a build, with `more` environment variables. Raises StepError unless it ends well."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise StepError(f"{name}: not reached in the time of the check")
        env = {**self.env, **(more or {})}
        try:
            ended = complete(self.context, tuple(argv), env=env, cwd=self.directory, seconds=left)
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
            self._give(place)
        for name, text in files.items():
            with open(os.path.join(top, name), "w", encoding="ascii") as file:
                file.write(text)
            self._give(file.name)
        return top

    def _give(self, path: str) -> None:
        if self.context.user is not None:
            os.chown(path, self.context.user.uid, self.context.user.gid)

    def failed(self, name: str, error: StepError) -> Item:
        """An item that failed in a step; what the step wrote last goes into the log."""
        if error.log:
            self.logs.append(f"{name}:\n{error.log}")
        return Item(name=name, outcome=Outcome.FAILED, detail=str(error))


def absent(name: str, reason: str) -> Item:
    """An item that there is nothing to build with."""
    return Item(name=name, outcome=Outcome.SKIPPED, detail=reason)
