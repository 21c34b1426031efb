"""The environment with which the commands of a traced run find what marks their tests (docs/tests.md)."""

from __future__ import annotations

import os
from collections.abc import Mapping

from slimagent.model.trace import TESTS_PLACE, BlindSpot
from slimagent.trace import runners
from slimagent.trace.watcher import Watcher

PLACE = os.path.dirname(os.path.abspath(runners.__file__))


def marking(env: Mapping[str, str], watcher: Watcher, *, asked: bool) -> dict[str, str]:
    """The environment of a command whose test runners mark their tests, if that was asked for.

    Unchanged if the watcher cannot see marks.

    PYTHONPATH ends with the directory of the pytest plugin: nothing in it hides a module of the image.
    """
    if not asked or BlindSpot.TESTS in watcher.blind_spots:
        return dict(env)
    path = env.get("PYTHONPATH")
    return {
        **env,
        "SLIMAGENT_TESTS": os.fsdecode(TESTS_PLACE),
        "SLIMAGENT_RUNNERS": PLACE,
        "PYTHONPATH": f"{path}{os.pathsep}{PLACE}" if path else PLACE,
    }
