"""RStudio Server spoken to as a browser does; all that is known of its protocol is here.

Read in github.com/rstudio/rstudio (cpp is src/cpp, gwt is src/gwt/src/org/rstudio), versions 0.9 to 2026.08:

- Sign-in: with `--auth-none` the page comes at once, or (1.4 and later) after /auth-sign-in, which sets cookies and
  sends back (cpp/server/ServerPAMAuth.cpp, cpp/server/auth/ServerAuthCommon.cpp). Every call needs these cookies.
- Forgery: a call's header and cookie must bear the same token, whichever it is; the names changed in 2021.09
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
- Plots: after the prompt came back `plots_state_changed` names a file, which is at /graphics/FILE; `empty.png` is none
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

from slimagent.checks.loopback import HOST, Client, RequestError

# rserver shows its page to browsers that it knows (cpp/server/ServerBrowser.cpp), where --www-verify-user-agent is not.
_BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
_TOKENS = {"rs-csrf-token": "X-RS-CSRF-Token", "csrf-token": "X-CSRF-Token"}  # cookie: header; 2021.09 on, before
_IDLE = 0.05  # seconds between two questions to a server that has nothing new, and should not have answered
_MOST_EVENTS = 10_000  # kept for later
_LONGEST = 1 << 16  # characters of a console's output that are kept
_WIDTH = 400  # characters of them in a detail
# Since 2025.05 an error, a warning and a message are marked (cpp/core/include/core/AnsiEscapes.hpp); R's own packages
# colour what they write.
_MARKS = re.compile(r"\x1b(?:[GH]\d;|[gh]|\[[\d;]*m)")
_PNG = b"\x89PNG\r\n\x1a\n"  # https://www.w3.org/TR/png-3/#5PNG-file-signature
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"  # the last chunk: no data, its name, the sum of that


class CallError(Exception):
    """A call that was answered by an error, or by nothing that the protocol knows."""

    def __init__(self, message: str) -> None:
        super().__init__(_line(message))


class Event(NamedTuple):
    """Something that a session tells: `kind` is its type, `data` whatever belongs to that."""

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
            raise CallError(f"{method}: the answer is no object")
        _raise_error(method, answer)
        return answer

    def _cookie(self, name: str) -> str:
        return next((each.value for each in self.cookies if each.name == name and each.value), "")


def browser(port: int) -> Browser:
    """A new browser for the RStudio Server at that port of the loopback interface, with a token of its own choice."""
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
    told = ": ".join(str(part)[:_WIDTH] for part in parts if part) or "an error without a message"
    # A real one says it itself: jsonrpc error 1 (Unable to connect to service).
    raise CallError(f"{method}: {told}" if f"error {code} " in told else f"{method}: {told} (code {code})")


@dataclass(slots=True)
class Session:
    """An rsession that takes our calls. Every method raises RequestError and CallError."""

    browser: Browser
    identity: tuple[str, str]
    versions: str
    _seen: int = -1
    _kept: deque[Event] = field(default_factory=deque)

    def evaluate(self, code: str, expected: str, seconds: float) -> None:
        """Have R evaluate `code`. Raises CallError if it does not print `expected` before it prompts again.

        What R writes to standard error is not a failure: a warning comes that way too. It explains one.
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
        """The path at which the plot is that `code` draws. Raises CallError if it draws none in time."""
        wrong = ""
        for event in self._console(code, seconds):
            if event.kind == "console_error":
                wrong = (wrong + _text(event.data))[-_LONGEST:]
            elif event.kind == "plots_state_changed":
                name = event.data.get("filename") if isinstance(event.data, dict) else None
                if isinstance(name, str) and name not in ("", "empty.png"):
                    return f"/graphics/{quote(name, safe='')}"
        raise CallError(f"{code}: no plot after {seconds:g} s{_so_far(wrong)}")

    def quit(self, seconds: float) -> None:
        """Have the session end. It may not live to complete what it only acknowledged: see whether its process ends."""
        answer = self.browser.call("/rpc/quit_session", [False, "", None, ""], seconds, self.identity)
        if not answer.get("asyncHandle") and answer.get("result") is not True:
            raise CallError(f"quit_session: the session does not want to end: {str(answer.get('result'))[:100]}")

    def _console(self, code: str, seconds: float) -> Iterator[Event]:
        """The events that come of a line at the console, from the one that it was read with, until the time is over."""
        deadline = time.monotonic() + seconds
        self._send("/rpc/console_input", [code, "", 0], seconds)
        read = False
        for event in self._events(deadline):
            read = read or (event.kind == "console_write_input" and code in _text(event.data))
            if read:
                yield event

    def _send(self, path: str, params: list[Any], seconds: float) -> None:
        """A call, and its completion if that comes as an event."""
        deadline = time.monotonic() + seconds
        answer = self.browser.call(path, params, seconds, self.identity)
        handle = answer.get("asyncHandle")
        if not isinstance(handle, str):
            return
        passed: deque[Event] = deque(maxlen=_MOST_EVENTS)
        for event in self._events(deadline):
            data = event.data if event.kind == "async_completion" else None
            if isinstance(data, dict) and data.get("handle") == handle:
                self._kept.extendleft(reversed(passed))
                if isinstance(data.get("response"), dict):
                    _raise_error(path.rpartition("/")[2], data["response"])
                return
            passed.append(event)
        raise CallError(f"{path.rpartition('/')[2]}: not completed after {seconds:g} s")

    def _events(self, deadline: float) -> Iterator[Event]:
        """The events that come until then, in order, each once."""
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
                return  # nothing happened; that is no fault of this request
            raise
        events = answer.get("result")
        before = self._seen
        for event in events if isinstance(events, list) else ():
            number = event.get("id") if isinstance(event, dict) else None
            if isinstance(number, int) and number > self._seen:
                self._seen = number
                self._kept.append(Event(str(event.get("type")), event.get("data")))
        if self._seen == before:
            time.sleep(_IDLE)


