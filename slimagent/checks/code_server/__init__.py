"""Kind `code-server`: the editor starts, serves its page and its extensions, and runs extensions and a terminal.

Parameters: `command` (default `code-server`), `extensions_dir` (default: where the image has its extensions, see
`start`), `browser` (a Chromium, by name or path; default any on PATH), `skip` (identities of extensions, or
names of items).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from slimagent.checks.code_server import browser, ripgrep
from slimagent.checks.code_server.extensions import Extension, Files, Inspector, Known, discover
from slimagent.checks.code_server.host import NAME as HOST_ITEM
from slimagent.checks.code_server.host import Editor, host_items
from slimagent.checks.code_server.manifest import chat_extensions
from slimagent.checks.code_server.page import Page, icons, joined, named_files, read_page
from slimagent.checks.code_server.remote import MANAGEMENT, Connection, RemoteError, connected
from slimagent.checks.code_server.start import Place, listed, prepare
from slimagent.checks.code_server.terminal import Terminal, watch
from slimagent.checks.context import Context
from slimagent.checks.directory import temporary_directory
from slimagent.checks.finding import Finding, of_items, skipped
from slimagent.checks.loopback import Client, RequestError, free_port
from slimagent.checks.program import complete
from slimagent.checks.server import NotReadyError, Server, serving
from slimagent.model.profile import CheckSpec
from slimagent.model.result import Item, Outcome

PARAMETERS: dict[str, type] = {"command": tuple, "extensions_dir": str, "browser": str, "skip": tuple}
_COMMAND = ("code-server",)
_NAMES = ("page", "assets", "list-extensions", "connection", "search", "watcher", "terminal", HOST_ITEM)
_START = 60.0  # seconds for the server to answer
_ANSWER = 30.0  # seconds for one answer of a server that is ready
_FILE = 10.0  # seconds for one file of an extension
_TERMINAL, _WATCHER, _SEARCH = 10.0, 10.0, 10.0  # seconds
_LOOK = 0.5  # seconds between two looks at what the server writes
_LINES = 200  # of it
# What the server writes of the process that its terminals live in; an exception that nobody catches is its end.
_DEAD = re.compile(r"Pty Host\b.*Uncaught Exception")
_CAUSE = re.compile(r"(?:\bError(?: \[\w+\])?: |Pty Host\" crashed with )(.{1,300})")
_NAMED = 5
_LONGEST = 2000  # characters of a detail


def run(spec: CheckSpec, context: Context) -> Finding:
    """Start it and ask one thing after the other.

    Items: start, page, assets, list-extensions, connection, search, watcher, terminal, `extension host`; `extension ID`
    for each extension; `activates ID` for each that does so on start, skipped without a browser.
    """
    command = spec.parameters.get("command", _COMMAND)
    if not isinstance(command, tuple) or not command:
        command = _COMMAND
    if shutil.which(command[0], path=context.env.get("PATH", os.defpath)) is None:
        return skipped(f"{command[0]} is not on PATH")
    deadline = time.monotonic() + spec.seconds
    with temporary_directory(context.user) as directory:
        place = prepare(command, directory, context, str(spec.parameters.get("extensions_dir", "")))
        lists = listed(place, min(_START, spec.seconds))
        client = Client(port=free_port())
        left = max(0.1, min(_START, deadline - time.monotonic()))
        try:
            with serving(
                context, place.argv(client.port), client, env=place.env, cwd=directory, ready="/healthz", seconds=left
            ) as server:
                checked = _Checked(spec, context, place, server, deadline, *lists)
                found = of_items(map(_printable, checked.run()))
                if found.outcome is Outcome.FAILED:
                    found = of_items(found.items, log=server.output.last_lines())
                return replace(found, snapshot=checked.snapshot())
        except NotReadyError as error:
            return _not_started(str(error))


def _printable(item: Item) -> Item:
    """The item as it can be shown, in one line each: names come from manifests and directories, and may be anything."""
    name, detail = (
        " ".join("".join(each if each.isprintable() else " " for each in words[:_LONGEST]).split())
        for words in (item.name, item.detail)
    )
    return replace(item, name=name, detail=detail)


def _not_started(why: str) -> Finding:
    start = Item(name="start", outcome=Outcome.FAILED, detail=why.split("\n")[0])
    rest = (Item(name=name, outcome=Outcome.SKIPPED, detail="the server did not start") for name in _NAMES)
    return Finding(outcome=Outcome.FAILED, detail=why, items=(start, *rest))


class _UnexercisedError(Exception):
    """There is nothing to exercise."""


class _FaultError(Exception):
    """Something is not as it is to be; the message says what."""


@dataclass(slots=True)
class _Checked:
    """A running code-server, asked one thing after the other."""

    spec: CheckSpec
    context: Context
    place: Place
    server: Server
    deadline: float
    command: frozenset[str] | None
    command_fault: str
    items: list[Item] = field(default_factory=list)
    page: Page | None = None
    served: list[str] = field(default_factory=list)
    known: list[Known] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    chat: frozenset[str] = frozenset()

    def run(self) -> list[Item]:
        """Every item, in order."""
        self.items.append(Item(name="start", outcome=Outcome.PASSED))
        self._item("page", self._page)
        self._item("assets", self._assets)
        self._item("list-extensions", self._listed)
        if self.page is None:
            for name in _NAMES[3:]:
                self.items.append(Item(name=name, outcome=Outcome.SKIPPED, detail="there is no page"))
            return self.items
        self._managed(self.page)
        self.items.extend(self._hosted(self.page))
        self.items.extend(self._gone())
        return self.items

    def snapshot(self) -> str:
        """What a later run needs: optional files that were served, and extension identities by directory name."""
        return json.dumps({"assets": self.served, "names": self.names}, sort_keys=True)

    def _item(self, name: str, step: Callable[[], str]) -> None:
        outcome = Outcome.PASSED
        try:
            detail = step()
        except _UnexercisedError as reason:
            outcome, detail = Outcome.SKIPPED, str(reason)
        except (_FaultError, RequestError, RemoteError) as error:
            outcome, detail = Outcome.FAILED, str(error)
        self.items.append(Item(name=name, outcome=outcome, detail=detail))

    def _left(self, most: float | None = None) -> float:
        """How many seconds something may take: `most`, or what an answer may."""
        return max(0.0, min(_ANSWER if most is None else most, self.deadline - time.monotonic()))

    def _until(self, most: float | None = None) -> float:
        return time.monotonic() + self._left(most)

    def _skip(self) -> frozenset[str]:
        value = self.spec.parameters.get("skip", ())
        return frozenset(each.lower() for each in value) if isinstance(value, tuple) else frozenset()

    def _page(self) -> str:
        answer = self.server.client.get("/", self._left())
        self.page = read_page(answer.body.decode("utf-8", "replace"), answer.url)
        if self.page is None:
            raise _FaultError("GET /: not the editor's page")
        return ""

    def _assets(self) -> str:
        if self.page is None:
            raise _UnexercisedError("there is no page")
        wrong, program = [], b""
        for url in self.page.references:
            try:
                body = self._get(url)
            except RequestError as error:
                wrong.append(str(error))
                continue
            program = body if url == self.page.program else program
            if url.endswith("manifest.json"):
                wrong += self._faults(joined(url, each) for each in _icons(body))
        static = joined(self.server.client.root, f"{self.page.prefix}/static/")
        before = _strings(self._before().get("assets"))
        for path, needed in named_files(program.decode("utf-8", "replace")).items():
            faults = list(self._faults((static + path,)))
            if not faults and not needed:
                self.served.append(path)
            wrong += faults if needed or path in before else ()
        if wrong:
            raise _FaultError(_few(wrong))
        return ""

    def _faults(self, urls: Any) -> Iterator[str]:
        for url in urls:
            try:
                self._get(url)
            except RequestError as error:
                yield str(error)

    def _get(self, url: str) -> bytes:
        """What is at a URL of this server; nothing of another's is asked for. Raises RequestError."""
        client = self.server.client
        if not client.serves(url):
            return b""
        path = url[len(client.root) - 1 :]
        body = client.get(path, self._left()).body
        if not body:
            raise RequestError(f"GET {path}: empty")
        return body

    def _listed(self) -> str:
        if self.command is None:
            raise _FaultError(self.command_fault)
        return ", ".join(sorted(self.command)) or "none are installed"

    def _managed(self, page: Page) -> None:
        """What goes over a management connection, and the extensions, whose names come over it."""
        asked, heard = False, self._heard()
        try:
            with connected(self.server.client, page.prefix, MANAGEMENT, self._until()) as connection:
                root = _root(connection, self._until())
                terminal = None
                if "terminal" not in self._skip():  # asked for at once: it takes its time while we do other things
                    terminal = Terminal(connection, self.place.workspace, self._until())
                late = self._until(_TERMINAL)
                answer = connection.call("remoteExtensionsScanner", "scanExtensions", ["en"], self._until())
                asked = True
                self.items.append(Item(name="connection", outcome=Outcome.PASSED))
                self._extensions(page, root, discover(answer, root, self.place.extensions))
                self._item("search", lambda: self._search(root))
                self._item("watcher", lambda: self._watcher(connection))
                self._item("terminal", lambda: self._terminal(terminal, late, heard))
        except RemoteError as error:
            if not asked:
                self.items.append(Item(name="connection", outcome=Outcome.FAILED, detail=str(error)))
                for name in ("search", "watcher", "terminal"):
                    self.items.append(Item(name=name, outcome=Outcome.SKIPPED, detail="there is no connection"))

    def _heard(self) -> frozenset[str]:
        """The lines that the server wrote until now."""
        return frozenset(self.server.output.last_lines(_LINES).splitlines())

    def _cause(self, heard: frozenset[str]) -> str:
        """The first error that the server wrote since then, as what follows a fault; nothing if there is none."""
        lines = (line for line in self.server.output.last_lines(_LINES).splitlines() if line not in heard)
        found = next(filter(None, map(_CAUSE.search, lines)), None)
        return f": {found[1]}" if found else ""

    def _terminal(self, terminal: Terminal | None, until: float, heard: frozenset[str]) -> str:
        if terminal is None:
            raise _UnexercisedError("left out by the profile")
        fault = ""
        try:
            while not fault and not terminal.made(min(until, time.monotonic() + _LOOK)):
                dead = _DEAD.search(self.server.output.last_lines(_LINES))
                fault = "there is no answer" if dead or time.monotonic() >= until else ""
            if not fault:
                terminal.finish(self._until(_TERMINAL))
        except RemoteError as error:
            fault = str(error)
        if fault:
            raise _FaultError(fault + self._cause(heard))
        return ""

    def _watcher(self, connection: Connection) -> str:
        if "watcher" in self._skip():
            raise _UnexercisedError("left out by the profile")
        heard = self._heard()
        try:
            watch(connection, self.place.workspace, self._until(_WATCHER))
        except RemoteError as error:
            raise _FaultError(f"{error}{self._cause(heard)}") from None
        return ""

    def _search(self, root: str) -> str:
        if "search" in self._skip():
            raise _UnexercisedError("left out by the profile")
        program = ripgrep.find(root, os.uname().machine)
        if not program:
            raise _UnexercisedError("the editor brings no ripgrep for this machine")
        argv = (program, "--no-config", "--files-with-matches", "needle", self.place.workspace)
        try:
            ended = complete(
                self.context, argv, env=self.place.env, cwd=self.place.workspace, seconds=self._left(_SEARCH)
            )
        except OSError as error:
            raise _FaultError(f"{program}: {error.strerror}") from None
        if not ended.well:
            raise _FaultError(f"{program}: {ended.why}")
        return ""

    def _extensions(self, page: Page, root: str, scanned: list[Extension]) -> None:
        files = Files(self.server.client, page.prefix, lambda: self._left(_FILE))
        with contextlib.suppress(RequestError):  # then every extension is expected to start
            self.chat = chat_extensions(files.content(f"{root}/product.json"))
        identities = frozenset(each.identity for each in scanned if each.listed)
        inspector = Inspector(files, identities, self.command, _texts(self._before().get("names")))
        left_out = self._skip()
        for each in scanned:
            known = None if each.identity in left_out else inspector.inspect(each)
            if known is not None:
                self.known.append(known)
                self.items.append(known.item)
                self.names[os.path.basename(each.directory)] = known.item.name.partition(" ")[2]
        for identity in sorted(left_out & identities):
            self.items.append(
                Item(name=f"extension {identity}", outcome=Outcome.SKIPPED, detail="left out by the profile")
            )

    def _hosted(self, page: Page) -> list[Item]:
        wanted = str(self.spec.parameters.get("browser", ""))
        editor = Editor(
            context=self.context,
            client=self.server.client,
            prefix=page.prefix,
            data=self.place.data,
            workspace=self.place.workspace,
            scratch=self.place.scratch,
            browser=browser.find(wanted, self.context.env),
            chat=self.chat,
            deadline=self.deadline,
        )
        heard = self._heard()
        first, *rest = host_items(editor, self.known)
        cause = self._cause(heard) if first.outcome is Outcome.FAILED else ""
        return [replace(first, detail=first.detail + cause), *rest]

    def _before(self) -> Mapping[str, Any]:
        try:
            value = json.loads(self.context.before.snapshot) if self.context.before else {}
        except (ValueError, RecursionError):
            value = {}
        return value if isinstance(value, dict) else {}

    def _gone(self) -> Iterator[Item]:
        """Extensions that were well on the full image and that nobody names now."""
        now = {item.name for item in self.items}
        for item in self.context.before.items if self.context.before else ():
            kind, _, identity = item.name.partition(" ")
            if kind == "extension" and item.name not in now and item.outcome is Outcome.PASSED:
                detail = f"{identity} is not there any more, and the server does not list it"
                yield Item(name=item.name, outcome=Outcome.FAILED, detail=detail)


def _root(connection: Connection, until: float) -> str:
    """The editor's own directory, as it tells its page. Raises RemoteError."""
    about = connection.call("remoteextensionsenvironment", "getEnvironmentData", {"remoteAuthority": "remote"}, until)
    root = about.get("appRoot") if isinstance(about, dict) else None
    path = root.get("path") if isinstance(root, dict) else None
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise RemoteError("getEnvironmentData: the answer names no directory of the editor")
    return path


def _icons(manifest: bytes) -> list[str]:
    try:
        return icons(json.loads(manifest))
    except (ValueError, RecursionError):
        return []


def _few(faults: list[str]) -> str:
    more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return "; ".join(faults[:_NAMED]) + more


def _strings(value: Any) -> frozenset[str]:
    return frozenset(each for each in value if isinstance(each, str)) if isinstance(value, list) else frozenset()


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: each for key, each in value.items() if isinstance(each, str)}
