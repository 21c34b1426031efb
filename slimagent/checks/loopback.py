"""HTTP to a server on this machine: no proxy, no other host, nothing endless."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, IncompleteRead
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from slimagent.checks.finding import FaultError

HOST = "127.0.0.1"
_LARGEST = 64 << 20


class RequestError(FaultError):
    """A request without a good answer: what was asked, and what came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The body of a good answer, and its media type without parameters."""

    url: str
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A server at `http://127.0.0.1:PORT`, the headers of each request, and further handlers (e.g. for cookies)."""

    port: int
    headers: Mapping[str, str] = field(default_factory=dict)
    handlers: tuple[urllib.request.BaseHandler, ...] = ()

    @property
    def root(self) -> str:
        """The URL of the server."""
        return f"http://{HOST}:{self.port}/"

    def get(self, path: str, seconds: float) -> Answer:
        """GET. Raises RequestError for anything but 2xx within `seconds`."""
        return self.ask("GET", path, seconds)

    def content(self, path: str, seconds: float) -> bytes:
        """GET a file. Raises RequestError as `get` does, and if it is empty."""
        body = self.get(path, seconds).body
        if not body:
            raise RequestError(f"GET {path}: empty")
        return body

    def path(self, url: str) -> str:
        """The path of a URL of this server; another URL is returned as it is."""
        return f"/{url[len(self.root) :]}" if url.startswith(self.root) else url

    def ask(self, method: str, path: str, seconds: float, body: Any = None) -> Answer:
        """One request, with a JSON body if one is given. Raises RequestError for anything but 2xx within `seconds`."""
        url = urljoin(self.root, path)
        if not self.serves(url):
            raise RequestError(f"{method} {path}: not on this server")
        data = None if body is None else json.dumps(body).encode()
        headers = {**self.headers, "Content-Type": "application/json"} if data else dict(self.headers)
        request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 - see serves()
        try:
            with _opener(self).open(request, timeout=max(seconds, 0.1)) as answer:
                content = answer.read(_LARGEST)
                if answer.length:  # read() with a limit takes a body that ends early for a whole one
                    raise IncompleteRead(content, answer.length)
                return Answer(url=answer.url, media_type=answer.headers.get_content_type(), body=content)
        except urllib.error.HTTPError as error:
            with error:
                raise RequestError(f"{method} {path}: {error.code} {_short(error.reason)}") from None
        except urllib.error.URLError as error:
            raise RequestError(f"{method} {path}: {_why(error.reason)}") from None
        except (OSError, HTTPException) as error:
            raise RequestError(f"{method} {path}: {_why(error)}") from None

    def json(self, method: str, path: str, seconds: float, body: Any = None) -> Any:
        """Like `ask`, for an answer in JSON. Raises RequestError if it is not JSON."""
        answer = self.ask(method, path, seconds, body)
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError):
            raise RequestError(f"{method} {path}: the answer is not JSON") from None

    def serves(self, url: str) -> bool:
        """Whether a URL is on this server."""
        parts = urlsplit(url)
        return parts.scheme == "http" and parts.netloc == f"{HOST}:{self.port}"


class _Socket(socket.socket):
    """A socket with one deadline for all reads: a socket's own timeout starts again with every byte."""

    deadline = 0.0

    def recv_into(self, *args: Any, **options: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(left)
        return super().recv_into(*args, **options)


class _Connection(HTTPConnection):
    def connect(self) -> None:
        deadline = time.monotonic() + float(self.timeout or 0)
        super().connect()
        limited = _Socket(fileno=self.sock.detach())
        limited.deadline = deadline
        limited.settimeout(self.timeout)
        self.sock = limited


class _InTime(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_Connection, req)


class _SameServer(urllib.request.HTTPRedirectHandler):
    def __init__(self, client: Client) -> None:
        self._client = client

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not self._client.serves(newurl):
            raise RequestError(f"{req.get_method()} {req.selector}: redirected to another server, {newurl[:200]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(client: Client) -> urllib.request.OpenerDirector:
    """Handlers one by one: `build_opener` adds one for TLS, which reads every certificate of the machine first."""
    opener = urllib.request.OpenerDirector()
    defaults = (urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor())
    for handler in (_InTime(), *defaults, _SameServer(client), *client.handlers):
        opener.add_handler(handler)
    return opener


def _short(reason: object) -> str:
    """A server's reason phrase, printable."""
    return "".join(each for each in str(reason)[:200] if each.isprintable())


def _why(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return str(getattr(reason, "strerror", None) or reason)


def free_port() -> int:
    """A free port of the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
