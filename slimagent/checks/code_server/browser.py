"""A headless Chromium that opens a page of a server on this machine.

It is our tool and not part of what is exercised: it is started without tracing, wherever it is. It speaks the Chrome
DevTools Protocol (chromedevtools.github.io/devtools-protocol, domains Target, Page, Network, Runtime and Log): JSON
over a websocket, at the port and path that the browser writes to DevToolsActivePort in its data directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from slimagent.checks.answers import mapping, member, string
from slimagent.checks.context import Context
from slimagent.checks.directory import start_of
from slimagent.checks.loopback import Client
from slimagent.checks.output import Output
from slimagent.checks.processes import started, wait
from slimagent.checks.websockets import LateError, Socket, SocketError, opened
from slimagent.linux.command import ending
from slimagent.linux.family import spawn

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # a default container cannot make namespaces, and the page is the image's own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--remote-debugging-port=0",
)
_POLL = 0.1  # seconds
_SHORT = 1000  # bytes of DevToolsActivePort
_MOST = 20  # complaints
_LONGEST = 300  # characters of one


class BrowserError(Exception):
    """A browser that does not start, ends, or fails; the message says why."""


def find(wanted: str, env: Mapping[str, str]) -> str | None:
    """The path of the browser `wanted` (a name or a path; empty: any), on the PATH of `env` or our own."""
    names = (wanted,) if wanted else NAMES
    paths = (env.get("PATH", os.defpath), os.environ.get("PATH", os.defpath))
    found = (shutil.which(name, path=path) for path in paths for name in names)
    return next((each for each in found if each), None)


class Page:
    """An open page. `until` is in `time.monotonic()` seconds."""

    def __init__(self, socket: Socket, process: subprocess.Popen[bytes]) -> None:
        self._socket, self._process = socket, process
        self._last_id = 0
        self._session = ""
        self._urls: dict[str, str] = {}
        self.complaints: list[str] = []

    def open(self, url: str, until: float) -> None:
        """Go to a URL. Raises BrowserError."""
        target = self._call("Target.createTarget", {"url": "about:blank"}, until).get("targetId")
        attached = self._call("Target.attachToTarget", {"targetId": target, "flatten": True}, until)
        self._session = str(attached.get("sessionId", ""))
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._call(f"{domain}.enable", {}, until)
        answer = self._call("Page.navigate", {"url": url}, until)
        if answer.get("errorText"):
            raise BrowserError(f"{url}: {answer['errorText']}")

    def stay(self, until: float) -> None:
        """Let the page run and collect its complaints. Raises BrowserError if the browser ends."""
        with contextlib.suppress(LateError):
            while True:
                self._receive(until)

    def _call(self, method: str, parameters: dict[str, Any], until: float) -> dict[str, Any]:
        self._last_id += 1
        number = self._last_id
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        try:
            self._socket.send(json.dumps(message), until)
            while True:
                answer = self._receive(until)
                if answer.get("id") == number:
                    break
        except LateError:
            raise BrowserError(f"{method}: no answer in time") from None
        except SocketError as error:
            raise BrowserError(f"{method}: {error}") from None
        if "error" in answer:
            raise BrowserError(f"{method}: {str(member(answer, 'error', 'message'))[:_LONGEST]}")
        return mapping(answer, "result")

    def _receive(self, until: float) -> dict[str, Any]:
        """The next message. Raises LateError, and BrowserError if the browser ended."""
        try:
            message = json.loads(self._socket.receive(until))
        except LateError:
            raise
        except (SocketError, ValueError) as error:
            code = wait(self._process, 1.0)
            raise BrowserError(f"the browser ended: {ending(code)}" if code is not None else str(error)) from None
        if not isinstance(message, dict):
            return {}
        complaint = self._complaint(str(message.get("method", "")), mapping(message, "params"))
        if complaint and complaint not in self.complaints and len(self.complaints) < _MOST:
            self.complaints.append(" ".join(complaint.split())[:_LONGEST])
        return message

    def _complaint(self, event: str, about: dict[str, Any]) -> str:
        if event == "Network.requestWillBeSent" and len(self._urls) < 10_000:
            self._urls[str(about.get("requestId"))] = string(about, "request", "url")
        elif event == "Network.responseReceived":
            response = mapping(about, "response")
            status = response.get("status")
            if isinstance(status, int) and status >= 400:
                return f"{response.get('url')}: {status} {response.get('statusText', '')}".rstrip()
        elif event == "Network.loadingFailed" and not about.get("canceled"):
            return f"{self._urls.get(str(about.get('requestId')), 'a request')}: {about.get('errorText')}"
        elif event == "Runtime.exceptionThrown":
            details = mapping(about, "exceptionDetails")
            thrown = string(details, "exception", "description") or details.get("text", "")
            return f"the page's script failed: {thrown}"
        return ""


@contextlib.contextmanager
def browsing(context: Context, program: str, directory: str, until: float) -> Iterator[Page]:
    """Start a browser as the context's user, with its files in `directory`, and yield an empty page.

    Raises BrowserError. The browser is stopped when the block ends.
    """
    data = os.path.join(directory, "data")
    home = dict.fromkeys(("HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"), directory)
    unwatched = replace(context, spawn=spawn)
    argv = (program, *_OPTIONS, f"--user-data-dir={data}", "about:blank")
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(Output())
        try:
            process = stack.enter_context(
                started(unwatched, argv, env={**context.env, **home}, cwd=directory, stdout=output, stderr=output)
            )
        except OSError as error:
            raise BrowserError(f"{program}: {error.strerror}") from None
        port, path = _address(process, output, os.path.join(data, "DevToolsActivePort"), until)
        try:
            socket = stack.enter_context(opened(Client(port=port), path, until))
        except SocketError as error:
            raise BrowserError(f"the browser does not answer: {error}") from None
        yield Page(socket, process)


def _address(process: subprocess.Popen[bytes], output: Output, file: str, until: float) -> tuple[int, str]:
    """The port and path of the browser's protocol, as soon as it reports them. Raises BrowserError."""
    while True:
        port, _, path = start_of(file, _SHORT).partition("\n")
        if port.isdecimal() and 0 < int(port) < 1 << 16 and path.startswith("/devtools/"):
            return int(port), path.strip()
        output.limit()
        code = wait(process, _POLL)
        if code is not None:
            last = output.last_lines(1)
            raise BrowserError(f"the browser ended: {ending(code)}{': ' if last else ''}{last}")
        if time.monotonic() >= until:
            raise BrowserError("the browser did not start in time")
