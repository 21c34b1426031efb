"""The kernels of a Jupyter server: each is started, runs a cell, completes and inspects.

Answers: https://jupyter-server.readthedocs.io/en/stable/developers/rest-api.html.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from slimagent.checks.answers import mapping, string
from slimagent.checks.finding import all_skipped, judged
from slimagent.checks.jupyter.kernel import (
    InputAskedError,
    Kernel,
    KernelDeadError,
    KernelError,
    KernelLateError,
    connected,
)
from slimagent.checks.jupyter.server import Asking, with_cause
from slimagent.checks.loopback import RequestError
from slimagent.model.result import Item

_STOP = 10.0  # seconds for a kernel to end
_MOST = 100
_UNLOADED = re.compile(r"Error loading kernelspec '([^']+)'")
_CONNECT = 3.0  # seconds for one attempt to connect


@dataclass(frozen=True, slots=True)
class _Language:
    """Input in a language, and the expected results."""

    cell: str
    result: str
    begun: str
    completed: str
    name: str


# The last word of the result: R prints `[1] 42`. Names are of packages outside the language's core.
_LANGUAGES = {
    "python": _Language("import os.path\n6*7", "42", "os.path.expandus", "expanduser", "os.path.expanduser"),
    "r": _Language("6*7", "42", "rnor", "rnorm", "rnorm"),
}


@dataclass(frozen=True, slots=True)
class Kernelspec:
    """A kernel of the server: its name, its language in lower case, and the paths of its icons."""

    name: str
    language: str
    resources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kernelspecs:
    """The kernels of a server, by name; `default` is one of the names, or empty."""

    every: dict[str, Kernelspec]
    default: str

    def of_language(self, language: str) -> str:
        """The name of the default kernel if it has the language, else of the first that has; empty if none has."""
        names = [each for each in (self.default, *self.every) if each]
        return next((each for each in names if self.every[each].language == language.lower()), "")


def kernelspecs(asking: Asking) -> Kernelspecs:
    """Ask a server. Raises RequestError if it has no kernel."""
    answer = asking.json("GET", "/api/kernelspecs")
    every = {name: _read(name, entry) for name, entry in sorted(mapping(answer, "kernelspecs").items())}
    if not every:
        raise RequestError("GET /api/kernelspecs: no kernel")
    default = str(answer.get("default", ""))
    return Kernelspecs(every, default if default in every else "")


def _read(name: str, entry: Any) -> Kernelspec:
    language = string(entry, "spec", "language").lower()
    return Kernelspec(name, language, tuple(map(str, mapping(entry, "resources").values())))


@contextlib.contextmanager
def kernel(asking: Asking, name: str, *, path: str = "", seconds: float) -> Iterator[Kernel]:
    """Start a kernel, in the directory of the server's file `path`, and connect to it; it is stopped at the end.

    `seconds` are for the start; then the caller sets the connection's deadline. Raises RequestError and KernelError;
    that of a dead kernel includes the cause from the log.
    """
    mark, until, earlier = asking.mark(), asking.until(seconds), asking.log
    made = asking.json("POST", "/api/kernels", {"name": name, **({"path": path} if path else {})}, seconds)
    identity = string(made, "id")
    if not identity:
        raise RequestError("POST /api/kernels: the answer does not name a kernel")
    where = f"/api/kernels/{quote(identity, safe='')}"
    try:
        with _connection(asking, identity, until) as connection:
            yield connection
    except KernelError as error:
        asking.note(mark, earlier)  # before the server logs other things
        if isinstance(error, KernelDeadError):
            raise KernelDeadError(with_cause(str(error), asking.said(mark), of_kernel=True)) from None
        if isinstance(error, (KernelLateError, InputAskedError)):
            with contextlib.suppress(RequestError):  # otherwise the server waits for a busy kernel to end
                asking.client.ask("POST", f"{where}/interrupt", asking.left(_STOP), {})
        raise
    finally:
        _delete(asking, where)


@contextlib.contextmanager
def _connection(asking: Asking, identity: str, until: float) -> Iterator[Kernel]:
    """A connection to a kernel. The server accepts none before the kernel is ready, and forgets one that died."""
    with contextlib.ExitStack() as stack:
        while True:
            limit = min(until, time.monotonic() + _CONNECT)
            try:
                connection = stack.enter_context(connected(asking.client, identity, limit))
            except KernelError as error:
                if not _lives(asking, identity):
                    raise KernelDeadError("the kernel died") from None
                if not isinstance(error, KernelLateError) or time.monotonic() >= until:
                    raise
            else:
                break
        connection.deadline = until
        yield connection


def _lives(asking: Asking, identity: str) -> bool:
    try:
        about = asking.json("GET", f"/api/kernels/{quote(identity, safe='')}")
    except RequestError as error:
        return ": 404 " not in str(error)
    return not isinstance(about, dict) or about.get("execution_state") != "dead"


def _delete(asking: Asking, where: str) -> None:
    with contextlib.suppress(RequestError):  # one that died is gone
        asking.client.ask("DELETE", where, asking.left(_STOP))


def items(asking: Asking, seconds: float) -> Iterator[Item]:
    """Items: kernelspecs; of each kernel: `kernel NAME`, `complete NAME`, `inspect NAME`. `seconds` for each kernel."""
    known: list[Kernelspec] = []
    mark = asking.mark()

    def listed() -> str:
        found = kernelspecs(asking)
        known.extend(found.every.values())
        for path in (path for spec in known for path in spec.resources):
            asking.content(path)
        return ", ".join(found.every)

    yield asking.attempt("kernelspecs", listed)
    for name, why in unloaded(asking.said(mark)).items():
        yield judged(f"kernel {name}", why)
    for spec in known[:_MOST]:
        yield from _exercised(asking, spec, seconds)


def unloaded(lines: Sequence[str]) -> dict[str, str]:
    """The kernels that, according to its log, a server could not load and does not list, and why.

    The line is in jupyter_client's kernelspec.py (get_all_specs); a traceback follows it.
    """
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        match = _UNLOADED.search(line)
        if match:
            name = match[1]
        elif not line.startswith(" "):
            name = ""
        if name:
            found[name] = f"its kernel.json cannot be loaded: {line.strip()[:300]}"
    return found


def _exercised(asking: Asking, spec: Kernelspec, seconds: float) -> Iterator[Item]:
    """One kernel after the other, so that the log in the meantime is about this one."""
    language = _LANGUAGES.get(spec.language)
    name, mark, earlier = f"kernel {spec.name}", asking.mark(), asking.log
    why = ""
    try:
        with kernel(asking, spec.name, seconds=seconds) as connection:
            result = _cell(connection, language)
            yield judged(name, "", result)
            if language is not None:
                for what, step in _STEPS.items():
                    connection.deadline = asking.until(seconds)
                    yield asking.attempt(f"{what} {spec.name}", partial(step, connection, language))
            return
    except KernelDeadError as error:
        why = str(error)
    except (RequestError, KernelError) as error:
        why = with_cause(str(error), asking.said(mark))
    asking.note(mark, earlier)
    yield judged(name, why)
    steps = _STEPS if language else ()
    yield from all_skipped((f"{what} {spec.name}" for what in steps), f"kernel {spec.name} runs no cell")


def _cell(connection: Kernel, language: _Language | None) -> str:
    spoken = connection.language()
    if language is None:
        return f"it answers; its language is {spoken}" if spoken else "it answers"
    result = connection.execute(language.cell)
    if result.split()[-1:] != [language.result]:
        raise KernelError(f"6*7 is {result[:100]!r}")
    return "6*7 is 42"


def _complete(connection: Kernel, language: _Language) -> str:
    if not any(each.endswith(language.completed) for each in connection.complete(language.begun)):
        raise KernelError(f"{language.begun} is not completed to {language.completed}")
    return ""


def _inspect(connection: Kernel, language: _Language) -> str:
    if not connection.inspect(language.name):
        raise KernelError(f"no help on {language.name}")
    return ""


_STEPS = {"complete": _complete, "inspect": _inspect}
