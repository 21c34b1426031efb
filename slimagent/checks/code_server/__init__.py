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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from slimagent.checks import parameters
from slimagent.checks.answers import mapping, parsed, string, strings
from slimagent.checks.code_server import browser, ripgrep
from slimagent.checks.code_server.extensions import Extension, Files, Inspector, Known, discover
from slimagent.checks.code_server.host import NAME as HOST_ITEM
from slimagent.checks.code_server.host import Editor, host_items
from slimagent.checks.code_server.manifest import chat_extensions
from slimagent.checks.code_server.page import Page, icons, named_files, read_page
from slimagent.checks.code_server.remote import MANAGEMENT, Connection, RemoteError, connected
from slimagent.checks.code_server.start import Place, listed, prepare
from slimagent.checks.code_server.terminal import Terminal, watch
from slimagent.checks.context import Context
from slimagent.checks.directory import temporary_directory
from slimagent.checks.finding import (
    LEFT_OUT,
    FaultError,
    Finding,
    UnexercisedError,
    all_skipped,
    attempt,
    first_few,
    judged,
    not_started,
    of_items,
    skipped,
)
from slimagent.checks.html_page import joined
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
# The server's log about the process of its terminals, which an uncaught exception ends.
_DEAD = re.compile(r"Pty Host\b.*Uncaught Exception")
_CAUSE = re.compile(r"(?:\bError(?: \[\w+\])?: |Pty Host\" crashed with )(.{1,300})")
_LONGEST = 2000  # characters of a detail


def run(spec: CheckSpec, context: Context) -> Finding:
    """Start it and exercise one thing after the other.

    Items: start, page, assets, list-extensions, connection, search, watcher, terminal, `extension host`; `extension ID`
    for each extension; `activates ID` for each that does so on start, skipped without a browser.
    """
    command = parameters.strings(spec, "command") or _COMMAND
    if shutil.which(command[0], path=context.env.get("PATH", os.defpath)) is None:
        return skipped(f"{command[0]} is not on PATH")
    deadline = time.monotonic() + spec.seconds
    with temporary_directory(context.user) as directory:
        place = prepare(command, directory, context, parameters.string(spec, "extensions_dir"))
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
            return not_started(_NAMES, str(error).split("\n")[0], str(error))


def _printable(item: Item) -> Item:
    """The item with printable, one-line texts: names come from manifests and directories, and may be anything."""
    name, detail = (
        " ".join("".join(each if each.isprintable() else " " for each in words[:_LONGEST]).split())
        for words in (item.name, item.detail)
    )
    return replace(item, name=name, detail=detail)


