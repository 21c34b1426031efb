"""Kind `python-imports`: every importable top-level name of every environment, each in a child of one interpreter.

Parameters: `environments` (prefixes; default: all that are found) or `python` (one program instead), `modules` (names
to import besides, dotted ones too), `skip` (names left out), `seconds_each` (default 60).

An item is named by the module; where the environment is not the one that PATH means by python3, as `MODULE (PREFIX)`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from slimagent.checks.context import Context
from slimagent.checks.directory import temporary_directory
from slimagent.checks.driver import listen, shown
from slimagent.checks.finding import Finding, failed, of_items, skipped
from slimagent.checks.output import Output
from slimagent.checks.processes import started, wait
from slimagent.checks.python.prefixes import environments, first_on_path, identity, is_bare, of_prefix
from slimagent.errors import UsageError
from slimagent.linux.command import ending
from slimagent.linux.files import read
from slimagent.model.profile import CheckSpec, Parameter
from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.paths.algebra import to_text

PARAMETERS: dict[str, type] = {
    "python": str,
    "environments": tuple,
    "modules": tuple,
    "skip": tuple,
    "seconds_each": float,
}
_SECONDS_EACH = 60.0
_MOST_PARALLEL = 2
# Python imports a directory of that name then (PEP 420), and says nothing.
_EMPTIED = "its __init__ is gone: what is imported is a bare directory of that name"
_DRIVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "imports_driver.py")


@dataclass(frozen=True, slots=True)
class _Target:
    """An interpreter to run, its prefix if known, and what is added to the names of its modules: nothing for the first.

    `missing` says why there is none.
    """

    python: str
    suffix: str = ""
    prefix: str = ""
    missing: str = ""


@dataclass(slots=True)
class _Report:
    """What the driver said so far."""

    names: tuple[str, ...] | None = None
    prefix: str = ""
    details: dict[str, str] = field(default_factory=dict)  # of the names that were imported; empty: it went well
    directories: set[str] = field(default_factory=set)  # names that are packages without __init__
    problem: str = ""  # why there are no names
    log: str = ""  # the last lines that the interpreter wrote, if there is a problem
    outcome: Outcome = Outcome.FAILED  # of the interpreter, if there is a problem
    in_time: bool = True

    def take(self, value: Mapping[str, Any]) -> bool:
        """One message of it; whether it was the last."""
        name = value.get("name")
        if isinstance(value.get("names"), list):
            self.names = tuple(shown(each) for each in value["names"])
            self.prefix = shown(value.get("prefix"))
        elif isinstance(name, str):
            self.details[name] = "" if value.get("ok") is True else shown(value.get("detail")) or "no reason given"
            if value.get("folder") is True:
                self.directories.add(name)
        return value.get("end") is True


def run(spec: CheckSpec, context: Context) -> Finding:
    """One item per name. A hang, a fatal signal and an exception are told apart in an item's detail."""
    targets = _targets(spec, context)
    if not targets:
        return skipped(f"{spec.parameters.get('python', 'python3')} is not on PATH")
    deadline = time.monotonic() + spec.seconds
    whole = _whole_before(context.before)
    items: list[Item] = []
    directories: list[str] = []
    exercised: set[str] = set()
    for target in targets:
        if target.prefix and identity(target.prefix) in exercised:  # a launcher on PATH led there
            continue
        report = _explore(target, spec, context, deadline)
        exercised.update(identity(prefix) for prefix in (report.prefix, target.prefix) if prefix)
        if report.problem and len(targets) == 1:
            return failed(f"{report.problem}\n{report.log}".rstrip())
        directories += [f"{name}{target.suffix}" for name in report.directories]
        items += _items(target, report, spec)
    if not items:
        return skipped(f"{' and '.join(target.python for target in targets)}: no third-party modules")
    emptied = whole.intersection(directories)
    items = [replace(each, outcome=Outcome.FAILED, detail=_EMPTIED) if each.name in emptied else each for each in items]
    return replace(of_items([*items, *_left_out(spec)]), snapshot=json.dumps(sorted(directories)))


def _whole_before(before: CheckResult | None) -> set[str]:
    """The items that were imported from a file on the image as it was: their snapshot lists the others."""
    if before is None:
        return set()
    try:
        directories = json.loads(before.snapshot)
    except (ValueError, RecursionError):
        return set()
    if not isinstance(directories, list):
        return set()
    good = {each.name for each in before.items if each.outcome is Outcome.PASSED}
    return good.difference(name for name in directories if isinstance(name, str))


