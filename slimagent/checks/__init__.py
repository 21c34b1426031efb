"""Exercise the image: one module or package per kind of check. A check starts processes with the Spawn it is given."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Mapping
from typing import NamedTuple

from slimagent.checks import (
    code_server,
    command,
    compiling,
    gpu,
    jupyter,
    notebooks,
    permissions,
    python,
    r,
    rstudio,
    tools,
)
from slimagent.checks.context import Context, Spawn
from slimagent.checks.finding import Finding, failed
from slimagent.errors import SlimagentError, UsageError
from slimagent.model.profile import CheckSpec
from slimagent.model.result import CheckResult

__all__ = ["KINDS", "Context", "Kind", "Spawn", "run", "validate"]


class Kind(NamedTuple):
    """A kind of check: the function that runs it, and the types of its parameters in a profile.

    `alone`: what it changes may change what another check finds, or the other way round. `spreads`: it runs as many of
    its items at a time as the context has jobs.
    """

    run: Callable[[CheckSpec, Context], Finding]
    parameters: Mapping[str, type]
    alone: bool = False
    spreads: bool = False

    def is_alone(self, spec: CheckSpec) -> bool:
        """Whether a check of this kind runs while no other does."""
        return self.alone if spec.alone is None else spec.alone


KINDS: dict[str, Kind] = {
    "code-server": Kind(code_server.run, code_server.PARAMETERS),
    "command": Kind(command.run, command.PARAMETERS, alone=True),
    "compile": Kind(compiling.run, compiling.PARAMETERS, alone=True),
    "gpu": Kind(gpu.run, gpu.PARAMETERS),
    "tools": Kind(tools.run, tools.PARAMETERS),
    "permissions": Kind(permissions.run, permissions.PARAMETERS, alone=True),
    "python-imports": Kind(python.run, python.PARAMETERS, spreads=True),
    "r-packages": Kind(r.run, r.PARAMETERS, spreads=True),
    "jupyterlab": Kind(jupyter.run, jupyter.PARAMETERS),
    "notebooks": Kind(notebooks.run, notebooks.PARAMETERS),
    "rstudio": Kind(rstudio.run, rstudio.PARAMETERS),
}
_TYPES = {tuple: "a list of strings", str: "a string", float: "a number", int: "a whole number", bool: "true or false"}


def validate(spec: CheckSpec) -> Kind:
    """The kind of a check. Raises UsageError for an unknown kind, or a parameter that is unknown or of a wrong type."""
    kind = KINDS.get(spec.kind)
    if kind is None:
        raise UsageError(f"check {spec.name}: unknown kind {spec.kind!r}", f"use one of {', '.join(sorted(KINDS))}")
    if not spec.seconds > 0:
        raise UsageError(f"check {spec.name}: seconds is {spec.seconds:g}", "give a check more than 0 seconds")
    for name, value in spec.parameters.items():
        expected = kind.parameters.get(name)
        if expected is None:
            raise UsageError(
                f"check {spec.name}: kind {spec.kind} has no parameter {name!r}",
                f"use one of {', '.join(sorted(kind.parameters))}",
            )
        if not _fits(value, expected):
            raise UsageError(f"check {spec.name}: {name} is {value!r}", f"give {_TYPES[expected]}")
    return kind


def _fits(value: object, expected: type) -> bool:
    if isinstance(value, bool):
        return expected is bool
    return isinstance(value, (int, float) if expected is float else expected)


def run(spec: CheckSpec, context: Context) -> CheckResult:
    """Run one check. Whatever goes wrong in it becomes its result. Nothing that it started is left running.

    Raises UsageError as `validate` does, and other SlimagentErrors, e.g. that a process cannot be watched.
    """
    kind = validate(spec)
    began = time.monotonic()
    try:
        finding = kind.run(spec, context)
    except SlimagentError:
        raise
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        finding = failed(f"{where}{error.strerror or error}")
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        finding = failed(f"the check itself failed: {type(error).__name__}: {error} ({at.filename}:{at.lineno})")
    return CheckResult(
        name=spec.name,
        kind=spec.kind,
        outcome=finding.outcome,
        seconds=time.monotonic() - began,
        detail=finding.detail,
        status=finding.status,
        items=finding.items,
        snapshot=finding.snapshot,
    )
