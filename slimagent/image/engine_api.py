"""Stand between a program and Docker's API: pass everything on, and change what it asks for when it starts processes.

Every client of an engine goes this way if DOCKER_HOST names our socket: `docker`, Compose, libraries of any language.
Two requests are changed, `containers/create` and `containers/ID/exec`; everything else is passed on byte by byte. Each
connection carries one request: so none is missed.

Sources: the reference of the Docker Engine API (v1.41; the requests have not changed since v1.24), and RFC 9112. A
connection that becomes a stream (attach, exec, build) is upgraded as RFC 9110, section 7.8, says.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol
from urllib.parse import parse_qs, quote, unquote

import orjson

from slimagent.errors import SlimagentError, UnavailableError
from slimagent.text.json_input import parsed

_HEAD, _BODY = 1 << 16, 64 << 20  # bytes: the most of a request's head, and of a body that we read
_PIECE = 1 << 16
_CREATE = re.compile(r"(?:/v[0-9.]+)?/containers/create")
_EXEC = re.compile(r"(?:/v[0-9.]+)?/containers/([^/]+)/exec")
_START = re.compile(r"(?:/v[0-9.]+)?/containers/([^/]+)/(?:re)?start")
_STREAM = re.compile(
    rb"(?i)HTTP/1\.1 101 |HTTP/1\.[01] 200 .*\r\ncontent-type\s*:\s*application/vnd\.docker\.", re.DOTALL
)
_OURS = re.compile(rb"(?i)(?:content-length|transfer-encoding|connection|expect)\s*:")
_PATIENCE = 60.0  # seconds for an answer about a container


class Changes(Protocol):
    """What is changed in requests. Each method returns the new body, or None to pass the request on as it is.

    They may raise SlimagentError: the client gets its message, and nothing is started.
    """

    def create(self, wanted: dict[str, Any], name: str) -> tuple[dict[str, Any], Callable[[str], None]] | None:
        """Change a container that is to be created, with a name or without one. The function gets its ID."""

    def execute(self, container: str, wanted: dict[str, Any]) -> dict[str, Any] | None:
        """Change a command for a running container, which is named as the client named it."""

    def started(self, container: str) -> None:
        """Hear that a container is to be started, which is named as the client named it."""


class Proxy:
    """Listens on a Unix socket at `path` while the block runs. `engine` is the path of the engine's own socket."""

    def __init__(self, path: str, engine: str, changes: Changes) -> None:
        self.path = path
        self._engine = engine
        self._changes = changes
        self._server: _Server | None = None

    def __enter__(self) -> Proxy:
        self._server = _Server(self.path, self._serve)
        os.chmod(self.path, 0o600)
        threading.Thread(target=self._server.serve_forever, name="engine API", daemon=True, args=(0.1,)).start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            head, rest = _until_blank(client)
            if head:
                _Exchange(client, self._engine, self._changes).answer(head, rest)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, path: str, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        super().__init__(path, socketserver.BaseRequestHandler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self._serve(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class _Exchange:
    """One request of a client, and the answer."""

    def __init__(self, client: socket.socket, engine: str, changes: Changes) -> None:
        self._client, self._engine, self._changes = client, engine, changes

    def answer(self, head: bytes, rest: bytes) -> None:
        """Change the request if it starts a process, pass it on, and pass the answer back."""
        method, target, _ = (*head.split(b"\r\n", 1)[0].decode("latin-1").split(" "), "", "")[:3]
        path, _, query = target.partition("?")
        exec_of, start_of = _EXEC.fullmatch(path), _START.fullmatch(path)
        if method == "POST" and start_of:
            self._changes.started(unquote(start_of[1]))
        starts = method == "POST" and bool(exec_of or _CREATE.fullmatch(path))
        if not starts and not _upgrades(head):
            self._pass_on(_closing(head) + rest)
            return
        stream = _Stream(self._client, rest)
        body = b"".join(_body(stream, head))
        if not starts:
            self._pass_on(_closing(head, len(body)) + body, stream.rest, upgrades=True)
            return
        done: Callable[[str], None] = lambda _: None  # noqa: E731
        changed: dict[str, Any] | None = None
        try:
            wanted = _object(body)
            if wanted is not None and exec_of:
                changed = self._changes.execute(unquote(exec_of[1]), wanted)
            elif wanted is not None:
                changed, done = self._changes.create(wanted, parse_qs(query).get("name", [""])[0]) or (None, done)
        except SlimagentError as error:
            self._client.sendall(_refusal(f"slimagent: {error.message}; {error.hint}"))
            return
        body = body if changed is None else orjson.dumps(changed)
        request = _closing(head, len(body)) + body
        if exec_of:
            self._pass_on(request)
            return
        said = self._asked(request)
        made = re.search(rb'"Id"\s*:\s*"([0-9a-f]+)"', said)
        if made and re.match(rb"HTTP/1\.[01] 201 ", said):
            done(made[1].decode())  # before the client can start it
        self._client.sendall(said)

    def _asked(self, request: bytes) -> bytes:
        """The engine's whole answer to a request."""
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self._engine)
            engine.sendall(request)
            return b"".join(iter(lambda: engine.recv(_PIECE), b""))

    def _pass_on(self, request: bytes, rest: bytes = b"", *, upgrades: bool = False) -> None:
        """Send a request to the engine, and connect the client with it until the engine has sent all.

        `rest` follows if the connection is upgraded.
        """
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self._engine)
            with contextlib.suppress(BrokenPipeError):  # it refuses a long body before it has read all
                engine.sendall(request)
            if upgrades:
                if not self._is_upgraded(engine):
                    return
                engine.sendall(rest)
            forth = threading.Thread(target=_copy, args=(self._client, engine), name="to the engine", daemon=True)
            forth.start()  # a thread for each direction: neither may wait for the other
            _copy(engine, self._client)
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)
            forth.join()

    def _is_upgraded(self, engine: socket.socket) -> bool:
        """Pass the head of the answer on, and say whether a stream follows. If not, pass on all of it and no more.

        After an answer without an upgrade the connection could carry another request, which we would not see.
        """
        head, rest = _until_blank(engine)
        if _STREAM.match(head):
            self._client.sendall(head + rest)
            return True
        engine.shutdown(socket.SHUT_WR)
        self._client.sendall(_closing(head) + rest)
        _copy(engine, self._client)
        return False


