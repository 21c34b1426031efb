"""The remote protocol of VS Code's server over a websocket, as its page in a browser uses it.

The only documentation is VS Code's source code (github.com/microsoft/vscode, as of 1.100): frames are in
src/vs/base/parts/ipc/common/ipc.net.ts (PersistentProtocol), values and requests in .../common/ipc.ts, the handshake
in src/vs/platform/remote/common/remoteAgentConnection.ts.
"""

from __future__ import annotations

import contextlib
import json
import struct
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from slimagent.checks.answers import parsed
from slimagent.checks.finding import FaultError
from slimagent.checks.loopback import Client
from slimagent.checks.websockets import LateError, Socket, SocketError, opened

MANAGEMENT, EXTENSION_HOST = 1, 2  # connectionType
REGULAR, CONTROL, ACKNOWLEDGE, DISCONNECT = 1, 2, 3, 5  # types of frames
_HEADER = struct.Struct(">BIII")  # type, number, number last seen, bytes that follow
_LARGEST = 64 << 20
_UNDEFINED, _STRING, _BUFFER, _OTHER_BUFFER, _ARRAY, _OBJECT, _INTEGER = range(7)  # types of values
_DEEPEST = 32
_MOST_ASIDE = 1000  # responses that are kept until they are asked for
_CALL, _LISTEN = 100, 102  # requests
_RESULT, _EVENT = 201, 204  # responses; 202 and 203 are errors
_READY = b"\x02"  # createMessageOfType(MessageType.Ready) in src/vs/workbench/services/extensions/common
_NOBODY = "00000000000000000000"  # sent by a page without a connection token


class RemoteError(FaultError):
    """A connection that was closed, was late, or brought an error or something that is not the protocol."""


class RemoteLateError(RemoteError):
    """No message came in time."""


class Frames:
    """Splits a stream of bytes into frames."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> None:
        """Add the bytes that came next."""
        self._data += data

    def next(self) -> tuple[int, int, bytes] | None:
        """Type, number and body of the next frame; None if it is not complete yet. Raises RemoteError."""
        if len(self._data) < _HEADER.size:
            return None
        kind, number, _, size = _HEADER.unpack_from(self._data)
        if size > _LARGEST:
            raise RemoteError(f"a message of {size} bytes")
        end = _HEADER.size + size
        if len(self._data) < end:
            return None
        body, self._data = self._data[_HEADER.size : end], self._data[end:]
        return kind, number, body


def frame(kind: int, body: bytes, *, number: int = 0, seen: int = 0) -> bytes:
    """One frame, as bytes."""
    return _HEADER.pack(kind, number, seen, len(body)) + body


def encode(value: Any) -> bytes:
    """Encode a value. None is undefined; what is not a text, a list or a small number is sent as JSON."""
    if value is None:
        return bytes((_UNDEFINED,))
    if isinstance(value, str):
        return _sized(_STRING, value.encode("utf-8", "replace"))
    if isinstance(value, (list, tuple)):
        return bytes((_ARRAY,)) + _size(len(value)) + b"".join(map(encode, value))
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31:
        return bytes((_INTEGER,)) + _size(value)
    return _sized(_OBJECT, json.dumps(value).encode())


def _sized(kind: int, data: bytes) -> bytes:
    return bytes((kind,)) + _size(len(data)) + data


def _size(value: int) -> bytes:
    """A number in groups of seven bits, the lowest first; all but the last have the eighth bit set."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*groups, value))


def decode(data: bytes) -> list[Any]:
    """All values of a message. Raises RemoteError if it is cut short or not a message."""
    values, at = [], 0
    while at < len(data):
        value, at = _decode(data, at, 0)
        values.append(value)
    return values


