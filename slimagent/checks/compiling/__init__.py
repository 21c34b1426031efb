"""Kind `compile`: builds, installs and loads R packages with compiled code, and Python packages from source.

Parameters: `R` (a program, default R), `python` (a program; default the PATH's python3, else python). The packages are
written to a temporary directory and installed there; nothing comes from a network.

A compiler that runs here is in the trace, so the rules of the plan keep everything that compiling needs.
"""

from __future__ import annotations

import time
from dataclasses import replace

from slimagent.checks import parameters
from slimagent.checks.compiling import python as compiling_python
from slimagent.checks.compiling import r as compiling_r
from slimagent.checks.compiling.build import Build
from slimagent.checks.context import Context
from slimagent.checks.directory import temporary_directory
from slimagent.checks.finding import Finding, of_items, skipped
from slimagent.model.profile import CheckSpec
from slimagent.model.result import Outcome

PARAMETERS: dict[str, type] = {"R": str, "python": str}


def run(spec: CheckSpec, context: Context) -> Finding:
    """Items: r, r-c++ and r-fortran (a package with code in that language; r: C), python, python-c.

    The snapshot says how Python packages were installed, so that a later run does the same.
    """
    deadline = time.monotonic() + spec.seconds
    known = "" if context.before is None else context.before.snapshot
    with temporary_directory(context.user) as directory:
        # Compilers and R write to TMPDIR, and leave files there when they are stopped.
        build = Build(context, {**context.env, "TMPDIR": directory}, directory, deadline)
        of_r = compiling_r.items(build, parameters.string(spec, "R"))
        of_python, way = compiling_python.items(build, parameters.string(spec, "python"), known)
    found = of_items((*of_r, *of_python), log="\n".join(build.logs))
    if all(each.outcome is Outcome.SKIPPED for each in found.items):
        reasons = dict.fromkeys(each.detail for each in found.items)
        return replace(skipped(f"nothing can be compiled: {'; '.join(reasons)}"), items=found.items)
    return replace(found, snapshot=way)
