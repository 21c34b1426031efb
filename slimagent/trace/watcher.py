"""What every tracing backend promises, and what it hands over at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from slimagent.model.trace import BlindSpot, How, Loss

if TYPE_CHECKING:
    import subprocess

    from slimagent.linux.command import Command

Mask = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a watcher saw: for each path how it was used and in which steps, and what escaped it.

    Paths are absolute and normalised but for `..`, which only a resolver may take away (it can follow a link).
    `files` tell by which of these paths a file was seen (its device and inode), where a backend knows.
    `stopped` are the command lines of processes that had to be stopped at the end.
    """

    accesses: dict[bytes, tuple[How, tuple[int, ...]]]
    losses: tuple[Loss, ...]
    files: dict[tuple[int, int], bytes] = field(default_factory=dict)
    stopped: tuple[str, ...] = ()


class Watcher(Protocol):
    """A backend: ready on entry, `spawn` as often as wanted, `finish` tells all. Nothing is left behind after exit."""

    name: str
    blind_spots: tuple[BlindSpot, ...]
    no_new_privileges: bool  # whether the processes cannot gain rights (PR_SET_NO_NEW_PRIVS of prctl(2))

    @staticmethod
    def unavailable() -> str | None:
        """Why this backend cannot be used here, or None."""

    def __enter__(self) -> Watcher: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def step(self, name: str) -> int:
        """Begin a step; accesses from now on belong to it. Returns its index, from 0."""

    def spawn(self, command: Command) -> subprocess.Popen[bytes]:
        """Start a watched process. Raises OSError as Popen does."""

    def reap(self) -> None:
        """Collect orphans that ended, for who waits for a long command."""

    def finish(self) -> Observed:
        """Stop what still runs, and hand over what was seen. Later calls return the same."""
