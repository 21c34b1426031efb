"""Kind `python-imports`: imports every top-level name of every environment, each in a child process.

Parameters: `environments` (prefixes; default: all that are found) or `python` (one program instead), `modules` (more
names to import, also dotted ones), `skip` (names left out), `seconds_each` (default 60).

An item has the name of the module; in an environment other than that of PATH's python3, `MODULE (PREFIX)`.
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

from slimagent.checks import parameters
from slimagent.checks.answers import parsed, strings
from slimagent.checks.context import Context
from slimagent.checks.directory import temporary_directory
from slimagent.checks.driver import listen, shown
from slimagent.checks.finding import LEFT_OUT, Finding, all_skipped, failed, judged, of_items, skipped
from slimagent.checks.output import Output
from slimagent.checks.processes import started, wait
from slimagent.checks.python.prefixes import environments, first_on_path, identity, is_bare, of_prefix
from slimagent.errors import UsageError
from slimagent.linux.command import ending
from slimagent.linux.files import read
from slimagent.model.profile import CheckSpec
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
# Python then imports a directory of that name (PEP 420) without an error.
_EMPTIED = "its __init__ is gone: Python imports an empty directory of that name"
_DRIVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "imports_driver.py")


@dataclass(frozen=True, slots=True)
class _Target:
    """An interpreter to run, its prefix if known, and the suffix of its items: empty for the first.

    `missing` says why there is no interpreter.
    """

    python: str
    suffix: str = ""
    prefix: str = ""
    missing: str = ""


@dataclass(slots=True)
class _Report:
    """What the driver has reported so far."""

    names: tuple[str, ...] | None = None
    prefix: str = ""
    details: dict[str, str] = field(default_factory=dict)  # of the names that were imported; empty: success
    directories: set[str] = field(default_factory=set)  # names that are packages without __init__
    problem: str = ""  # why there are no names
    log: str = ""  # the last output of the interpreter, if there is a problem
    outcome: Outcome = Outcome.FAILED  # of the interpreter, if there is a problem
    in_time: bool = True

    def take(self, value: Mapping[str, Any]) -> bool:
        """Take a message; True if it was the last."""
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
    """One item per name. Its detail distinguishes a hang, a fatal signal and an exception."""
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
    items = [judged(each.name, _EMPTIED) if each.name in emptied else each for each in items]
    items += all_skipped(parameters.strings(spec, "skip"), LEFT_OUT)
    return replace(of_items(items), snapshot=json.dumps(sorted(directories)))


def _whole_before(before: CheckResult | None) -> set[str]:
    """The items that were imported from a file on the original image: their snapshot lists the others."""
    directories = parsed(before.snapshot) if before is not None else None
    if before is None or not isinstance(directories, list):
        return set()
    return {each.name for each in before.items if each.outcome is Outcome.PASSED}.difference(strings(directories))


def _targets(spec: CheckSpec, context: Context) -> list[_Target]:
    """What to exercise: the profile's interpreter, or its environments, or all environments that are not empty."""
    path = context.env.get("PATH", os.defpath)
    python, prefixes = spec.parameters.get("python"), spec.parameters.get("environments")
    if python is not None:
        if prefixes is not None:
            raise UsageError(f"check {spec.name}: both python and environments are given", "remove one of them")
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
        if isinstance(error, PermissionError) and target.suffix:  # another user's environment
            report.outcome = Outcome.SKIPPED
    return report


def _drive(target: _Target, spec: CheckSpec, context: Context, deadline: float, report: _Report) -> None:
    """Start the driver and fill the report. Raises OSError if the interpreter cannot be started."""
    argv = (target.python, "-c", read(_DRIVER).decode("utf-8"), json.dumps(_request(target, spec, context.jobs)))
    with temporary_directory(context.user) as directory, Output() as output:
        env = {**context.env, "TMPDIR": directory}  # packages leave logs and caches there
        with started(context, argv, env=env, cwd=directory, stdout=subprocess.PIPE, stderr=output) as process:
            report.in_time = listen(process.stdout, deadline, report.take, output.limit)
            returncode = wait(process, 5.0) if report.in_time else None
            log = output.last_lines()
    if report.names is None:
        why = f"no end after {spec.seconds:g} s" if returncode is None else ending(returncode)
        report.problem, report.log = f"{target.python} could not list its modules: {why}", log


def _request(target: _Target, spec: CheckSpec, jobs: int) -> dict[str, Any]:
    return {
        "seconds_each": parameters.number(spec, "seconds_each", _SECONDS_EACH),
        "parallel": jobs,
        "skip": [name.removesuffix(target.suffix) for name in parameters.strings(spec, "skip")],
        "modules": parameters.strings(spec, "modules"),
        "first": not target.suffix,
    }


def _items(target: _Target, report: _Report, spec: CheckSpec) -> Iterator[Item]:
    """An item per name, in the driver's order; one that it did not reach has failed. Without names, one item."""
    if report.problem:
        aside = f" ({report.log.splitlines()[-1]})" if report.log else ""
        yield Item(name=_text(target.python), outcome=report.outcome, detail=report.problem + aside)
    lost = "the interpreter ended before" if report.in_time else f"not reached in {spec.seconds:g} s"
    for name in report.names or ():
        yield judged(f"{name}{target.suffix}", report.details.get(name, lost))
