"""What all backends share: a family of processes, records of what these did, and one end."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from types import TracebackType

from slimagent.linux.family import Family
from slimagent.trace.record import Record, combine
from slimagent.trace.watcher import Lane, Observed


class Backend(ABC):
    """The part of a `Watcher` that is the same for every backend. `_resources` are closed on exit."""

    tells_apart = False

    def __init__(self, family: Family, *records: Record) -> None:
        self.family = family
        self.records = list(records)
        self._resources = contextlib.ExitStack()
        self._step = -1
        self._observed: Observed | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.finish()
        finally:
            self._resources.close()

    def reap(self) -> None:
        """Collect orphans that became our children."""
        self.family.reap()

    def test(self, name: str) -> None:  # noqa: B027  # what a backend does that is blind to tests
        """Do nothing."""

    def beside(self, name: str) -> Lane:
        """Begin a step beside others, if the backend `tells_apart`."""
        raise NotImplementedError

    def finish(self) -> Observed:
        """Stop what still runs, and return everything that was seen. Later calls return the same."""
        if self._observed is None:
            stopped = self._stop()
            self._observed = combine(self.records, stopped)
        return self._observed

    @abstractmethod
    def _stop(self) -> tuple[str, ...]:
        """Stop what still runs (SIGTERM, then SIGKILL) and complete the records. Returns what was stopped."""
