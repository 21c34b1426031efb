"""Which tests, or items of a check, a watcher says used a path."""

from __future__ import annotations

import os
from pathlib import Path

from slimagent.trace.watcher import Observed


def users_of(observed: Observed, path: str | Path) -> set[str]:
    """The tests that used a path, "" for what was used outside of all tests."""
    row = next((each for each in observed.attributed if each.path == os.fsencode(path)), None)
    if row is None:
        return {""}
    return {observed.tests[test].name for _, tests in row.by for test in tests} | ({""} if row.steps else set())
