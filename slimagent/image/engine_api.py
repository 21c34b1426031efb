"""Stand between a program and Docker's API: pass everything on, and change what it asks for when it starts processes.

Every client of an engine goes this way if DOCKER_HOST names our socket: `docker`, Compose, libraries of any language.
Two requests are changed, `containers/create` and `containers/ID/exec`; everything else is passed on byte by byte. Each
connection carries one request: so none is missed. What we cannot read as the engine would is refused.

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
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote

import orjson

from slimagent.errors import RefusedError, SlimagentError, UnavailableError
from slimagent.image.engine_http import PIECE, Stream, body, closing, refusal, request_line, until_blank, upgrades
from slimagent.image.engine_request import Asked, Kind, asked, wanted
from slimagent.text.json_input import parsed

_STREAM = re.compile(
    rb"(?i)HTTP/1\.1 101 |HTTP/1\.[01] 200 .*\r\ncontent-type\s*:\s*application/vnd\.docker\.", re.DOTALL
)
_PATIENCE = 60.0  # seconds for an answer about a container


class Changes(Protocol):
    """What is changed in requests. Each method returns the new body, or None to pass the request on as it is.

    They may raise SlimagentError: the client gets its message, and nothing is started.
    """

    def create(self, wanted: dict[str, Any], name: str) -> tuple[dict[str, Any] | None, Callable[[str], None]]:
        """Change a container that is to be created, with a name or without one. The function gets its ID.

        The function may raise SlimagentError, too.
        """

    def execute(self, container: str, wanted: dict[str, Any]) -> dict[str, Any] | None:
        """Change a command for a running container, which is named as the client named it."""

    def started(self, container: str) -> None:
        """Hear that a container is to be started, which is named as the client named it."""

    def building(self) -> contextlib.AbstractContextManager[object]:
        """Hear that an image is built while the block runs: the engine then starts containers by itself."""

    def unseen(self, error: SlimagentError) -> None:
        """Hear that a request was refused because nobody can tell what it would have started."""


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
            head, rest = until_blank(client)
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
        try:
            request = asked(*request_line(head))
        except ValueError as error:
            self._refuse(error)
            return
        if request.kind is Kind.START:
            self._changes.started(request.container)
        stream = Stream(self._client, rest)
        if request.kind in (Kind.CREATE, Kind.EXECUTE):
            self._begin(request, head, b"".join(body(stream, head)))
        elif request.kind is Kind.STREAM and upgrades(head):
            given = b"".join(body(stream, head))
            self._pass_on(closing(head, len(given), upgrade=True) + given, stream.rest, streams=True)
        else:
            with self._changes.building() if request.kind is Kind.BUILD else contextlib.nullcontext():
                self._pass_on(closing(head) + rest)

    def _begin(self, request: Asked, head: bytes, given: bytes) -> None:
        """Answer a request that starts a process."""
        done: Callable[[str], None] = lambda _: None  # noqa: E731
        try:
            what = wanted(given, request.kind)
            if request.kind is Kind.EXECUTE:
                changed = self._changes.execute(request.container, what)
            else:
                changed, done = self._changes.create(what, request.name)
            content = given if changed is None else orjson.dumps(changed)
            passed = closing(head, len(content)) + content
            if request.kind is Kind.EXECUTE:
                self._pass_on(passed)
                return
            said = self._asked(passed)
            made = re.search(rb'"Id"\s*:\s*"([0-9a-f]+)"', said)
            if made and re.match(rb"HTTP/1\.[01] 201 ", said):
                done(made[1].decode())  # before the client can start it
        except ValueError as error:
            self._refuse(error)
        except SlimagentError as error:
            self._client.sendall(refusal(f"slimagent: {error.message}; {error.hint}"))
        else:
            self._client.sendall(said)

    def _refuse(self, why: ValueError) -> None:
        """Answer a request that we cannot read as the engine would: what it starts would run unseen."""
        error = RefusedError(
            f"a client asked the engine for something that slimagent cannot follow: {why}",
            "let the tests use an ordinary client of Docker, with names and values in UTF-8 (docs/from-host.md)",
        )
        self._changes.unseen(error)
        self._client.sendall(refusal(f"slimagent: {error.message}; {error.hint}", 400))

    def _asked(self, request: bytes) -> bytes:
        """The engine's whole answer to a request."""
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self._engine)
            engine.sendall(request)
            return b"".join(iter(lambda: engine.recv(PIECE), b""))

    def _pass_on(self, request: bytes, rest: bytes = b"", *, streams: bool = False) -> None:
        """Send a request to the engine, and connect the client with it until the engine has sent all.

        `rest` follows if the connection is upgraded.
        """
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self._engine)
            with contextlib.suppress(BrokenPipeError):  # it refuses a long body before it has read all
                engine.sendall(request)
            if streams:
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
        head, rest = until_blank(engine)
        if _STREAM.match(head):
            self._client.sendall(head + rest)
            return True
        engine.shutdown(socket.SHUT_WR)
        self._client.sendall(closing(head) + rest)
        _copy(engine, self._client)
        return False


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes until it ends, then its end."""
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


def told(engine: str, path: str) -> dict[str, Any] | None:
    """What the engine says of a container or an image: the object at a path of its API. None if it knows none.

    Raises UnavailableError if it says neither.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(engine)
            connection.sendall(b"GET %b HTTP/1.0\r\nHost: docker\r\n\r\n" % _quoted(path))
            said = b"".join(iter(lambda: connection.recv(PIECE), b""))
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
