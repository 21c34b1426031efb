"""The protocol of RStudio Server, spoken as by a browser; everything known about it is here.

Read in github.com/rstudio/rstudio (cpp is src/cpp, gwt is src/gwt/src/org/rstudio), versions 0.9 to 2026.08:

- Sign-in: with `--auth-none` the page comes at once, or (1.4 and later) after /auth-sign-in, which sets cookies and
  sends back (cpp/server/ServerPAMAuth.cpp, cpp/server/auth/ServerAuthCommon.cpp). Every call needs these cookies.
- Forgery: header and cookie of a call must have the same token, any token; the names changed in 2021.09
  (cpp/core/http/CSRFToken.cpp).
- Calls: POST /rpc/METHOD with `{"method", "params", "clientId", "clientVersion"}`, answered with status 200 by
  `{"result"}`, by `{"error": {"code", "message", "error"}}`, or (2022 and later) by `{"asyncHandle"}` and later by an
  event `async_completion` (gwt/core/client/jsonrpc/RpcRequest.java, cpp/core/json/JsonRpc.cpp,
  cpp/session/SessionRpc.cpp).
- Methods: `client_init` [base URL] has rserver start an rsession, and gives clientId and client_version for all other
  calls; `console_input` [text, console, flags]; `quit_session` [save, project, R version, page]
  (cpp/session/SessionClientInit.cpp, SessionConsoleInput.cpp, SessionHttpMethods.cpp).
- Events: POST /events/get_events [number of the last event seen], held up to 50 seconds until there is one; each is
  `{"id", "type", "data"}` (cpp/session/SessionClientEventService.cpp, SessionClientEvent.cpp).
- Plots: after the next prompt `plots_state_changed` names a file, which is at /graphics/FILE; `empty.png` means none
  (cpp/session/modules/SessionPlots.cpp).
"""

from __future__ import annotations

import re
import secrets
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.cookiejar import Cookie, CookieJar
from typing import Any, NamedTuple
from urllib.parse import quote
from urllib.request import HTTPCookieProcessor

from slimagent.checks.answers import array, mapping, member, string
from slimagent.checks.finding import FaultError
from slimagent.checks.loopback import HOST, Client, RequestError

# Without --www-verify-user-agent rserver shows its page only to browsers that it knows (cpp/server/ServerBrowser.cpp).
_BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
_TOKENS = {"rs-csrf-token": "X-RS-CSRF-Token", "csrf-token": "X-CSRF-Token"}  # cookie: header; 2021.09 on, before
_IDLE = 0.05  # seconds between two polls of a server that answers without news
_MOST_EVENTS = 10_000  # kept for later
_LONGEST = 1 << 16  # characters of a console's output that are kept
_WIDTH = 400  # characters of them in a detail
# Since 2025.05 an error, a warning and a message are marked (cpp/core/include/core/AnsiEscapes.hpp); R's own packages
# colour what they write.
_MARKS = re.compile(r"\x1b(?:[GH]\d;|[gh]|\[[\d;]*m)")
_PNG = b"\x89PNG\r\n\x1a\n"  # https://www.w3.org/TR/png-3/#5PNG-file-signature
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"  # the last chunk: no data, its name, the sum of that


class CallError(FaultError):
    """A call that was answered by an error, or by something that is not the protocol."""

    def __init__(self, message: str) -> None:
        super().__init__(_line(message))


