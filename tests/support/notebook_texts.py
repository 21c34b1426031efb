"""Notebooks as text, made for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def code(source: str | list[str], *tags: str) -> dict[str, Any]:
    """A cell with code."""
    metadata = {"tags": list(tags)} if tags else {}
    return {"cell_type": "code", "execution_count": None, "metadata": metadata, "outputs": [], "source": source}


def notebook(*cells: str | dict[str, Any], kernel: str | None = "python3") -> str:
    """A notebook of version 4; strings are cells with code."""
    every = [code(cell) if isinstance(cell, str) else cell for cell in cells]
    metadata = {"kernelspec": {"name": kernel, "display_name": kernel}} if kernel else {}
    return json.dumps({"cells": every, "metadata": metadata, "nbformat": 4, "nbformat_minor": 4})


def notebook_3(*sources: str | Sequence[str]) -> str:
    """A notebook of version 3, which names no kernel."""
    cells = [{"cell_type": "code", "language": "python", "input": source, "outputs": []} for source in sources]
    return json.dumps({"metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": cells}]})
