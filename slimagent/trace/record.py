"""What a supervisor has seen: a few machine words per path and step, however many calls there are."""

from __future__ import annotations

from collections.abc import Iterable

from slimagent.model.trace import How, Loss, LossKind
from slimagent.paths.algebra import normalise
from slimagent.trace.watcher import Observed

ENDED = "from here on nothing was seen: {!r}"


class Record:
    """Paths by step, and losses by kind. Only one thread writes it.

    `at_once`: record a path before its call continues, since there may be no time later.
    """

    at_once = False

    def __init__(self) -> None:
        self.steps: dict[int, dict[bytes, int]] = {}
        self.files: dict[tuple[int, int], bytes] = {}  # device and inode: a path of the file
        self.losses: dict[LossKind, tuple[int, str]] = {}
        self.ended_by: Exception | None = None  # not a loss: without memory we could not count one

    def add(self, step: int, path: bytes, how: int) -> None:
        """Record that `path` was used in `step`."""
        seen = self.steps.get(step)
        if seen is None:
            seen = self.steps[step] = {}
        seen[path] = seen.get(path, 0) | how

    def lose(self, kind: LossKind, example: str, count: int = 1) -> None:
        """Count something that could not be seen. The first example of its kind is kept."""
        before, first = self.losses.get(kind, (0, example))
        self.losses[kind] = (before + count, first)

    def end(self, error: Exception) -> None:
        """Remember that `error` ended the supervisor."""
        self.ended_by = error


def combine(records: Iterable[Record], stopped: tuple[str, ...] = ()) -> Observed:
    """Combine the records of all supervisors. Different spellings of a path become one."""
    hows: dict[bytes, int] = {}
    steps: dict[bytes, set[int]] = {}
    whole = Record()
    for record in records:
        whole.files.update(record.files)
        for step, seen in list(record.steps.items()):
            for spelled, how in list(seen.items()):
                path = normalise(spelled)
                hows[path] = hows.get(path, 0) | how
                steps.setdefault(path, set()).add(step)
        for kind, (count, example) in record.losses.items():
            whole.lose(kind, example, count)
        if record.ended_by is not None:
            whole.lose(LossKind.SUPERVISOR_ERROR, ENDED.format(record.ended_by))
    losses = sorted(whole.losses.items())
    return Observed(
        accesses={path: (How(hows[path]), tuple(sorted(steps[path]))) for path in hows},
        losses=tuple(Loss(kind=kind, count=count, example=first) for kind, (count, first) in losses),
        files=whole.files,
        stopped=stopped,
    )
