"""A Jupyter notebook's cells, read leniently: versions 3 and 4 of the format. Pure.

https://nbformat.readthedocs.io/en/latest/format_description.html; version 3 has its cells in `worksheets`, and the text
of a cell in `input`. Tags: https://nbclient.readthedocs.io/en/latest/client.html.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from slimagent.checks.answers import array, mapping, strings
from slimagent.checks.finding import FaultError

_MAY_RAISE, _NOT_RUN = "raises-exception", "skip-execution"


class NotebookError(FaultError):
    """Something that is not a notebook; the message says why."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell with code: its number among all cells, from 1, and whether it may raise an exception."""

    number: int
    source: str
    may_raise: bool = False


@dataclass(frozen=True, slots=True)
class Notebook:
    """The name of a notebook's kernel and its language in lower case, each empty if unknown; its cells."""

    kernel: str
    language: str
    cells: tuple[Cell, ...]


def read_notebook(text: str) -> Notebook:
    """Read a notebook. Cells without code, or with a tag against running them, are left out. Raises NotebookError."""
    try:
        data = json.loads(text)
    except RecursionError:
        raise NotebookError("not a notebook: nested too deeply") from None
    except ValueError as error:
        raise NotebookError(f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise NotebookError("not a notebook: no object at the top")
    every = _every_cell(data)
    if every is None:
        raise NotebookError("not a notebook: it has no list of cells")
    spec, about = mapping(data, "metadata", "kernelspec"), mapping(data, "metadata", "language_info")
    first = next((str(cell["language"]) for cell in every if isinstance(cell, dict) and cell.get("language")), "")
    language = str(about.get("name") or spec.get("language") or first)
    cells = (_code(number, cell) for number, cell in enumerate(every, 1))
    return Notebook(str(spec.get("name") or ""), language.lower(), tuple(cell for cell in cells if cell))


def _every_cell(data: dict[str, Any]) -> list[Any] | None:
    if isinstance(data.get("cells"), list):
        return list(data["cells"])
    sheets = data.get("worksheets")
    return [cell for sheet in sheets for cell in array(sheet, "cells")] if isinstance(sheets, list) else None


def _code(number: int, cell: Any) -> Cell | None:
    if not isinstance(cell, dict) or cell.get("cell_type") != "code":
        return None
    source = cell.get("source", cell.get("input", ""))
    text = "".join(map(str, source)) if isinstance(source, list) else str(source)
    known = strings(cell, "metadata", "tags")
    return None if not text.strip() or _NOT_RUN in known else Cell(number, text, _MAY_RAISE in known)