def _decode(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    kind = data[at : at + 1]
    if not kind or kind[0] > _INTEGER or depth > _DEEPEST:
        raise RemoteError("a message that is cut short" if not kind else "a message that is not the protocol's")
    if kind[0] == _UNDEFINED:
        return None, at + 1
    size, at = _read_size(data, at + 1)
    if kind[0] == _INTEGER:
        return size, at
    if kind[0] == _ARRAY:
        values = []
        for _ in range(size):
            value, at = _decode(data, at, depth + 1)
            values.append(value)
        return values, at
    content = data[at : at + size]
    if len(content) < size:
        raise RemoteError("a message that is cut short")
    return _content(kind[0], content), at + size


def _content(kind: int, content: bytes) -> Any:
    if kind in (_BUFFER, _OTHER_BUFFER):
        return content
    text = content.decode("utf-8", "replace")
    if kind == _STRING:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RemoteError("a message with damaged JSON") from None


def _read_size(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        group = data[at : at + 1]
        if not group:
            break
        at += 1
        value |= (group[0] & 0x7F) << shift
        if not group[0] & 0x80:
            return value, at
    raise RemoteError("a message that is cut short")


class Connection:
    """A connection that was accepted. Every method raises RemoteError; `until` is in `time.monotonic()` seconds."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._frames = Frames()
        self._sent = self._seen = self._last_id = 0
        self._aside: list[tuple[int, int, Any]] = []

    def send(self, kind: int, body: bytes, until: float) -> None:
        """Send one frame; regular ones are numbered."""
        self._sent += kind == REGULAR
        number = self._sent if kind == REGULAR else 0
        with _explained():
            self._socket.send(frame(kind, body, number=number, seen=self._seen), until)

    def receive(self, until: float) -> tuple[int, bytes]:
        """The next regular frame, which is acknowledged, or control frame."""
        while True:
            got = self._frames.next()
            if got is None:
                self._read(until)
                continue
            kind, number, body = got
            if kind == REGULAR:
                self._seen = number
                self.send(ACKNOWLEDGE, b"", until)
            if kind == DISCONNECT:
                raise RemoteError("the server closed the connection")
            if kind in (REGULAR, CONTROL):
                return kind, body

    def _read(self, until: float) -> None:
        with _explained():
            part = self._socket.receive(until)
        self._frames.feed(part if isinstance(part, bytes) else part.encode("utf-8", "replace"))

    def told(self, until: float) -> dict[str, Any]:
        """The next control message. An error of the server is raised with its text."""
        kind, body = self.receive(until)
        while kind != CONTROL:
            kind, body = self.receive(until)
        message = parsed(body)
        if not isinstance(message, dict):
            raise RemoteError("a control message that is not a JSON object")
        if message.get("type") == "error":
            raise RemoteError(f"refused: {str(message.get('reason'))[:300]}")
        return message

    def handshake(self, commit: str, connection: int, until: float) -> None:
        """Request a type of connection; `commit` is the version of the server, from its page."""
        self._tell({"type": "auth", "auth": _NOBODY, "data": ""}, until)
        sign = self.told(until)
        if sign.get("type") != "sign":
            raise RemoteError(f"the handshake was answered with {str(sign)[:200]}")
        request: dict[str, Any] = {"type": "connectionType", "commit": commit, "desiredConnectionType": connection}
        request["signedData"] = str(sign.get("signedData", ""))
        if connection == EXTENSION_HOST:
            request["args"] = {"language": "en", "break": False, "port": None, "env": {}}
        self._tell(request, until)
        self.told(until)
        if connection == MANAGEMENT:
            self.send(REGULAR, encode({"remoteAuthority": "remote", "clientId": "renderer"}), until)

    def _tell(self, message: dict[str, Any], until: float) -> None:
        self.send(CONTROL, json.dumps(message).encode(), until)

    def await_ready(self, until: float) -> None:
        """On a connection to an extension host: wait until it is ready."""
        while True:
            kind, body = self.receive(until)
            if kind == REGULAR and body == _READY:
                return

    def call(self, channel: str, command: str, argument: Any, until: float) -> Any:
        """On a management connection: the result of a command. An error of the server is raised with its text."""
        try:
            return self.answer(self.ask(channel, command, argument, until), until)
        except RemoteError as error:
            raise type(error)(f"{command}: {error}") from None

    def ask(self, channel: str, command: str, argument: Any, until: float) -> int:
        """On a management connection: send a command, and return the number of its answer."""
        return self._request(_CALL, channel, command, argument, until)

    def listen(self, channel: str, event: str, argument: Any, until: float) -> int:
        """On a management connection: subscribe to an event, and return the number of its reports."""
        return self._request(_LISTEN, channel, event, argument, until)

    def answer(self, number: int, until: float) -> Any:
        """The answer to the command of that number. An error of the server is raised with its text."""
        response, value = self._awaited(number, until)
        if response in (_RESULT, _EVENT):
            return value
        why = value.get("message") if isinstance(value, dict) else value
        raise RemoteError(f"the server says {str(why)[:300]}")

    def event(self, number: int, until: float) -> Any:
        """The value of the next event of that number."""
        return self._awaited(number, until)[1]

    def _awaited(self, number: int, until: float) -> tuple[int, Any]:
        """Type and value of the next response to a request; some of those to others are kept for later."""
        while True:
            for at, (response, of, value) in enumerate(self._aside):
                if of == number:
                    del self._aside[at]
                    return response, value
            self._aside = [*self._aside[-_MOST_ASIDE:], self._response(until)]

    def _request(self, request: int, channel: str, name: str, argument: Any, until: float) -> int:
        number = self._last_id
        self._last_id += 1
        self.send(REGULAR, encode([request, number, channel, name]) + encode(argument), until)
        return number

    def _response(self, until: float) -> tuple[int, int, Any]:
        """Type, number and value of the next response."""
        kind, body = self.receive(until)
        header, value, *_ = (*decode(body), None, None) if kind == REGULAR else (None, None)
        whole = isinstance(header, list) and len(header) > 1 and all(isinstance(each, int) for each in header[:2])
        if not whole:  # the greeting, or something newer than we are
            return 0, -1, None
        return header[0], header[1], value


@contextlib.contextmanager
def connected(client: Client, prefix: str, connection: int, until: float) -> Iterator[Connection]:
    """Connect to the client's server, handshake included. Raises RemoteError.

    `prefix` is the directory that its page names, e.g. `stable-COMMIT`; `connection` is MANAGEMENT or EXTENSION_HOST.
    """
    options = f"reconnectionToken={uuid.uuid4()}&reconnection=false&skipWebSocketFrames=false"
    with contextlib.ExitStack() as stack:
        with _explained():
            socket = stack.enter_context(opened(client, f"/{quote(prefix)}?{options}", until))
        accepted = Connection(socket)
        accepted.handshake(prefix.rpartition("-")[2], connection, until)
        yield accepted
        with contextlib.suppress(RemoteError):  # so that the server does not wait for us to come back
            accepted.send(DISCONNECT, b"", time.monotonic() + 1)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except LateError:
        raise RemoteLateError("no answer in time") from None
    except SocketError as error:
        raise RemoteError(str(error)) from None
