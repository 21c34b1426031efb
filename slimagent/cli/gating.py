"""The gate and the history of a run: options that commands share, and what they do with its summary."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import click

from slimagent.cli import options, terminal, writing
from slimagent.errors import GateFailedError, SlimagentError
from slimagent.gate import rules as gate_rules
from slimagent.gate.judge import judge
from slimagent.model.gate import Earlier, Outcome, Rule, Ruling
from slimagent.model.history import PastRun
from slimagent.model.plan import Plan
from slimagent.model.summary import Summary
from slimagent.report.gate import failing, for_github
from slimagent.report.since import past_run, previous, since
from slimagent.report.summary import failure
from slimagent.workflows import histories
from slimagent.workflows.facts import facts, now

DEFAULT = "slimagent-history.jsonl"


def _rules(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> tuple[Rule, ...]:
    return tuple(gate_rules.read(text) for text in texts)


gate_option = click.option(
    "--gate",
    "gates",
    multiple=True,
    callback=_rules,
    metavar="RULE",
    help="A rule about the result, e.g. 'size < 2.5 GB'; see docs/gate.md. Can be repeated.",
)
history_option = click.option(
    "--history", metavar="FILE", help="Compare with the last run in this history, and add this run to it."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The rules of the command line, and a history with its runs."""

    rules: tuple[Rule, ...] = ()
    history: str | None = None
    runs: tuple[PastRun, ...] = ()

    def judged(self, summary: Summary, plan: Plan | None, profile: tuple[Rule, ...], directory: str) -> Summary:
        """The summary of a slim image with what the rules came to, those of the profile first, and what changed."""
        run = None if plan is None else past_run(summary, plan, now())
        last = None if run is None else previous(self.runs, run)
        earlier = None if last is None else Earlier(last.minute, last.bytes_after, last.level)
        rulings = judge(gate_rules.merged((*profile, *self.rules)), facts(summary, plan, earlier))
        changes = None if run is None or last is None else since(last, run)
        error = gate_failure(replace(summary, gate=rulings), directory)
        return replace(summary, gate=rulings, since=changes, failure=None if error is None else failure(error))

    def conclude(
        self, summary: Summary, plan: Plan | None, directory: str, image_id: str = "", *, quiet: bool = False
    ) -> None:
        """Add the run to the history, tell GitHub of the rules that do not hold, and raise GateFailedError.

        A run that fails the gate is not added: the next one would be compared with it, and pass.
        """
        annotate(summary.gate)
        error = gate_failure(summary, directory)
        run = None if plan is None else past_run(summary, plan, now(), image_id)
        if self.history is not None and run is not None:
            if error is not None:
                command = shlex.join(["slimagent", "history", "add", directory, "--file", self.history])
                terminal.line(f"slimagent: not added to {self.history}; to accept it: {command}", err=True)
            elif histories.add(self.history, run) and not quiet:
                terminal.line(f"slimagent: added to {self.history}", err=True)
        if error is not None:
            raise error


def gating_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add both options to a command; it gets them as the argument `gate`, a Gate. The history is read at once."""

    @functools.wraps(function)
    def gather(*arguments: Any, gates: tuple[Rule, ...], history: str | None, **others: Any) -> Any:
        if history is not None:
            writing.require_writable(history)
        runs = () if history is None else histories.runs_in(history)
        return function(*arguments, gate=Gate(rules=gates, history=history, runs=runs), **others)

    return options.together(gate_option, history_option)(gather)


def gate_failure(summary: Summary, directory: str) -> SlimagentError | None:
    """The error of a gate of which a rule fails, None if none does. The image stays, because its proof passed."""
    if not any(each.outcome is Outcome.FAILED for each in summary.gate):
        return None
    made = f"{summary.tag} was made and proved, but " if summary.tag else ""
    command = shlex.join(["slimagent", "explain", directory])
    return GateFailedError(f"{made}{failing(summary.gate)}", f"to see what it holds: {command}")


def annotate(rulings: tuple[Ruling, ...]) -> None:
    """In a job of GitHub Actions, show the rules that do not hold beside it."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for each in for_github(rulings):
            terminal.annotation(each.level, each.title, each.message)
