"""The extension host of a code-server with a client connected, and the extensions that activate in it on start.

The client is a page in a browser, if there is one, else ourselves. Only a page tells the host to start extensions.
The log of the host shows what became of them.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from slimagent.checks.code_server.browser import BrowserError, Page, browsing
from slimagent.checks.code_server.extensions import Known
from slimagent.checks.code_server.log import HostLog, read_log
from slimagent.checks.code_server.remote import EXTENSION_HOST, RemoteError, connected
from slimagent.checks.context import Context
from slimagent.checks.directory import start_of
from slimagent.checks.finding import all_skipped, judged
from slimagent.checks.loopback import Client
from slimagent.model.result import Item, Outcome

NAME = "extension host"
_LOG = "remoteexthost.log"
_LARGEST_LOG = 16 << 20
_BROWSER = 20.0  # seconds for a browser to start
_HOST = 30.0  # seconds for a host to be ready for its client
_PAGE = 30.0  # seconds for all extensions to activate
_LOOK = 0.5  # seconds between two looks into the log
_NAMED = 10
_NEVER_THERE = "/vsda/"  # a module that the page requests and no code-server has
_QUIET = 12.0  # seconds without news after which we stop waiting (the editor itself gives up at 10)
_SETTLE = 2.5  # seconds in which a started activation may still fail


@dataclass(frozen=True, slots=True, kw_only=True)
class Editor:
    """A running code-server: its client, the directory that its page names, its data and a directory to open.

    `browser` is the program of a browser, None without one. `chat` are the extensions that the page hands to the host
    only after chat is set up. `deadline` is in `time.monotonic()` seconds.
    """

    context: Context
    client: Client
    prefix: str
    data: str
    workspace: str
    scratch: str
    browser: str | None
    chat: frozenset[str]
    deadline: float

    def until(self, seconds: float) -> float:
        """The time in that many seconds, or the deadline if that comes first."""
        return min(self.deadline, time.monotonic() + seconds)


def host_items(editor: Editor, extensions: Sequence[Known]) -> list[Item]:
    """An item for the host, and one for each extension that activates on start."""
    starting = sorted(
        (each for each in extensions if each.manifest and each.manifest.main and each.manifest.on_start),
        key=lambda each: each.item.name,
    )
    without = "no browser"
    if editor.browser is not None:
        try:
            return list(_with_page(editor, editor.browser, starting))
        except BrowserError as error:
            without = f"{editor.browser}: {error}"
    return [_with_protocol(editor, without), *all_skipped(map(_activates, starting), without)]


def _activates(known: Known) -> str:
    return f"activates {_identity(known)}"


def _with_protocol(editor: Editor, why: str) -> Item:
    """Connect to a new host, as a page does, until it waits for what only a page can tell it."""
    until = editor.until(_HOST)
    try:
        with connected(editor.client, editor.prefix, EXTENSION_HOST, until) as connection:
            connection.await_ready(until)
    except RemoteError as error:
        return judged(NAME, f"{error} (by the remote protocol; {why})")
    return judged(NAME, "", f"ready for its client (by the remote protocol; {why})")


def _with_page(editor: Editor, browser: str, starting: Sequence[Known]) -> Iterator[Item]:
    """Open the editor's page and watch the log. Any BrowserError comes before the first item."""
    with browsing(editor.context, browser, editor.scratch, editor.until(_BROWSER)) as page:
        page.open(f"{editor.client.root}?folder={quote(editor.workspace)}", editor.until(_BROWSER))
        certain = frozenset(_identity(each) for each in starting if not each.missing) - editor.chat
        log = _watch(editor, page, certain)
        complaints = [each for each in page.complaints if _NEVER_THERE not in each]
    how = f"by a page in {browser}"
    seen = f"; {complaints[0]}" if complaints else ""
    if not log.started:
        yield judged(NAME, f"it did not start ({how}{seen})")
    elif starting and not log.eager:
        yield judged(NAME, f"one of {_suspects(log)} hangs ({how}{seen})")
    else:
        yield judged(NAME, "", f"up ({how})")
    for each in starting:
        yield _activation(each, log, editor.chat)


def _activation(known: Known, log: HostLog, chat: frozenset[str]) -> Item:
    identity = _identity(known)
    if log.started and identity in chat and identity not in log.activated | log.failed.keys():
        why = "the editor starts it only after the user has set up chat"
        return Item(name=_activates(known), outcome=Outcome.SKIPPED, detail=why)
    return judged(_activates(known), _why_not(known, log))


def _suspects(log: HostLog) -> str:
    """The extensions that the others may be waiting for: those that did not fail, the editor's own last."""
    names = sorted(log.at_once - log.failed.keys(), key=lambda name: (name.startswith("vscode."), name))
    return ", ".join(names[:_NAMED]) + (" and others" if names[_NAMED:] else "")


def _identity(known: Known) -> str:
    return known.item.name.partition(" ")[2]


def _why_not(known: Known, log: HostLog) -> str:
    """Why an extension is not active; empty if it is."""
    identity = _identity(known)
    if identity in log.failed:
        return log.failed[identity] or "it failed without a message"
    if identity in log.activated:
        return ""
    if known.missing:
        return f"not activated: it requires {', '.join(known.missing)}"
    return "not activated" if log.started else "no extension host"


def _watch(editor: Editor, page: Page, expected: frozenset[str]) -> HostLog:
    """Read the log until all that is expected was activated or failed, or nothing new comes."""
    end, last_change = editor.until(_PAGE), time.monotonic()
    before = read_log("")
    while True:
        page.stay(min(end, time.monotonic() + _LOOK))
        log, now = read_log(_content(editor.data)), time.monotonic()
        if log != before:
            before, last_change = log, now
        complete = log.started and (log.eager or not expected) and expected <= (log.activated | log.failed.keys())
        patience = _SETTLE if complete else _QUIET
        if now >= end or (log.started and now - last_change >= patience):
            return log


def _content(data: str) -> str:
    """The logs of this server's extension hosts."""
    files = glob.glob(os.path.join(glob.escape(data), "logs", "*", "exthost*", _LOG))
    return "\n".join(start_of(file, _LARGEST_LOG) for file in sorted(files))