def client_init(browser: Browser, seconds: float) -> Session:
    """Have an rsession started. Raises RequestError, and CallError if none comes up in that time.

    It is asked for once: until 2026.07 rserver starts a second rsession if it is asked again.
    """
    answer = browser.call("/rpc/client_init", [browser.client.root], seconds)
    info = answer.get("result")
    if not isinstance(info, dict) or not isinstance(info.get("clientId"), str) or not info["clientId"]:
        raise CallError("client_init: the answer has no clientId")
    version = info.get("client_version")
    return Session(browser, (info["clientId"], version if isinstance(version, str) else ""), _versions(info))


def _versions(info: dict[str, Any]) -> str:
    r = info.get("r_versions_info")
    named = {"RStudio": info.get("rstudio_version"), "R": r.get("r_version") if isinstance(r, dict) else None}
    return _line(", ".join(f"{name} {value[:60]}" for name, value in named.items() if isinstance(value, str)))


def _text(data: Any) -> str:
    """The text of a console's event, without marks and colours; before 0.98 it was the data itself."""
    text = data.get("text") if isinstance(data, dict) else data
    return _MARKS.sub("", text) if isinstance(text, str) else ""


def _line(text: str) -> str:
    """Text of a server's or of R's as part of a line that a terminal and a document can hold."""
    return " ".join("".join(each if each.isprintable() else " " for each in text[-_LONGEST:]).split())[:_WIDTH]


def _so_far(text: str) -> str:
    return f"; until then: {_line(text)}" if text.strip() else ""


def png_fault(body: bytes) -> str:
    """What is wrong with an image that should be a PNG, or nothing (https://www.w3.org/TR/png-3/)."""
    if not body.startswith(_PNG):
        return f"is no PNG: it begins with {body[:16]!r}"
    return "" if body.endswith(_PNG_END) else "is a PNG that is cut short"