def _targets(spec: CheckSpec, context: Context) -> list[_Target]:
    """What is to be exercised: the profile's interpreter, or its environments, or all that have something in them."""
    path = context.env.get("PATH", os.defpath)
    python, prefixes = spec.parameters.get("python"), spec.parameters.get("environments")
    if python is not None:
        if prefixes is not None:
            raise UsageError(f"check {spec.name}: both python and environments are given", "give one of them")
        found = shutil.which(str(python), path=path)
        return [_Target(found)] if found else []
    first = first_on_path(context.env)
    plain = identity(first.prefix) if first else None
    if isinstance(prefixes, tuple):
        return [_target(prefix, plain) for prefix in prefixes]
    return [
        _Target(each.interpreter, "" if identity(each.prefix) == plain else _suffix(each.prefix), each.prefix)
        for each in environments(context.env)
        if identity(each.prefix) == plain or not is_bare(each)
    ]


def _target(prefix: str, plain: str | None) -> _Target:
    """The target for a prefix that the profile names."""
    found = of_prefix(prefix)
    suffix = "" if identity(prefix) == plain else _suffix(prefix)
    if found is None:
        return _Target(prefix, suffix, prefix, f"no interpreter is at {os.path.join(prefix, 'bin', 'python3')}")
    return _Target(found.interpreter, suffix, prefix)


def _suffix(prefix: str) -> str:
    return f" ({_text(prefix)})"


def _text(path: str) -> str:
    return to_text(os.fsencode(path))


def _explore(target: _Target, spec: CheckSpec, context: Context, deadline: float) -> _Report:
    """Run the driver in one interpreter, until the check's deadline at most."""
    report = _Report(problem=target.missing)
    if target.missing:
        return report
    if time.monotonic() >= deadline:
        report.problem = f"not reached in {spec.seconds:g} s"
        return report
    try:
        _drive(target, spec, context, deadline, report)
    except OSError as error:
        report.problem = f"{target.python} cannot be run: {error.strerror or error}"
        if isinstance(error, PermissionError) and target.suffix:  # somebody else's environment
            report.outcome = Outcome.SKIPPED
    return report


def _drive(target: _Target, spec: CheckSpec, context: Context, deadline: float, report: _Report) -> None:
    """Start the driver and fill the report. Raises OSError if the interpreter cannot be started."""
    argv = (target.python, "-c", read(_DRIVER).decode("utf-8"), json.dumps(_wanted(target, spec.parameters)))
    with temporary_directory(context.user) as directory, Output() as output:
        env = {**context.env, "TMPDIR": directory}  # where packages leave logs and caches behind
        with started(context, argv, env=env, cwd=directory, stdout=subprocess.PIPE, stderr=output) as process:
            report.in_time = listen(process.stdout, deadline, report.take, output.limit)
            returncode = wait(process, 5.0) if report.in_time else None
            log = output.last_lines()
    if report.names is None:
        why = f"no end after {spec.seconds:g} s" if returncode is None else ending(returncode)
        report.problem, report.log = f"{target.python} could not list its modules: {why}", log


def _wanted(target: _Target, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    return {
        "seconds_each": parameters.get("seconds_each", _SECONDS_EACH),
        "parallel": min(_MOST_PARALLEL, os.cpu_count() or 1),
        "skip": [name.removesuffix(target.suffix) for name in _strings(parameters.get("skip"))],
        "modules": parameters.get("modules", ()),
        "first": not target.suffix,
    }


def _items(target: _Target, report: _Report, spec: CheckSpec) -> Iterator[Item]:
    """An item per name, in the driver's order; one that it did not come to has failed. Without names, one item."""
    if report.problem:
        aside = f" ({report.log.splitlines()[-1]})" if report.log else ""
        yield Item(name=_text(target.python), outcome=report.outcome, detail=report.problem + aside)
    lost = "the interpreter ended before" if report.in_time else f"not reached in {spec.seconds:g} s"
    for name in report.names or ():
        detail = report.details.get(name, lost)
        outcome = Outcome.FAILED if detail else Outcome.PASSED
        yield Item(name=f"{name}{target.suffix}", outcome=outcome, detail=detail)


def _left_out(spec: CheckSpec) -> Iterator[Item]:
    for name in _strings(spec.parameters.get("skip")):
        yield Item(name=name, outcome=Outcome.SKIPPED, detail="left out by the profile")


def _strings(value: Parameter | None) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()