@dataclass(slots=True)
class _Checked:
    """A running code-server that is exercised step by step."""

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
        self.items.append(judged("start", ""))
        self._item("page", self._page)
        self._item("assets", self._assets)
        self._item("list-extensions", self._listed)
        if self.page is None:
            return [*self.items, *all_skipped(_NAMES[3:], "no page")]
        self._managed(self.page)
        self.items.extend(self._hosted(self.page))
        self.items.extend(self._gone())
        return self.items

    def snapshot(self) -> str:
        """What a later run needs: optional files that were served, and extension identities by directory name."""
        return json.dumps({"assets": self.served, "names": self.names}, sort_keys=True)

    def _item(self, name: str, step: Callable[[], str]) -> None:
        self.items.append(attempt(name, step))

    def _left(self, most: float = _ANSWER) -> float:
        """The seconds that something may take."""
        return max(0.0, min(most, self.deadline - time.monotonic()))

    def _until(self, most: float = _ANSWER) -> float:
        return time.monotonic() + self._left(most)

    def _skip(self) -> frozenset[str]:
        return frozenset(each.lower() for each in parameters.strings(self.spec, "skip"))

    def _not_left_out(self, name: str) -> None:
        """Raises UnexercisedError if the profile leaves out the item of that name."""
        if name in self._skip():
            raise UnexercisedError(LEFT_OUT)

    def _page(self) -> str:
        answer = self.server.client.get("/", self._left())
        self.page = read_page(answer.body.decode("utf-8", "replace"), answer.url)
        if self.page is None:
            raise FaultError("GET /: not the editor's page")
        return ""

    def _assets(self) -> str:
        if self.page is None:
            raise UnexercisedError("no page")
        wrong, program = [], b""
        for url in self.page.references:
            try:
                body = self._get(url)
            except RequestError as error:
                wrong.append(str(error))
                continue
            program = body if url == self.page.program else program
            if url.endswith("manifest.json"):
                wrong += self._faults(joined(url, each) for each in icons(parsed(body)))
        static = joined(self.server.client.root, f"{self.page.prefix}/static/")
        before = frozenset(strings(self._before(), "assets"))
        for path, needed in named_files(program.decode("utf-8", "replace")).items():
            faults = list(self._faults((static + path,)))
            if not faults and not needed:
                self.served.append(path)
            wrong += faults if needed or path in before else ()
        if wrong:
            raise FaultError(first_few(wrong))
        return ""

    def _faults(self, urls: Iterable[str]) -> Iterator[str]:
        for url in urls:
            try:
                self._get(url)
            except RequestError as error:
                yield str(error)

    def _get(self, url: str) -> bytes:
        """The file at a URL of this server; a URL of another one is not requested. Raises RequestError."""
        client = self.server.client
        return client.content(client.path(url), self._left()) if client.serves(url) else b""

    def _listed(self) -> str:
        if self.command is None:
            raise FaultError(self.command_fault)
        return ", ".join(sorted(self.command)) or "none are installed"

    def _managed(self, page: Page) -> None:
        """Exercise what uses a management connection, and the extensions, which it lists."""
        asked, heard = False, self._heard()
        try:
            with connected(self.server.client, page.prefix, MANAGEMENT, self._until()) as connection:
                root = _root(connection, self._until())
                terminal = None
                if "terminal" not in self._skip():  # requested first: it starts while we do other things
                    terminal = Terminal(connection, self.place.workspace, self._until())
                late = self._until(_TERMINAL)
                answer = connection.call("remoteExtensionsScanner", "scanExtensions", ["en"], self._until())
                asked = True
                self.items.append(judged("connection", ""))
                self._extensions(page, root, discover(answer, root, self.place.extensions))
                self._item("search", lambda: self._search(root))
                self._item("watcher", lambda: self._watcher(connection))
                self._item("terminal", lambda: self._terminal(terminal, late, heard))
        except RemoteError as error:
            if not asked:
                self.items.append(judged("connection", str(error)))
                self.items += all_skipped(("search", "watcher", "terminal"), "no connection")

    def _heard(self) -> frozenset[str]:
        """The lines that the server has written so far."""
        return frozenset(self.server.output.last_lines(_LINES).splitlines())

    def _cause(self, heard: frozenset[str]) -> str:
        """`: ` and the first error that the server wrote since then; empty if there is none."""
        lines = (line for line in self.server.output.last_lines(_LINES).splitlines() if line not in heard)
        found = next(filter(None, map(_CAUSE.search, lines)), None)
        return f": {found[1]}" if found else ""

    def _terminal(self, terminal: Terminal | None, until: float, heard: frozenset[str]) -> str:
        if terminal is None:
            raise UnexercisedError(LEFT_OUT)
        fault = ""
        try:
            while not fault and not terminal.made(min(until, time.monotonic() + _LOOK)):
                dead = _DEAD.search(self.server.output.last_lines(_LINES))
                fault = "no answer" if dead or time.monotonic() >= until else ""
            if not fault:
                terminal.finish(self._until(_TERMINAL))
        except RemoteError as error:
            fault = str(error)
        if fault:
            raise FaultError(fault + self._cause(heard))
        return ""

    def _watcher(self, connection: Connection) -> str:
        self._not_left_out("watcher")
        heard = self._heard()
        try:
            watch(connection, self.place.workspace, self._until(_WATCHER))
        except RemoteError as error:
            raise FaultError(f"{error}{self._cause(heard)}") from None
        return ""

    def _search(self, root: str) -> str:
        self._not_left_out("search")
        program = ripgrep.find(root, os.uname().machine)
        if not program:
            raise UnexercisedError("the editor has no ripgrep for this machine")
        argv = (program, "--no-config", "--files-with-matches", "needle", self.place.workspace)
        try:
            ended = complete(
                self.context, argv, env=self.place.env, cwd=self.place.workspace, seconds=self._left(_SEARCH)
            )
        except OSError as error:
            raise FaultError(f"{program}: {error.strerror}") from None
        if not ended.well:
            raise FaultError(f"{program}: {ended.why}")
        return ""

    def _extensions(self, page: Page, root: str, scanned: list[Extension]) -> None:
        files = Files(self.server.client, page.prefix, lambda: self._left(_FILE))
        with contextlib.suppress(RequestError):  # then every extension is expected to start
            self.chat = chat_extensions(files.content(f"{root}/product.json"))
        identities = frozenset(each.identity for each in scanned if each.listed)
        names = {key: each for key, each in mapping(self._before(), "names").items() if isinstance(each, str)}
        inspector = Inspector(files, identities, self.command, names)
        left_out = self._skip()
        for each in scanned:
            self.context.test(f"extension {each.identity or os.path.basename(each.directory)}")
            known = None if each.identity in left_out else inspector.inspect(each)
            if known is not None:
                self.known.append(known)
                self.items.append(known.item)
                self.names[os.path.basename(each.directory)] = known.item.name.partition(" ")[2]
        self.context.test("")
        self.items += all_skipped((f"extension {identity}" for identity in sorted(left_out & identities)), LEFT_OUT)

    def _hosted(self, page: Page) -> list[Item]:
        editor = Editor(
            context=self.context,
            client=self.server.client,
            prefix=page.prefix,
            data=self.place.data,
            workspace=self.place.workspace,
            scratch=self.place.scratch,
            browser=browser.find(parameters.string(self.spec, "browser"), self.context.env),
            chat=self.chat,
            deadline=self.deadline,
        )
        heard = self._heard()
        first, *rest = host_items(editor, self.known)
        cause = self._cause(heard) if first.outcome is Outcome.FAILED else ""
        return [replace(first, detail=first.detail + cause), *rest]

    def _before(self) -> dict[str, Any]:
        return mapping(parsed(self.context.before.snapshot)) if self.context.before else {}

    def _gone(self) -> Iterator[Item]:
        """Extensions that passed on the original image and are not found now."""
        now = {item.name for item in self.items}
        for item in self.context.before.items if self.context.before else ():
            kind, _, identity = item.name.partition(" ")
            if kind == "extension" and item.name not in now and item.outcome is Outcome.PASSED:
                yield judged(item.name, f"{identity} is gone, and the server does not list it")


def _root(connection: Connection, until: float) -> str:
    """The directory of the editor, as it reports it to its page. Raises RemoteError."""
    about = connection.call("remoteextensionsenvironment", "getEnvironmentData", {"remoteAuthority": "remote"}, until)
    path = string(about, "appRoot", "path")
    if not path.startswith("/") or "\0" in path:
        raise RemoteError("getEnvironmentData: the answer does not name the editor's directory")
    return path
