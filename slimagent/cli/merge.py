"""`slimagent merge`: several traces of one image as one."""

from __future__ import annotations

from collections import Counter

import click

from slimagent.cli import options, terminal, writing
from slimagent.cli.console import Console
from slimagent.cli.help import command
from slimagent.cli.traces import traces as traces_argument
from slimagent.documents import TRACE, encode_trace
from slimagent.linux.files import read, write
from slimagent.model.trace import Run, Trace
from slimagent.report.text import table
from slimagent.text.counted import counted
from slimagent.text.json_output import indented
from slimagent.workflows.tracing import merged


@command(example="slimagent merge monday.json tuesday.json -o both.json")
@traces_argument
@click.option("-o", "--output", default="trace.json", show_default=True, metavar="FILE", help="Write the trace here.")
@options.together(options.quiet, options.as_json)
def merge(traces: tuple[str, ...], output: str, quiet: bool, as_json: bool) -> int:
    """Merge traces of one image into one trace.

    The result has what any run needed, and what each run could not see. The order does not matter, and a trace that
    is given twice counts once. FILE may be one of the traces. TRACE may be a directory: that means all traces in it.
    """
    writing.require_writable(output, writing.own_document(TRACE))
    whole, _ = merged(((trace, read(trace)) for trace in traces), Console(quiet=quiet or as_json))
    write(output, encode_trace(whole))
    if as_json:
        terminal.json(indented(_summary(whole)))
    elif not quiet:
        terminal.lines(table(_rows(whole)))
    return 0


def _rows(trace: Trace) -> list[list[str]]:
    watched = Counter(f"{run.user} under {run.backend}" for run in trace.runs)
    return [
        ["runs", f"{len(trace.runs):,}: " + ", ".join(f"{count} of {who}" for who, count in sorted(watched.items()))],
        ["steps", f"{len(trace.steps):,}"],
        ["paths", f"{len(trace.accesses):,}, of which {_found(trace):,} were found"],
        ["blind spots", ", ".join(spot.value for spot in trace.blind_spots) or "none"],
        *(["loss", f"{loss.kind}, {counted(loss.count, 'time')}, e.g. {loss.example}"] for loss in trace.losses),
    ]


def _summary(trace: Trace) -> dict[str, object]:
    return {
        "runs": [_run(run) for run in trace.runs],
        "paths": len(trace.accesses),
        "found": _found(trace),
        "losses": {str(loss.kind): loss.count for loss in trace.losses},
        "blind_spots": [spot.value for spot in trace.blind_spots],
    }


def _run(run: Run) -> dict[str, object]:
    return {
        "identity": run.identity,
        "backend": run.backend,
        "user": run.user,
        "steps": {step.name: step.outcome.value for step in run.steps},
        "losses": {str(loss.kind): loss.count for loss in run.losses},
        "blind_spots": [spot.value for spot in run.blind_spots],
    }


def _found(trace: Trace) -> int:
    return sum(access.found for access in trace.accesses)


COMMANDS = (merge,)