class Event(NamedTuple):
    """An event of a session: its type, and the data that belong to it."""

    kind: str
    data: Any


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser with its cookies."""

    client: Client
    cookies: CookieJar

    def call(self, path: str, params: list[Any], seconds: float, identity: tuple[str, str] = ("", "")) -> Any:
        """The answer to the method that is the last part of `path`. Raises RequestError, and CallError for an error."""
        method = path.rpartition("/")[2]
        headers = {header: self._cookie(cookie) for cookie, header in _TOKENS.items()}
        client = replace(self.client, headers={**self.client.headers, **headers})
        body = {"method": method, "params": params, "clientId": identity[0], "clientVersion": identity[1]}
        answer = client.json("POST", path, seconds, body)
        if not isinstance(answer, dict):
            raise CallError(f"{method}: the answer is not an object")
        _raise_error(method, answer)
        return answer

    def _cookie(self, name: str) -> str:
        return next((each.value for each in self.cookies if each.name == name and each.value), "")


def browser(port: int) -> Browser:
    """A new browser, with a new token, for the RStudio Server at that port of the loopback interface."""
    cookies = CookieJar()
    token = secrets.token_hex(16)
    for name in _TOKENS:
        cookies.set_cookie(_session_cookie(name, token))
    headers = {"User-Agent": _BROWSER, "Origin": f"http://{HOST}:{port}"}
    return Browser(Client(port=port, headers=headers, handlers=(HTTPCookieProcessor(cookies),)), cookies)


def _session_cookie(name: str, value: str) -> Cookie:
    return Cookie(
        version=0,
        name=name,
        value=value,
        port=None,
        port_specified=False,
        domain=HOST,
        domain_specified=False,
        domain_initial_dot=False,
        path="/",
        path_specified=True,
        secure=False,
        expires=None,
        discard=True,
        comment=None,
        comment_url=None,
        rest={},
    )


def _raise_error(method: str, answer: dict[str, Any]) -> None:
    error = answer.get("error")
    if error is None:
        return
    if not isinstance(error, dict):
        raise CallError(f"{method}: {error}")
    inner = error.get("error")
    parts = [error.get("message"), inner.get("message") if isinstance(inner, dict) else inner]
    code = error.get("code")
    said = ": ".join(str(part)[:_WIDTH] for part in parts if part) or "an error without a message"
    # A real server includes the code: jsonrpc error 1 (Unable to connect to service).
    raise CallError(f"{method}: {said}" if f"error {code} " in said else f"{method}: {said} (code {code})")


@dataclass(slots=True)
class Session:
    """An rsession that answers our calls. Every method raises RequestError and CallError."""

    browser: Browser
    identity: tuple[str, str]
    versions: str
    _seen: int = -1
    _kept: deque[Event] = field(default_factory=deque)

    def evaluate(self, code: str, expected: str, seconds: float) -> None:
        """Have R evaluate `code`. Raises CallError if it does not print `expected` before the next prompt.

        Output to standard error is not a failure, as warnings go there too, but it explains one.
        """
        text, wrong = "", ""
        for event in self._console(code, seconds):
            if event.kind == "console_output":
                text = (text + _text(event.data))[-_LONGEST:]
            elif event.kind == "console_error":
                wrong = (wrong + _text(event.data))[-_LONGEST:]
            elif event.kind == "console_prompt":
                if expected in text:
                    return
                raise CallError(f"{code}: {_line(wrong)}" if wrong else f"{code} prints {text.strip()[:100]!r}")
        raise CallError(f"{code}: no end after {seconds:g} s{_so_far(wrong or text)}")

    def plot(self, code: str, seconds: float) -> str:
        """The path of the plot that `code` draws. Raises CallError if it draws none in time."""
        wrong = ""
        for event in self._console(code, seconds):
            if event.kind == "console_error":
                wrong = (wrong + _text(event.data))[-_LONGEST:]
            elif event.kind == "plots_state_changed":
                name = string(event.data, "filename")
                if name not in ("", "empty.png"):
                    return f"/graphics/{quote(name, safe='')}"
        raise CallError(f"{code}: no plot after {seconds:g} s{_so_far(wrong)}")

    def quit(self, seconds: float) -> None:
        """Ask the session to end. It may end before it completes the call: see whether its process ends."""
        answer = self.browser.call("/rpc/quit_session", [False, "", None, ""], seconds, self.identity)
        if not answer.get("asyncHandle") and answer.get("result") is not True:
            raise CallError(f"quit_session: the session refuses to end: {str(answer.get('result'))[:100]}")

    def _console(self, code: str, seconds: float) -> Iterator[Event]:
        """The events after a line at the console, from the one that confirms it, until the time is over."""
        deadline = time.monotonic() + seconds
        self._send("/rpc/console_input", [code, "", 0], seconds)
        read = False
        for event in self._events(deadline):
            read = read or (event.kind == "console_write_input" and code in _text(event.data))
            if read:
                yield event

    def _send(self, path: str, params: list[Any], seconds: float) -> None:
        """Make a call, and wait for its completion if that comes as an event."""
        deadline = time.monotonic() + seconds
        answer = self.browser.call(path, params, seconds, self.identity)
        handle = answer.get("asyncHandle")
        if not isinstance(handle, str):
            return
        passed: deque[Event] = deque(maxlen=_MOST_EVENTS)
        for event in self._events(deadline):
            if event.kind == "async_completion" and member(event.data, "handle") == handle:
                self._kept.extendleft(reversed(passed))
                _raise_error(path.rpartition("/")[2], mapping(event.data, "response"))
                return
            passed.append(event)
        raise CallError(f"{path.rpartition('/')[2]}: not completed after {seconds:g} s")

    def _events(self, deadline: float) -> Iterator[Event]:
        """The events until the deadline, in order, each once."""
        while True:
            while self._kept:
                yield self._kept.popleft()
            if time.monotonic() >= deadline:
                return
            self._poll(deadline)

    def _poll(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        try:
            answer = self.browser.call("/events/get_events", [self._seen], left, self.identity)
        except RequestError:
            if time.monotonic() >= deadline:
                return  # there was no event; the request is not at fault
            raise
        before = self._seen
        for event in array(answer, "result"):
            number = member(event, "id")
            if isinstance(number, int) and number > self._seen:
                self._seen = number
                self._kept.append(Event(str(event.get("type")), event.get("data")))
        if self._seen == before:
            time.sleep(_IDLE)


def client_init(browser: Browser, seconds: float) -> Session:
    """Start an rsession. Raises RequestError, and CallError if none starts in that time.

    It is requested only once: until 2026.07 a second request makes rserver start a second rsession.
    """
    answer = browser.call("/rpc/client_init", [browser.client.root], seconds)
    info = mapping(answer, "result")
    identity = string(info, "clientId")
    if not identity:
        raise CallError("client_init: the answer has no clientId")
    return Session(browser, (identity, string(info, "client_version")), _versions(info))


def _versions(info: dict[str, Any]) -> str:
    named = {"RStudio": info.get("rstudio_version"), "R": member(info, "r_versions_info", "r_version")}
    return _line(", ".join(f"{name} {value[:60]}" for name, value in named.items() if isinstance(value, str)))


def _text(data: Any) -> str:
    """The text of a console event, without marks and colours; before 0.98 it was the data itself."""
    return _MARKS.sub("", data if isinstance(data, str) else string(data, "text"))


def _line(text: str) -> str:
    """Text of a server or of R as a printable part of a line."""
    return " ".join("".join(each if each.isprintable() else " " for each in text[-_LONGEST:]).split())[:_WIDTH]


def _so_far(text: str) -> str:
    return f"; until then: {_line(text)}" if text.strip() else ""


def png_fault(body: bytes) -> str:
    """What is wrong with an image that should be a PNG, or nothing (https://www.w3.org/TR/png-3/)."""
    if not body.startswith(_PNG):
        return f"not a PNG: it begins with {body[:16]!r}"
    return "" if body.endswith(_PNG_END) else "a PNG that is cut short"
