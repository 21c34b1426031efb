"""Show progress: a live line on a terminal; elsewhere a line per phase, and now and then one in a long phase."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from slimagent.cli import terminal
from slimagent.cli.terminal import Styled
from slimagent.model.result import CheckResult, Standing
from slimagent.model.summary import Phase
from slimagent.report.checklist import check_lines
from slimagent.report.text import amount
from slimagent.verify.compare import standing

_STILL_EVERY = 30.0  # seconds between the lines of a long phase in a log
_COLOURS = {
    Standing.PASSED: "green",
    Standing.FAILED: "red",
    Standing.WORSE: "red",
    Standing.SKIPPED: "yellow",
    Standing.FAILED_BEFORE: "yellow",
}


class Console:
    """A pipeline's Reporter on standard error, which leaves standard output to the command and to `--json`.

    `names` are the names of the checks, so that their lines align. With `err` False, their results go to standard
    output. `is_alone` says that nothing else writes to the terminal: then phases without numbers are live, too.
    """

    def __init__(
        self, *, quiet: bool = False, names: Iterable[str] = (), err: bool = True, is_alone: bool = False
    ) -> None:
        self._quiet = quiet
        self._is_alone = is_alone
        self._width = max(map(len, names), default=0)
        self._err = err
        self._live = not quiet and terminal.is_live()
        self._began = time.monotonic()
        self._way: tuple[str, ...] = ()  # the phases that are open, the outermost first
        self._spent: dict[tuple[str, ...], float] = {}

    @contextlib.contextmanager
    def phase(self, name: str, unit: str = "") -> Iterator[Callable[[int], None]]:
        """Time and show a phase. `unit` says what its numbers count; without one it shows no numbers."""
        started, around = time.monotonic(), self._way
        way = self._way = (*around, name)
        self._spent.setdefault(way, 0.0)
        still = _Still(self._line, name, started)

        def progress(done: int) -> None:
            still.name = f"{name}: {amount(done, unit)}"
            if live is not None:
                live(still.name)
            elif in_log:
                still.tell()

        try:
            with self._status(name, bool(unit)) as live:
                in_log = live is None and not self._quiet and not terminal.is_live()
                with still.told_by_itself() if in_log and self._is_alone else contextlib.nullcontext():
                    yield progress
        finally:
            seconds = time.monotonic() - started
            self._spent[way] += seconds
            self._way = around
        if not self._quiet:
            self._line(f"{name}  {seconds:.1f} s")

    def say(self, text: str) -> None:
        """Say what begins now, in a line."""
        if not self._quiet:
            self._line(text)

    @property
    def seconds(self) -> float:
        """How long ago this began."""
        return time.monotonic() - self._began

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases so far, in the order in which they first began, each followed by its parts.

        Phases of one name that are parts of the same phase are one.
        """
        first = {way: number for number, way in enumerate(self._spent)}
        ways = sorted(first, key=lambda way: [first[way[:end]] for end in range(1, len(way) + 1)])
        return tuple(Phase(name=way[-1], seconds=self._spent[way], depth=len(way) - 1) for way in ways)

    @contextlib.contextmanager
    def _status(self, name: str, counted: bool) -> Iterator[Callable[[str], None] | None]:
        # A phase without numbers may run the user's commands: then the terminal is theirs.
        if not (self._live and (counted or self._is_alone)):
            yield None
            return
        self._live = False  # a terminal has room for one
        try:
            with terminal.status(name) as show:
                yield show
        finally:
            self._live = True

    @staticmethod
    def _line(text: str) -> None:
        terminal.line(Styled("slimagent: ", dim=True), text, err=True)

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """On a terminal, show what we wait for while the block runs."""
        with self._status(what, counted=True):
            yield

    def watching(self) -> None:
        """Say that recording has begun, even with --quiet: scripts wait for this line before they start their work."""
        terminal.line("slimagent: watching every process; end it with SIGINT or SIGTERM", err=True)

    def result(self, result: CheckResult, before: CheckResult | None = None) -> None:
        """Show the result of a check: its line from `check_lines`, and the lines for what failed in it."""
        if self._quiet:
            return
        stands = standing(result, before)
        first, *rest = check_lines(result, stands, before, width=self._width)
        terminal.line(Styled(first, _COLOURS[stands]), err=self._err)
        for line in rest:
            terminal.line(line, err=self._err)


class _Still:
    """Says in a log, now and then, that a phase is still running. `name` describes the phase."""

    def __init__(self, say: Callable[[str], None], name: str, started: float) -> None:
        self.name = name
        self._say = say
        self._started = self._last = started

    def tell(self) -> None:
        """Say so if it is time."""
        now = time.monotonic()
        if now - self._last >= _STILL_EVERY:
            self._last = now
            self._say(f"{self.name}, {now - self._started:.0f} s so far")

    @contextlib.contextmanager
    def told_by_itself(self) -> Iterator[None]:
        """Keep telling while the block runs. A thread does it, so the block must not fork."""
        ended = threading.Event()

        def run() -> None:
            while not ended.wait(_STILL_EVERY / 10):
                self.tell()

        thread = threading.Thread(target=run, name="still", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
