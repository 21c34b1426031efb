"""What JupyterLab's page uses besides kernels: a terminal, files, and the programs of its launcher.

Terminals: https://jupyter-server.readthedocs.io/en/stable/developers/rest-api.html. Their messages are terminado's
(https://github.com/jupyter/terminado, websocket.py): JSON lists, e.g. ["stdin", text] and ["stdout", text].
Contents: https://jupyter-server.readthedocs.io/en/stable/developers/contents.html.
Launchers: jupyter-server-proxy's api.py.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import quote, urljoin

from slimagent.checks.answers import array, mapping, member, parsed, string
from slimagent.checks.finding import FaultError, UnexercisedError
from slimagent.checks.jupyter.server import Asking
from slimagent.checks.loopback import RequestError
from slimagent.checks.output import last_lines
from slimagent.checks.websockets import LateError, Socket, SocketError, opened
from slimagent.model.result import Item

NAMES = ("terminal", "contents", "launchers")
_TERMINAL = 20.0  # seconds for a shell to start and to answer
_TYPED, _ANSWERED = 'echo "<$((40+2))>"', "<42>"  # an echo of the input does not contain the answer
_KEPT = 4096
_TEXT = "caf\N{LATIN SMALL LETTER E WITH ACUTE}\n"
_NOTEBOOK = {
    "cells": [{"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": "6*7"}],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 4,
}


def items(asking: Asking) -> Iterator[Item]:
    """Items of NAMES, and one of each launcher."""
    yield asking.attempt("terminal", partial(_terminal, asking))
    yield asking.attempt("contents", partial(_contents, asking))
    found: list[tuple[str, str]] = []
    yield asking.attempt("launchers", partial(_launchers, asking, found))
    for name, icon in found:
        yield asking.attempt(f"launcher {name}", partial(_launcher, asking, icon))


def _terminal(asking: Asking) -> str:
    try:
        made = asking.json("POST", "/api/terminals", {})
    except RequestError as error:
        if ": 404 " in str(error):
            raise UnexercisedError("the server has no terminals") from None
        raise
    name = member(made, "name")
    if not isinstance(name, str):
        raise RequestError("POST /api/terminals: the answer does not name a terminal")
    path = quote(name, safe="")
    deadline = asking.until(_TERMINAL)
    try:
        with opened(asking.client, f"/terminals/websocket/{path}", deadline) as socket:
            _talk(socket, deadline)
    except SocketError as error:
        raise RequestError(f"terminal: {error}") from None
    finally:
        with contextlib.suppress(RequestError):
            asking.client.ask("DELETE", f"/api/terminals/{path}", asking.left())
    return "40+2 is 42 in its shell"


def _talk(socket: Socket, deadline: float) -> None:
    """Type a line and wait for its answer. Raises SocketError with the last line of output."""
    socket.send(json.dumps(["stdin", f"{_TYPED}\r"]), deadline)
    said = ""
    while _ANSWERED not in said:
        try:
            kind, text = _message(socket.receive(deadline))
        except LateError:
            raise SocketError(f"no answer of the shell in {_TERMINAL:g} s{_last(said)}") from None
        except SocketError as error:
            raise SocketError(f"{error}{_last(said)}") from None
        if kind == "disconnect":
            raise SocketError(f"its shell ended{_last(said)}")
        if kind == "stdout":
            said = (said + text)[-_KEPT:]


def _message(data: str | bytes) -> tuple[str, str]:
    kind, text, *_ = (*array(parsed(data)), "", "")
    return str(kind), str(text)


def _last(said: str) -> str:
    line = last_lines(said.encode("utf-8", "replace"), 1)
    return f"; its output ends with: {line[:200]}" if line else ""


def _contents(asking: Asking) -> str:
    """Save, read back and delete a text and a notebook, the latter with a checkpoint, as the page does."""
    text = {"type": "file", "format": "text", "content": _TEXT}
    notebook = {"type": "notebook", "format": "json", "content": _NOTEBOOK}
    for name, body in (("slimagent.txt", text), ("slimagent.ipynb", notebook)):
        path = f"/api/contents/{name}"
        asking.json("PUT", path, body)
        if name.endswith(".ipynb"):
            asking.json("POST", f"{path}/checkpoints", {})
        back = asking.json("GET", f"{path}?content=1")
        if _source(back) != _source(body):
            raise FaultError(f"GET {path}: not what was saved")
        asking.client.ask("DELETE", path, asking.left())
    return ""


def _source(model: Any) -> str:
    """The text of a file, or of the first cell of a notebook."""
    content = member(model, "content")
    if not isinstance(content, dict):
        return str(content)
    source = member(next(iter(array(content, "cells")), None), "source")
    return "".join(map(str, source)) if isinstance(source, list) else str(source)


def _launchers(asking: Asking, found: list[tuple[str, str]]) -> str:
    """The programs that jupyter-server-proxy adds to the launcher, each with the URL of its icon."""
    path = "/server-proxy/servers-info"
    try:
        answer = asking.json("GET", path)
    except RequestError as error:
        if ": 404 " in str(error):
            raise UnexercisedError("jupyter-server-proxy is not installed") from None
        raise
    every = member(answer, "server_processes")
    if not isinstance(every, list):
        raise RequestError(f"GET {path}: no list")
    for each in every:
        entry = mapping(each, "launcher_entry")
        if isinstance(member(each, "name"), str):
            found.append((each["name"], string(entry, "icon_url") if entry.get("enabled") else ""))
    return ", ".join(name for name, _ in found)


def _launcher(asking: Asking, icon: str) -> str:
    if not icon:
        return "it has no icon"
    url = urljoin(asking.client.root, icon)
    if not asking.client.serves(url):
        return "its icon is on another server"
    asking.content(asking.client.path(url))
    return "its icon is served"
