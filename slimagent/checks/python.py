"""Kind `python-imports`: every importable top-level name of an environment, each in a child of one interpreter.

Parameters: `python` (a program; default the PATH's python3, else python), `modules` (names to import besides, dotted
ones too), `skip` (names left out), `seconds_each` (default 60).
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from slimagent.checks.context import Context
from slimagent.checks.finding import Finding, failed, of_items, skipped
from slimagent.checks.folder import temporary_folder
from slimagent.checks.output import Output
from slimagent.checks.processes import ending, started
from slimagent.files import read
from slimagent.results import Item, Outcome
from slimagent.rules import CheckSpec, Parameter

PARAMETERS: dict[str, type] = {"python": str, "modules": tuple, "skip": tuple, "seconds_each": float}
_SECONDS_EACH = 60.0
_MOST_PARALLEL = 2
_LONGEST_LINE = 1 << 20
_DRIVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "python_imports_driver.py")


@dataclass(slots=True)
class _Report:
    """What the driver said so far."""

    names: tuple[str, ...] | None = None
    items: dict[str, Item] = field(default_factory=dict)
    ended: bool = False

    def take(self, line: bytes) -> None:
        """One line of it. What is no line of the driver's (a `.pth` file of the image can print) is passed over."""
        try:
            value = json.loads(line)
        except ValueError:
            return
        if not isinstance(value, dict):
            return
        if isinstance(value.get("names"), list):
            self.names = tuple(str(name) for name in value["names"])
        elif isinstance(value.get("name"), str):
            outcome = Outcome.PASSED if value.get("ok") is True else Outcome.FAILED
            name = value["name"]
            self.items[name] = Item(name=name, outcome=outcome, detail=str(value.get("detail", "")))
        self.ended |= value.get("end") is True


def run(spec: CheckSpec, context: Context) -> Finding:
    """One item per name. A hang, a fatal signal and an exception are told apart in an item's detail."""
    python = _interpreter(spec, context)
    if python is None:
        return skipped(f"{spec.parameters.get('python', 'python3')} is not on PATH")
    argv = (python, "-c", read(_DRIVER).decode("utf-8"), json.dumps(_wanted(spec.parameters)))
    with temporary_folder(context.user) as folder, Output() as output, started(
        context, argv, env=context.env, cwd=folder, stdout=subprocess.PIPE, stderr=output
    ) as family:  # fmt: skip
        report, in_time = _listen(family.process.stdout, spec.seconds)
        returncode = family.wait(5.0) if in_time else None
        log = output.last_lines()
    if report.names is None:
        why = f"no end after {spec.seconds:g} s" if returncode is None else ending(returncode)
        return failed(f"{python} could not list its modules: {why}\n{log}".rstrip())
    if not report.names:
        return skipped(f"{python} has no third-party modules")
    return of_items(_items(report, spec, in_time))


def _interpreter(spec: CheckSpec, context: Context) -> str | None:
    path = context.env.get("PATH", os.defpath)
    given = spec.parameters.get("python")
    names = (str(given),) if given is not None else ("python3", "python")
    return next((found for found in (shutil.which(name, path=path) for name in names) if found), None)


def _wanted(parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    return {
        "seconds_each": parameters.get("seconds_each", _SECONDS_EACH),
        "parallel": min(_MOST_PARALLEL, os.cpu_count() or 1),
        "skip": parameters.get("skip", ()),
        "modules": parameters.get("modules", ()),
    }


def _items(report: _Report, spec: CheckSpec, in_time: bool) -> Iterator[Item]:
    """An item per name, in the driver's order; one that it did not come to has failed."""
    lost = "the interpreter ended before" if in_time else f"not reached in {spec.seconds:g} s"
    for name in report.names or ():
        yield report.items.get(name) or Item(name=name, outcome=Outcome.FAILED, detail=lost)
    for name in _strings(spec.parameters.get("skip")):
        yield Item(name=name, outcome=Outcome.SKIPPED, detail="left out by the profile")


def _strings(value: Parameter | None) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()


def _listen(stream: IO[bytes] | None, seconds: float) -> tuple[_Report, bool]:
    """The driver's report, and whether it was whole, or its output ended, in that time."""
    report, rest = _Report(), b""
    if stream is None:
        return report, True
    deadline = time.monotonic() + seconds
    with stream:
        poll = select.poll()
        poll.register(stream, select.POLLIN)
        while not report.ended:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return report, False
            data = os.read(stream.fileno(), 65536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-_LONGEST_LINE:]
            for line in lines:
                report.take(line)
    return report, True
