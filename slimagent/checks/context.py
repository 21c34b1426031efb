"""What a check is given: how to start processes, and their user, environment and working directory."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from slimagent.linux.command import Command
from slimagent.model.result import CheckResult
from slimagent.model.user import User

# Starts a process of the image: `linux.family.spawn`, or a watcher's. Raises OSError as Popen does.
Spawn = Callable[[Command], subprocess.Popen[bytes]]


def _untold(name: str) -> None:
    """Nobody traces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The image as a check sees it. `user` None: our own user. `cwd` is where commands run.

    `before` is the result of the same check on the original image, if known. `log` is a file for all output of a
    check's command; empty for none. `test` says which item is exercised from now on, by all processes of the check,
    and "" that none is: a trace then knows which item needed a file. `jobs` is how many of its items may run at a time.
    """

    spawn: Spawn
    env: Mapping[str, str]
    user: User | None
    cwd: str
    before: CheckResult | None = None
    log: str = ""
    test: Callable[[str], None] = _untold
    jobs: int = 1
