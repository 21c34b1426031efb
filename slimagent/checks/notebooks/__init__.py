"""Kind `notebooks`: runs every notebook under the given directories, cell by cell, with the kernel that it names.

Parameters: `folders` (the directories), `most` (how many notebooks to run; default 200), `cell_seconds` (for each
cell; default 120).

A Jupyter server of the image starts the kernels. They run in a copy of the notebooks' directory, so that nothing in
the image changes. A directory that cannot be copied (`directories.copied`) is used as it is.
"""

from __future__ import annotations

import os
import time
from functools import partial
from urllib.parse import quote

from slimagent.checks.context import Context
from slimagent.checks.directory import temporary_directory
from slimagent.checks.finding import Finding, of_items, skipped
from slimagent.checks.jupyter.kernel import CellError, Kernel, KernelError, KernelLateError
from slimagent.checks.jupyter.kernelspecs import Kernelspecs, kernel, kernelspecs
from slimagent.checks.jupyter.server import Asking, WrongError, environment, lacking, running, with_cause
from slimagent.checks.loopback import RequestError
from slimagent.checks.notebooks.directories import Found, copied, gathered
from slimagent.checks.notebooks.file import Cell, NotebookError, read_notebook
from slimagent.checks.server import NotReadyError
from slimagent.errors import UsageError
from slimagent.model.profile import CheckSpec
from slimagent.model.result import Item, Outcome

PARAMETERS: dict[str, type] = {"folders": tuple, "most": int, "cell_seconds": float}
_MOST = 200
_CELL_SECONDS = 120.0
_START_SECONDS = 60.0


def run(spec: CheckSpec, context: Context) -> Finding:
    """An item for each notebook. Raises UsageError without `folders`."""
    directories = _directories(spec)
    every = gathered(directories, context)
    if not every:
        return skipped(f"no notebook under {', '.join(directories)}")
    absent = lacking(("jupyter", "jupyter-server"), context.env)
    if absent:
        return skipped(f"{absent} is not on PATH")
    deadline = time.monotonic() + spec.seconds
    with temporary_directory(context.user) as directory:
        env = environment(context, directory)
        chosen, more = _chosen(spec, context, every, directory)
        try:
            with running(
                context, ("jupyter", "server"), env=env, directory=directory, root="/", seconds=spec.seconds
            ) as server:  # fmt: skip
                asking = Asking(server.client, deadline, server.output)
                specs = kernelspecs(asking)
                items = [_item(asking, specs, found, spec) for found in chosen]
                return of_items((*items, *more), log=asking.log)
        except (NotReadyError, RequestError) as error:
            lost = (Item(name=each.name, outcome=Outcome.SKIPPED, detail="there is no server") for each in chosen)
            return Finding(outcome=Outcome.FAILED, detail=str(error), items=(*lost, *more))


def _directories(spec: CheckSpec) -> tuple[str, ...]:
    directories = spec.parameters.get("folders")
    if isinstance(directories, tuple) and all(directories) and directories:
        return directories
    raise UsageError(f"check {spec.name}: notebooks needs folders", 'write folders = ["/opt/examples"]')


def _number(spec: CheckSpec, name: str, default: float) -> float:
    value = spec.parameters.get(name, default)
    return value if isinstance(value, (int, float)) else default


def _chosen(
    spec: CheckSpec, context: Context, every: list[tuple[bytes, list[Found]]], directory: str
) -> tuple[list[Found], tuple[Item, ...]]:
    """The notebooks that are run, where they are run, and an item that says so if there are more."""
    most, chosen = int(_number(spec, "most", _MOST)), list[Found]()
    total = sum(len(found) for _, found in every)
    for number, (original, found) in enumerate(every):
        if len(chosen) < most:
            place = copied(context, original, os.path.join(directory, str(number)), spec.seconds)
            chosen += [_moved(each, original, place) for each in found[: most - len(chosen)]]
    if total <= most:
        return chosen, ()
    detail = f"there are {total}, and `most` is {most}: the others were not run"
    return chosen, (Item(name="more notebooks", outcome=Outcome.FAILED, detail=detail),)


def _moved(found: Found, original: bytes, place: bytes) -> Found:
    path = os.path.join(place, os.path.relpath(found.path, original))
    return Found(found.name, path if os.path.isfile(path) else found.path)


def _item(asking: Asking, specs: Kernelspecs, found: Found, spec: CheckSpec) -> Item:
    if asking.left() <= 0:
        detail = f"not reached in {spec.seconds:g} s"
        return Item(name=found.name, outcome=Outcome.FAILED, detail=detail)
    cell_seconds = _number(spec, "cell_seconds", _CELL_SECONDS)
    return asking.attempt(found.name, partial(_notebook, asking, specs, found.path, cell_seconds))


def _notebook(asking: Asking, specs: Kernelspecs, path: bytes, cell_seconds: float) -> str:
    """Run one notebook. Raises WrongError, which names the cell."""
    try:
        notebook = read_notebook(_text(asking, path))
    except NotebookError as error:
        raise WrongError(str(error)) from None
    if not notebook.cells:
        return "it has no code"
    name = notebook.kernel or (specs.of_language(notebook.language) if notebook.language else specs.default)
    if name not in specs.every:
        raise WrongError(f"there is no kernel {name}" if name else f"there is no kernel for {notebook.language}")
    at, mark = f"kernel {name}", asking.mark()
    try:
        with kernel(asking, name, path=os.fsdecode(path).lstrip("/"), seconds=_START_SECONDS) as connection:
            connection.language()  # only to hear from it before a cell's time begins
            for cell in notebook.cells:
                at = f"cell {cell.number}"
                connection.deadline = asking.until(cell_seconds)
                _run(connection, cell)
                asking.output.limit()
    except KernelLateError:
        limit = _START_SECONDS if at.startswith("kernel") else cell_seconds
        late = "not ended when the check's time was over" if asking.left() <= 0 else f"no end after {limit:g} s"
        raise WrongError(f"{at}: {late}") from None
    except RequestError as error:
        raise WrongError(with_cause(f"{at}: {error}", asking.said(mark))) from None
    except KernelError as error:
        raise WrongError(f"{at}: {error}") from None
    return f"{len(notebook.cells)} cells"


def _text(asking: Asking, path: bytes) -> str:
    """A notebook as the server reads it: as the image's user, and seen by a trace."""
    where = f"/api/contents{quote(path)}"
    model = asking.json("GET", f"{where}?type=file&format=text&content=1")
    text = model.get("content") if isinstance(model, dict) else None
    if not isinstance(text, str):
        raise RequestError(f"GET {where}: the answer holds no text")
    return text


def _run(connection: Kernel, cell: Cell) -> None:
    try:
        connection.execute(cell.source, stop_on_error=not cell.may_raise)
    except CellError:
        if not cell.may_raise:
            raise
