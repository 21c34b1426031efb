"""What a check is given: how to start processes, as whom, with which environment, and where."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from slimagent.model.result import CheckResult
from slimagent.model.user import User


class Spawn(Protocol):
    """Starts a process of the image; under tracing, a watched one. Arguments as in `subprocess.Popen`."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str | None = None,
        user: User | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        new_session: bool = False,
    ) -> subprocess.Popen[bytes]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The image as a check meets it. `user` None is who we are; `cwd` is where commands run.

    `before` is how the same check ended on the image as it was, where that is known. `log` is a file for all that a
    check's command says, empty for none.
    """

    spawn: Spawn
    env: Mapping[str, str]
    user: User | None
    cwd: str
    before: CheckResult | None = None
    log: str = ""


def spawn_plainly(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None = None,
    user: User | None = None,
    stdin: Any = None,
    stdout: Any = None,
    stderr: Any = None,
    new_session: bool = False,
) -> subprocess.Popen[bytes]:
    """A Spawn that watches nothing."""
    whom: dict[str, Any] = {}
    if user is not None:
        whom = {"user": user.uid, "group": user.gid, "extra_groups": list(user.groups)}
    return subprocess.Popen(
        list(argv),
        env=dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=new_session,
        **whom,
    )
