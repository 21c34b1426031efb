"""The seeds of each target: a directory of small files, and whatever has once broken it."""

from __future__ import annotations

import functools
from pathlib import Path

HERE = Path(__file__).parent


@functools.cache
def seeds(target: str) -> tuple[bytes, ...]:
    """The seeds of a target, in the order of their names; the first is whole, and what broke it comes last."""
    paths = sorted((HERE / target).iterdir(), key=lambda path: (path.name.startswith("found-"), path.name))
    found = tuple(path.read_bytes() for path in paths)
    assert found, f"no seeds for {target}"
    return found