def _object(body: bytes) -> dict[str, Any] | None:
    """The object in a body. None if it is none: then the engine says what is wrong with it."""
    try:
        value = parsed(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes until it ends, then its end."""
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


def _until_blank(stream: socket.socket) -> tuple[bytes, bytes]:
    """Read the head of a request. Returns it with its empty line, and what came after it; empty if there is none."""
    data = bytearray()
    while b"\r\n\r\n" not in data:
        piece = stream.recv(_PIECE)
        if not piece or len(data) > _HEAD:
            return b"", b""
        data += piece
    head, _, rest = bytes(data).partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def _upgrades(head: bytes) -> bool:
    """Whether the head of a request or an answer asks for an upgrade."""
    return re.search(rb"(?i)\r\nconnection\s*:[^\r\n]*upgrade", head.partition(b"\r\n\r\n")[0]) is not None


def _closing(head: bytes, length: int | None = None) -> bytes:
    """The head of a request after which the connection is closed, unless it is to be upgraded.

    So each connection carries one request. `length` is that of a new body.
    """
    lines = head.rstrip(b"\r\n").split(b"\r\n")
    if length is not None:
        lines = [line for line in lines if not _OURS.match(line)] + [b"Content-Length: %d" % length]
    if not _upgrades(head):
        lines = [line for line in lines if not re.match(rb"(?i)connection\s*:", line)] + [b"Connection: close"]
    return b"\r\n".join((*lines, b"", b""))


def _body(stream: _Stream, head: bytes) -> Iterator[bytes]:
    """The pieces of a request's body. Raises OSError if it is too long or is cut off."""
    if re.search(rb"(?i)\r\nexpect\s*:\s*100-continue", head):
        stream.client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length\s*:\s*([0-9]{1,9})\s*\r\n", head)
    if length:
        yield stream.exactly(int(length[1]))
    elif re.search(rb"(?i)\r\ntransfer-encoding\s*:.*chunked", head):
        total = 0
        while size := int(stream.line().partition(b";")[0] or b"0", 16):
            total += size
            if total > _BODY:
                raise OSError("the body is too long")
            yield stream.exactly(size)
            stream.line()


class _Stream:
    """What a socket still sends, after what was read of it."""

    def __init__(self, client: socket.socket, rest: bytes) -> None:
        self.client, self._data = client, bytearray(rest)

    @property
    def rest(self) -> bytes:
        """What was read and not taken."""
        return bytes(self._data)

    def exactly(self, size: int) -> bytes:
        if size > _BODY:
            raise OSError("the body is too long")
        while len(self._data) < size:
            self._more()
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken

    def line(self) -> bytes:
        while b"\r\n" not in self._data:
            if len(self._data) > _HEAD:
                raise OSError("the line is too long")
            self._more()
        line, _, rest = bytes(self._data).partition(b"\r\n")
        self._data = bytearray(rest)
        return line

    def _more(self) -> None:
        piece = self.client.recv(_PIECE)
        if not piece:
            raise OSError("cut off")
        self._data += piece


def _refusal(message: str) -> bytes:
    body = orjson.dumps({"message": message})
    return b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nConnection: close\r\n" + (
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )


def told(engine: str, path: str) -> dict[str, Any] | None:
    """What the engine says of a container or an image: the object at a path of its API. None if it knows none.

    Raises UnavailableError if it says neither.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(engine)
            connection.sendall(b"GET %b HTTP/1.0\r\nHost: docker\r\n\r\n" % _quoted(path))
            said = b"".join(iter(lambda: connection.recv(_PIECE), b""))
        head, _, body = said.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1:2]
        found = parsed(body) if status == [b"200"] else None
    except (OSError, ValueError) as error:
        raise UnavailableError(f"the engine does not say what {path} is: {error}", "run it again") from None
    if isinstance(found, dict):
        return found
    if status and status[0] in (b"400", b"404"):
        return None
    raise UnavailableError(f"the engine does not say what {path} is", "run it again")


def _quoted(path: str) -> bytes:
    return quote(path, safe="/:@.-_~").encode()
