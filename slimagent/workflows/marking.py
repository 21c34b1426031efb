"""The environment with which the commands of a run find what marks their tests (docs/tests.md)."""

from __future__ import annotations

import os
from collections.abc import Mapping

from slimagent.model.trace import TESTS_PLACE
from slimagent.trace import runners

PLACE = os.path.dirname(os.path.abspath(runners.__file__))


def marking(env: Mapping[str, str], *, asked: bool) -> dict[str, str]:
    """The environment of a command whose test runners mark their tests, if that was asked for.

    It is the same whatever watches: what passes in the trace does not fail later for want of a variable. PYTHONPATH
    ends with the directory of the pytest plugin: nothing in it hides a module of the image.
    """
    if not asked:
        return dict(env)
    path = env.get("PYTHONPATH")
    return {
        **env,
        "SLIMAGENT_TESTS": os.fsdecode(TESTS_PLACE),
        "SLIMAGENT_RUNNERS": PLACE,
        "PYTHONPATH": f"{path}{os.pathsep}{PLACE}" if path else PLACE,
    }
