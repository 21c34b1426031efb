"""A websocket to a server on this machine. Every message has a deadline and a maximum size, whatever the server does.

RFC 6455, by the package websocket-client.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

from slimagent.checks.loopback import HOST, Client

_LARGEST = 256 << 20  # bytes of one message


class SocketError(Exception):
    """A websocket that could not be opened, or was closed; the message says why."""


class LateError(SocketError):
    """No message came in time."""


class Socket:
    """An open websocket. `deadline`s are in `time.monotonic()` seconds; every method raises SocketError."""

    def __init__(self, websocket: Any, wire: _Wire) -> None:
        self._websocket, self._wire = websocket, wire

    def send(self, message: str | bytes, deadline: float) -> None:
        """Send a message: text, or a binary one for bytes."""
        self._wire.begin(deadline)
        with _explained():
            self._websocket.send_binary(message) if isinstance(message, bytes) else self._websocket.send(message)

    def receive(self, deadline: float) -> str | bytes:
        """The next message: text, or bytes for a binary one."""
        self._wire.begin(deadline)
        with _explained():
            data: str | bytes = self._websocket.recv()
        if not data:
            raise SocketError("the server closed the connection")
        return data


class _Wire(socket.socket):
    """A TCP socket that keeps the deadline in every call, so that a message that comes slowly cannot extend it."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self._deadline, self._taken = 0.0, 0

    def begin(self, deadline: float) -> None:
        self._deadline, self._taken = deadline, 0
        self._limit()

    def _limit(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise LateError("no answer in time")
        self.settimeout(left)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        self._limit()
        data = super().recv(size, flags)
        self._taken += len(data)
        if self._taken > _LARGEST:
            raise SocketError(f"a message of more than {_LARGEST >> 20} MB")
        return data


@contextlib.contextmanager
def opened(client: Client, path: str, deadline: float) -> Iterator[Socket]:
    """Connect to a path of the client's server, with the client's headers. Raises SocketError."""
    import websocket  # its import takes a while, and few checks need it

    with _Wire() as wire:
        with _explained():
            wire.begin(deadline)
            wire.connect((HOST, client.port))
            connection = websocket.create_connection(
                f"ws://{HOST}:{client.port}{path}",
                socket=wire,
                header=[f"{name}: {value}" for name, value in client.headers.items()],
                suppress_origin=True,
                redirect_limit=0,
            )
        try:
            yield Socket(connection, wire)
        finally:
            with contextlib.suppress(SocketError, OSError, websocket.WebSocketException):
                wire.begin(time.monotonic() + 1)
                connection.close(timeout=1)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    import websocket

    try:
        yield
    except (TimeoutError, websocket.WebSocketTimeoutException):  # Python 3.10's socket.timeout is TimeoutError
        raise LateError("no answer in time") from None
    except websocket.WebSocketConnectionClosedException:
        raise SocketError("the server closed the connection") from None
    except websocket.WebSocketBadStatusException as error:
        raise SocketError(f"websocket: {error.status_code} {str(error).partition(' -+-+- ')[0][:200]}") from None
    except (OSError, ValueError, websocket.WebSocketException) as error:
        raise SocketError(f"websocket: {error}") from None
