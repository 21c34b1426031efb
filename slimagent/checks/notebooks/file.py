"""A Jupyter notebook's cells, read as leniently as they are written: versions 3 and 4 of the format. Pure.

https://nbformat.readthedocs.io/en/latest/format_description.html; version 3 has its cells in `worksheets`, and the text
of a cell in `input`. Tags: https://nbclient.readthedocs.io/en/latest/client.html.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_MAY_RAISE, _NOT_RUN = "raises-exception", "skip-execution"


class NotebookError(Exception):
    """Something that is no notebook; the message says why."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell with code: its number among all cells, from 1, and whether it may raise an exception."""

    number: int
    source: str
    may_raise: bool = False


@dataclass(frozen=True, slots=True)
class Notebook:
    """The name of a notebook's kernel and its language in lower case, either empty if it does not say; its cells."""

    kernel: str
    language: str
    cells: tuple[Cell, ...]


def read_notebook(text: str) -> Notebook:
    """Read a notebook. Cells without code, or that are tagged not to be run, are left out. Raises NotebookError."""
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
    metadata = _object(data, "metadata")
    spec, about = _object(metadata, "kernelspec"), _object(metadata, "language_info")
    first = next((str(cell["language"]) for cell in every if isinstance(cell, dict) and cell.get("language")), "")
    language = str(about.get("name") or spec.get("language") or first)
    cells = (_code(number, cell) for number, cell in enumerate(every, 1))
    return Notebook(str(spec.get("name") or ""), language.lower(), tuple(cell for cell in cells if cell))


def _every_cell(data: dict[str, Any]) -> list[Any] | None:
    if isinstance(data.get("cells"), list):
        return list(data["cells"])
    sheets = data.get("worksheets")
    if not isinstance(sheets, list):
        return None
    lists = (sheet.get("cells") for sheet in sheets if isinstance(sheet, dict))
    return [cell for cells in lists if isinstance(cells, list) for cell in cells]


def _code(number: int, cell: Any) -> Cell | None:
    if not isinstance(cell, dict) or cell.get("cell_type") != "code":
        return None
    source = cell.get("source", cell.get("input", ""))
    text = "".join(map(str, source)) if isinstance(source, list) else str(source)
    tags = _object(cell, "metadata").get("tags")
    known = {str(tag) for tag in tags} if isinstance(tags, list) else set()
    return None if not text.strip() or _NOT_RUN in known else Cell(number, text, _MAY_RAISE in known)


def _object(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}
