"""How long work shows: a live line on a terminal, one line per phase elsewhere, nothing with --quiet."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import click

from slimagent.report.text import amount, check_line
from slimagent.results import CheckResult, Outcome

_COLOURS = {Outcome.PASSED: "green", Outcome.FAILED: "red", Outcome.SKIPPED: "yellow"}


class Console:
    """A pipeline's Reporter on standard error, which leaves standard output to the command and to `--json`.

    `seconds` are the phases' times, in order.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live = not quiet and sys.stderr.isatty()
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
            click.echo(click.style("slimagent: ", dim=True) + f"{name}  {seconds:.1f} s", err=True)

    @contextlib.contextmanager
    def _status(self, name: str, counted: bool) -> Iterator[Callable[[str], None] | None]:
        # A phase that runs the user's commands has no numbers, and the terminal is theirs.
        if not (self._live and counted):
            yield None
            return
        from rich.console import Console as Rich

        with Rich(stderr=True).status(name) as status:
            yield status.update

    def result(self, result: CheckResult) -> None:
        """Show a check that has ended."""
        if not self._quiet:
            show_result(result)


def show_result(result: CheckResult, *, err: bool = True) -> None:
    """One line for a check, with the reason if it did not pass, and a line for each item that failed."""
    first, *rest = check_line(result)
    click.secho(first, fg=_COLOURS[result.outcome], err=err)
    for line in rest:
        click.echo(line, err=err)
