"""Kind `jupyterlab`: JupyterLab starts, serves its page with all that it refers to, and runs a cell in a kernel.

Parameters: `command` (default `jupyter lab`), `cell_seconds` (default 60).
"""

from __future__ import annotations

import html.parser
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin

from slimagent.checks.context import Context
from slimagent.checks.finding import Finding, of_items, skipped
from slimagent.checks.folder import temporary_folder
from slimagent.checks.jupyter_kernel import KernelError, connected
from slimagent.checks.loopback import HOST, Client, RequestError, free_port
from slimagent.checks.server import NotReadyError, serving
from slimagent.results import Item, Outcome
from slimagent.rules import CheckSpec

PARAMETERS: dict[str, type] = {"command": tuple, "cell_seconds": float}
_COMMAND = ("jupyter", "lab")
_CELL_SECONDS = 60.0
_ANSWER = 30.0  # seconds for one answer of a server that is ready
_LATER = ("page", "assets", "kernelspecs", "cell")
_STYLES = frozenset(("stylesheet", "icon", "shortcut", "manifest", "preload", "modulepreload"))


def run(spec: CheckSpec, context: Context) -> Finding:
    """Items: start, page, assets, kernelspecs, cell."""
    command = spec.parameters.get("command", _COMMAND)
    if not isinstance(command, tuple) or not command:
        command = _COMMAND
    lacking = _lacking(command, context)
    if lacking:
        return skipped(f"{lacking} is not on PATH")
    deadline = time.monotonic() + spec.seconds
    token, port = secrets.token_hex(16), free_port()
    client = Client(port=port, headers={"Authorization": f"token {token}"})
    with temporary_folder(context.user) as folder:
        # The image's own data and configuration are what is exercised; only what a run leaves behind goes elsewhere.
        env = {**context.env, "JUPYTER_RUNTIME_DIR": os.path.join(folder, "runtime")}
        argv = (*command, *_options(port, token, folder, context))
        try:
            with serving(
                context, argv, client, env=env, cwd=folder, ready="/api/status", seconds=spec.seconds
            ) as server:
                found = of_items(_Lab(client, deadline, _cell_seconds(spec)).items())
                if found.outcome is Outcome.PASSED:
                    return found
                return of_items(found.items, log=server.output.last_lines())
        except NotReadyError as error:
            return _not_started(str(error))


def _lacking(command: tuple[str, ...], context: Context) -> str:
    """The program that is not there, if one is not; `jupyter lab` itself looks for jupyter-lab."""
    programs = ("jupyter", "jupyter-lab") if command == _COMMAND else command[:1]
    path = context.env.get("PATH", os.defpath)
    return next((program for program in programs if shutil.which(program, path=path) is None), "")


def _cell_seconds(spec: CheckSpec) -> float:
    value = spec.parameters.get("cell_seconds", _CELL_SECONDS)
    return float(value) if isinstance(value, (int, float)) else _CELL_SECONDS


def _options(port: int, token: str, folder: str, context: Context) -> list[str]:
    """Options, because they outweigh whatever the image's configuration files set."""
    options = [
        "--no-browser",
        f"--ServerApp.ip={HOST}",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.base_url=/",
        "--ServerApp.certfile=",
        "--ServerApp.sock=",
        f"--ServerApp.root_dir={folder}",
        f"--IdentityProvider.token={token}",  # jupyter_server 2
        f"--ServerApp.token={token}",  # jupyter_server 1
    ]
    if (os.geteuid() if context.user is None else context.user.uid) == 0:
        options.append("--allow-root")
    return options


def _not_started(why: str) -> Finding:
    start = Item(name="start", outcome=Outcome.FAILED, detail=why.splitlines()[0])
    rest = (Item(name=name, outcome=Outcome.SKIPPED, detail="the server did not start") for name in _LATER)
    return Finding(outcome=Outcome.FAILED, detail=why, items=(start, *rest))


class _UnexercisedError(Exception):
    """There is nothing to exercise."""


