"""How long work shows: a live line on a terminal, one line per phase elsewhere, nothing with --quiet."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator

from slimagent.cli import terminal
from slimagent.cli.terminal import Styled
from slimagent.model.result import CheckResult, Standing
from slimagent.report.checklist import check_lines
from slimagent.report.text import amount
from slimagent.verify.compare import standing

_COLOURS = {
    Standing.PASSED: "green",
    Standing.FAILED: "red",
    Standing.WORSE: "red",
    Standing.SKIPPED: "yellow",
    Standing.FAILED_BEFORE: "yellow",
}


class Console:
    """A pipeline's Reporter on standard error, which leaves standard output to the command and to `--json`.

    `names` are those of the checks to come, so that their lines line up; `err` False shows their results on standard
    output. `seconds` are the phases' times, in order.
    """

    def __init__(self, *, quiet: bool = False, names: Iterable[str] = (), err: bool = True) -> None:
        self._quiet = quiet
        self._width = max(map(len, names), default=0)
        self._err = err
        self._live = not quiet and terminal.is_live()
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str, unit: str = "") -> Iterator[Callable[[int], None]]:
        """Time a phase. `unit` says what its numbers count; without one the phase shows no numbers."""
        started, last = time.monotonic(), [0]

        def progress(done: int) -> None:
            last[0] = done
            if live is not None:
                live(f"{name}: {amount(done, unit)}")

        with self._status(name, bool(unit)) as live:
            yield progress
        seconds = time.monotonic() - started
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        if not self._quiet:
            terminal.line(Styled("slimagent: ", dim=True), f"{name}  {seconds:.1f} s", err=True)

    @contextlib.contextmanager
    def _status(self, name: str, counted: bool) -> Iterator[Callable[[str], None] | None]:
        # A phase that runs the user's commands has no numbers, and the terminal is theirs.
        if not (self._live and counted):
            yield None
            return
        with terminal.status(name) as show:
            yield show

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """On a terminal, show what is being waited for while the block runs."""
        with self._status(what, counted=True):
            yield

    def watching(self) -> None:
        """Say that the watch has begun, also with --quiet: who starts the work waits for this line."""
        terminal.line("slimagent: watching every process; end it with SIGINT or SIGTERM", err=True)

    def result(self, result: CheckResult, before: CheckResult | None = None) -> None:
        """Show a check that has ended: a line for it, as `check_lines` gives it, and those of what failed in it."""
        if self._quiet:
            return
        stands = standing(result, before)
        first, *rest = check_lines(result, stands, before, width=self._width)
        terminal.line(Styled(first, _COLOURS[stands]), err=self._err)
        for line in rest:
            terminal.line(line, err=self._err)
