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

from slimagent.checks import parameters
from slimagent.checks.answers import member
from slimagent.checks.context import Context
from slimagent.checks.directory import temporary_directory
from slimagent.checks.finding import FaultError, Finding, all_skipped, judged, of_items, skipped
from slimagent.checks.jupyter.kernel import CellError, Kernel, KernelError, KernelLateError
from slimagent.checks.jupyter.kernelspecs import Kernelspecs, kernel, kernelspecs
from slimagent.checks.jupyter.server import Asking, environment, lacking, running, with_cause
from slimagent.checks.loopback import RequestError
from slimagent.checks.notebooks.directories import Found, copied, gathered
from slimagent.checks.notebooks.file import Cell, read_notebook
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
                items = []
                for found in chosen:
                    context.test(found.name)
                    items.append(_item(asking, specs, found, spec))
                context.test("")
                return of_items((*items, *more), log=asking.log)
        except (NotReadyError, RequestError) as error:
            lost = all_skipped((each.name for each in chosen), "no server")
            return Finding(outcome=Outcome.FAILED, detail=str(error), items=(*lost, *more))


def _directories(spec: CheckSpec) -> tuple[str, ...]:
    directories = parameters.strings(spec, "folders")
    if all(directories) and directories:
        return directories
    raise UsageError(f"check {spec.name}: notebooks needs folders", 'write folders = ["/opt/examples"]')


def _chosen(
    spec: CheckSpec, context: Context, every: list[tuple[bytes, list[Found]]], directory: str
) -> tuple[list[Found], tuple[Item, ...]]:
    """The notebooks to run, at their places, and an item that says so if there are more."""
    most, chosen = int(parameters.number(spec, "most", _MOST)), list[Found]()
    total = sum(len(found) for _, found in every)
    for number, (original, found) in enumerate(every):
        if len(chosen) < most:
            place = copied(context, original, os.path.join(directory, str(number)), spec.seconds)
            chosen += [_moved(each, original, place) for each in found[: most - len(chosen)]]
    if total <= most:
        return chosen, ()
    return chosen, (judged("more notebooks", f"there are {total}, and `most` is {most}: the others were not run"),)


def _moved(found: Found, original: bytes, place: bytes) -> Found:
    path = os.path.join(place, os.path.relpath(found.path, original))
    return Found(found.name, path if os.path.isfile(path) else found.path)


def _item(asking: Asking, specs: Kernelspecs, found: Found, spec: CheckSpec) -> Item:
    if asking.left() <= 0:
        return judged(found.name, f"not reached in {spec.seconds:g} s")
    cell_seconds = parameters.number(spec, "cell_seconds", _CELL_SECONDS)
    return asking.attempt(found.name, partial(_notebook, asking, specs, found.path, cell_seconds))


def _notebook(asking: Asking, specs: Kernelspecs, path: bytes, cell_seconds: float) -> str:
    """Run one notebook. Raises FaultError, which names the cell."""
    notebook = read_notebook(_text(asking, path))
    if not notebook.cells:
        return "it has no code"
    name = notebook.kernel or (specs.of_language(notebook.language) if notebook.language else specs.default)
    if name not in specs.every:
        raise FaultError(f"no such kernel: {name}" if name else f"no kernel for {notebook.language}")
    at, mark = f"kernel {name}", asking.mark()
    try:
        with kernel(asking, name, path=os.fsdecode(path).lstrip("/"), seconds=_START_SECONDS) as connection:
            connection.language()  # so that it is ready before a cell's time begins
            for cell in notebook.cells:
                at = f"cell {cell.number}"
                connection.deadline = asking.until(cell_seconds)
                _run(connection, cell)
                asking.output.limit()
    except KernelLateError:
        limit = _START_SECONDS if at.startswith("kernel") else cell_seconds
        late = "no end in the time of the check" if asking.left() <= 0 else f"no end after {limit:g} s"
        raise FaultError(f"{at}: {late}") from None
    except RequestError as error:
        raise FaultError(with_cause(f"{at}: {error}", asking.said(mark))) from None
    except KernelError as error:
        raise FaultError(f"{at}: {error}") from None
    return f"{len(notebook.cells)} cells"


def _text(asking: Asking, path: bytes) -> str:
    """A notebook as the server reads it: as the image's user, and visible in a trace."""
    where = f"/api/contents{quote(path)}"
    text = member(asking.json("GET", f"{where}?type=file&format=text&content=1"), "content")
    if not isinstance(text, str):
        raise RequestError(f"GET {where}: the answer holds no text")
    return text


def _run(connection: Kernel, cell: Cell) -> None:
    try:
        connection.execute(cell.source, stop_on_error=not cell.may_raise)
    except CellError:
        if not cell.may_raise:
            raise
