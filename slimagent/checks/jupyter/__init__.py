"""Kind `jupyterlab`: JupyterLab starts, serves its page with all that it may load, and answers the page's requests.

Parameters: `command` (default `jupyter lab`), `cell_seconds` (for each kernel; default 60).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from slimagent.checks import parameters
from slimagent.checks.context import Context
from slimagent.checks.directory import temporary_directory
from slimagent.checks.finding import Finding, judged, not_started, of_items, skipped
from slimagent.checks.jupyter import extensions as jupyter_extensions
from slimagent.checks.jupyter import kernelspecs as jupyter_kernelspecs
from slimagent.checks.jupyter import page as jupyter_page
from slimagent.checks.jupyter import services as jupyter_services
from slimagent.checks.jupyter.extensions import LABEXTENSIONS, SERVER_EXTENSIONS, Listing, listing
from slimagent.checks.jupyter.server import Asking, environment, lacking, running, with_cause
from slimagent.checks.server import NotReadyError, Server
from slimagent.model.profile import CheckSpec
from slimagent.model.result import Item

PARAMETERS: dict[str, type] = {"command": tuple, "cell_seconds": float}
_COMMAND = ("jupyter", "lab")
_CELL_SECONDS = 60.0
_LIST_SECONDS = 60.0
_LINES = 200


def run(spec: CheckSpec, context: Context) -> Finding:
    """Items: start, those of the page, of the kernels, of the services, of the lists of extensions."""
    command = parameters.strings(spec, "command") or _COMMAND
    # `jupyter lab` itself looks for jupyter-lab.
    absent = lacking(("jupyter", "jupyter-lab") if command == _COMMAND else command[:1], context.env)
    if absent:
        return skipped(f"{absent} is not on PATH")
    deadline = time.monotonic() + spec.seconds
    with temporary_directory(context.user) as directory, contextlib.ExitStack() as stack:
        env = environment(context, directory)
        # They run while the server starts, and end after it.
        lists = [
            stack.enter_context(listing(context, name, command, env, directory))
            for name in (LABEXTENSIONS, SERVER_EXTENSIONS)
        ]
        try:
            with running(
                context, command, env=env, directory=directory, root=directory, seconds=spec.seconds
            ) as server:
                cell_seconds = parameters.number(spec, "cell_seconds", _CELL_SECONDS)
                return _exercised(server, lists, deadline, cell_seconds)
        except NotReadyError as error:
            return _not_started(str(error), lists, deadline)


def _exercised(server: Server, lists: Sequence[Listing], deadline: float, cell_seconds: float) -> Finding:
    asking = Asking(server.client, deadline, server.output)
    log = server.output.last_lines(_LINES).splitlines()  # of the start: it names what was not loaded
    found = [judged("start", ""), *_items(asking, cell_seconds)]
    for each in lists:
        found += jupyter_extensions.items(each, max(1.0, asking.left(_LIST_SECONDS)), log)
    return of_items(found, log=asking.log)


def _items(asking: Asking, cell_seconds: float) -> Iterator[Item]:
    yield from jupyter_page.Loaded(asking).items()
    yield from jupyter_kernelspecs.items(asking, cell_seconds)
    yield from jupyter_services.items(asking)


def _not_started(why: str, lists: Sequence[Listing], deadline: float) -> Finding:
    """The lists work without a server, too."""
    names = (*jupyter_page.NAMES, "kernelspecs", *jupyter_services.NAMES)
    left = max(1.0, min(_LIST_SECONDS, deadline - time.monotonic()))
    first, *lines = why.splitlines()
    listed = (item for each in lists for item in jupyter_extensions.items(each, left))
    return not_started(names, with_cause(first, lines), why, *listed)