@dataclass(slots=True)
class _Lab:
    """A running JupyterLab, asked one thing after the other."""

    client: Client
    deadline: float
    cell_seconds: float
    page: str = ""
    specs: Any = None

    def items(self) -> list[Item]:
        """Every item, in order."""
        steps = (self._page, self._assets, self._kernelspecs, self._cell)
        return [Item(name="start", outcome=Outcome.PASSED), *map(self._item, _LATER, steps)]

    def _item(self, name: str, step: Callable[[], str]) -> Item:
        try:
            return Item(name=name, outcome=Outcome.PASSED, detail=step())
        except _UnexercisedError as reason:
            return Item(name=name, outcome=Outcome.SKIPPED, detail=str(reason))
        except (RequestError, KernelError) as error:
            return Item(name=name, outcome=Outcome.FAILED, detail=str(error))

    def _left(self, most: float = _ANSWER) -> float:
        return max(0.0, min(most, self.deadline - time.monotonic()))

    def _page(self) -> str:
        answer = self.client.get("/lab", self._left())
        text = answer.body.decode("utf-8", "replace")
        if 'id="jupyter-config-data"' not in text:
            raise RequestError(f"GET /lab: {answer.url} is not JupyterLab's page")
        self.page = text
        return ""

    def _assets(self) -> str:
        if not self.page:
            raise _UnexercisedError("there is no page")
        urls = references(self.page, urljoin(self.client.root, "/lab"))
        wrong = []
        for url in (url for url in urls if self.client.serves(url)):
            path = url[len(self.client.root) - 1 :]
            try:
                if not self.client.get(path, self._left()).body:
                    wrong.append(f"GET {path}: empty")
            except RequestError as error:
                wrong.append(str(error))
        if wrong:
            raise RequestError("; ".join(wrong[:5]))
        return f"{len(urls)} scripts and styles"

    def _kernelspecs(self) -> str:
        specs = self.client.json("GET", "/api/kernelspecs", self._left())
        names = sorted(specs["kernelspecs"]) if isinstance(specs, dict) and specs.get("kernelspecs") else []
        if not names:
            raise RequestError("GET /api/kernelspecs: there is no kernel")
        self.specs = specs
        return ", ".join(names)

    def _cell(self) -> str:
        if self.specs is None:
            raise _UnexercisedError("there is no kernel")
        name = python_kernel(self.specs)
        if name is None:
            raise _UnexercisedError("there is no Python kernel")
        end = time.monotonic() + self._left(self.cell_seconds)
        made = self.client.json("POST", "/api/kernels", self._left(self.cell_seconds), {"name": name})
        if not isinstance(made, dict) or not made.get("id"):
            raise RequestError("POST /api/kernels: the answer names no kernel")
        kernel = str(made["id"])
        with connected(self.client, kernel, end) as connection:
            result = connection.execute("6*7")
            if result != "42":
                raise KernelError(f"6*7 is {result!r} in kernel {name}")
            if "import" not in connection.complete("impor"):
                raise KernelError(f"kernel {name} does not complete impor to import")
        self.client.ask("DELETE", f"/api/kernels/{quote(kernel, safe='')}", self._left())
        return f"6*7 is 42 in kernel {name}"


def python_kernel(specs: Any) -> str | None:
    """The name of the default kernel if it is one for Python, else of the first that is; None without any.

    `specs` as https://jupyter-server.readthedocs.io/en/stable/developers/rest-api.html gives them.
    """
    known = specs.get("kernelspecs", {})
    names = [specs.get("default"), *sorted(known)]
    python = (name for name in names if name in known and _language(known[name]) == "python")
    return next(python, None)


def _language(spec: Any) -> str:
    return str(spec.get("spec", {}).get("language", "")).lower()


def references(page: str, base: str) -> list[str]:
    """Absolute URLs of the scripts, styles and icons that an HTML page refers to, in order, each once.

    To them belong the entry scripts of JupyterLab's own extensions, which its page names in its configuration data.
    """
    parser = _References()
    parser.feed(page)
    return list(dict.fromkeys(urljoin(base, each) for each in (*parser.found, *_extensions(parser.configuration))))


def _extensions(configuration: str) -> list[str]:
    try:
        data = json.loads(configuration or "{}")
        folder = str(data.get("fullLabextensionsUrl", "")).rstrip("/")
        return [f"{folder}/{each['name']}/{each['load']}" for each in data.get("federated_extensions", ())]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []


class _References(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.configuration = ""
        self._in_configuration = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "script":
            self._in_configuration = values.get("id") == "jupyter-config-data"
        if tag == "script" and values.get("src"):
            self.found.append(values["src"])
        elif tag == "link" and values.get("href") and _STYLES & set(values.get("rel", "").lower().split()):
            self.found.append(values["href"])

    def handle_endtag(self, tag: str) -> None:
        self._in_configuration = False

    def handle_data(self, data: str) -> None:
        if self._in_configuration:
            self.configuration += data
