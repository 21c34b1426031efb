"""The interface of all tracing backends, and their result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from slimagent.model.trace import Attributed, BlindSpot, How, Loss, MarkedTest

if TYPE_CHECKING:
    import subprocess

    from slimagent.linux.command import Command

Mask = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a watcher saw: how and in which steps each path was used, and what was missed.

    Paths are absolute and normalised except for `..`, which may follow a link.
    `files` maps a device and inode to one of these paths, if the backend knows.
    `tests`, `attributed` and `tests_cut` are as in `Trace`, by the indices of steps here.
    `stopped` has the command lines of processes that had to be stopped at the end.
    """

    accesses: dict[bytes, tuple[How, tuple[int, ...]]]
    losses: tuple[Loss, ...]
    files: dict[tuple[int, int], bytes] = field(default_factory=dict)
    stopped: tuple[str, ...] = ()
    tests: tuple[MarkedTest, ...] = ()
    attributed: tuple[Attributed, ...] = ()
    tests_cut: bool = False


class Lane(Protocol):
    """Where the processes of one step start. Steps in lanes of their own can run side by side."""

    def test(self, name: str) -> None:
        """Put all its processes that have no mark of their own into a test of the step; "" ends it.

        A backend that is blind to tests (`BlindSpot.TESTS`) does nothing.
        """

    def spawn(self, command: Command) -> subprocess.Popen[bytes]:
        """Start a watched process. Raises OSError as Popen does."""


class Watcher(Lane, Protocol):
    """A backend. Enter it, `spawn` commands, `finish` to get the result. Nothing is left behind after exit.

    It is also the lane of the step that was begun last.
    """

    name: str
    tells_apart: bool  # whether it knows which lane an access belongs to, so that steps can run side by side
    blind_spots: tuple[BlindSpot, ...]
    no_new_privileges: bool  # whether processes cannot gain privileges (PR_SET_NO_NEW_PRIVS of prctl(2))

    @staticmethod
    def unavailable() -> str | None:
        """Why this backend does not work here, or None."""

    def __enter__(self) -> Watcher: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def step(self, name: str) -> int:
        """Begin a step. Later accesses belong to it. Returns its index, from 0."""

    def beside(self, name: str) -> Lane:
        """Begin a step that runs beside others: only what its lane spawns belongs to it. It has the next index.

        Any thread may use the lane. Raises NotImplementedError unless the backend `tells_apart`.
        """

    def reap(self) -> None:
        """Collect orphans that ended. Call it while waiting for a long command."""

    def finish(self) -> Observed:
        """Stop what still runs, and return what was seen. Later calls return the same."""
