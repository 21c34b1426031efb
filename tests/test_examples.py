"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import slimagent

PACKAGE = Path(slimagent.__file__).parent
MODULES = sorted(
    ".".join(("slimagent", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in PACKAGE.rglob("*.py")
    if "\n    >>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module(module: str) -> None:
    """Each prints what it says."""
    done = doctest.testmod(importlib.import_module(module))
    assert done.attempted
    assert not done.failed
