"""Websockets to servers that misbehave: every message ends, one way or another. The servers here are stand-ins."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from slimagent.checks import websockets
from slimagent.checks.jupyter.kernel import (
    CellError,
    InputAskedError,
    Kernel,
    KernelDeadError,
    KernelError,
    connected,
    one_line,
)
from slimagent.checks.loopback import HOST, Client
from slimagent.checks.websockets import LateError, Socket, SocketError, opened

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


@contextlib.contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[Client]:
    """A server in this process that leaves its first connection to `answer`, and refuses others."""
    with socket.create_server((HOST, 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                with connection, contextlib.suppress(OSError):
                    answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Client(port=listening.getsockname()[1])
    thread.join(10)


@contextlib.contextmanager
def talking(answer: Callable[[socket.socket], None], seconds: float = 20) -> Iterator[Socket]:
    """A websocket to such a server."""
    with server(answer) as client, opened(client, "/", time.monotonic() + seconds) as opening:
        yield opening


def shake_hands(connection: socket.socket) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(4096)
    key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())  # noqa: S324 - the protocol's
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    connection.sendall(head + accept + b"\r\n\r\n")


def text(data: bytes, opcode: int = 1) -> bytes:
    length = struct.pack("!B", len(data)) if len(data) < 126 else b"\x7e" + struct.pack("!H", len(data))
    return bytes([0x80 | opcode]) + length + data


def drip(connection: socket.socket) -> None:
    for _ in range(100):
        connection.sendall(b"H")
        time.sleep(0.1)


def test_a_handshake_that_drips_ends_in_time() -> None:
    """A byte now and then does not stretch the deadline."""
    with pytest.raises(LateError, match="no answer in time"), talking(drip, 0.5):
        pass


def test_a_message_that_drips_ends_in_time() -> None:
    """Neither does it in a message."""

    def answer(connection: socket.socket) -> None:
        shake_hands(connection)
        connection.sendall(b"\x81\x7e\x10\x00")
        drip(connection)

    with talking(answer) as opening, pytest.raises(LateError):
        opening.receive(time.monotonic() + 0.5)


def test_a_message_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message of any announced length is taken up to a limit."""
    monkeypatch.setattr(websockets, "_LARGEST", 1 << 20)

    def answer(connection: socket.socket) -> None:
        shake_hands(connection)
        connection.sendall(b"\x81\x7f" + struct.pack("!Q", 1 << 40))
        while True:
            connection.sendall(b"x" * 65536)

    with talking(answer) as opening, pytest.raises(SocketError, match="a message of more than 1 MB"):
        opening.receive(time.monotonic() + 20)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "the server closed the connection"),
        (b"HTTP/1.1 302 Found\r\nLocation: ws://192.0.2.1/\r\n\r\n", "Redirect limit|302"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "websocket: 403 "),
        (
            b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n",
            "websocket",
        ),
        (b"\x00\xff" * 100 + b"\r\n\r\n", "websocket|closed"),
    ],
)
def test_a_refused_handshake_says_why(answer: bytes, message: str) -> None:
    """A server that closes, sends elsewhere, forbids, or speaks another protocol."""

    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(answer)

    with pytest.raises(SocketError, match=message), talking(serve):
        pass


def test_nobody_listens() -> None:
    """A server that is gone is an error that says so."""
    with socket.socket() as other:
        other.bind((HOST, 0))
        client = Client(port=other.getsockname()[1])
        with pytest.raises(SocketError, match="Connection refused"), opened(client, "/", time.monotonic() + 20):
            pass


@contextlib.contextmanager
def kernel(*answers: dict[str, object] | bytes) -> Iterator[Kernel]:
    """A kernel that answers its first request with these messages, or frames."""

    def answer(connection: socket.socket) -> None:
        shake_hands(connection)
        frame = connection.recv(65536)
        start = 8 if frame[1] & 0x7F == 126 else 6
        mask = frame[start - 4 : start]
        request = json.loads(bytes(each ^ mask[at % 4] for at, each in enumerate(frame[start:])))
        for each in answers:
            if isinstance(each, dict):
                body = {"parent_header": {"msg_id": request["header"]["msg_id"]}, **each}
                connection.sendall(text(json.dumps(body).encode()))
            else:
                connection.sendall(each)
        connection.recv(1)

    with server(answer) as client, connected(client, "a/b", time.monotonic() + 20) as connection:
        yield connection


def said(kind: str, **content: object) -> dict[str, object]:
    return {"header": {"msg_type": kind}, "content": content}


IDLE = said("status", execution_state="idle")
WRONG = "raises \x1b[31mcolours\x1b[0m\nand lines"


def test_a_cells_result_is_its_last_one() -> None:
    """Output of others, binary messages and what is no message are passed over."""
    other = {**said("execute_result", data={"text/plain": "no"}), "parent_header": {"msg_id": "other"}}
    noise = (text(b"\x00\x01", opcode=2), text(b"[1]"), other, {"header": 3, "content": 4})
    with kernel(*noise, said("execute_result", data={"text/plain": "42"}), IDLE) as connection:
        assert connection.execute("6*7") == "42"


@pytest.mark.parametrize(
    ("answers", "error", "message"),
    [
        ((said("error", ename="ValueError", evalue=WRONG),), CellError, "^ValueError: raises colours and lines$"),
        ((said("execute_reply", status="error", ename="E", evalue="x"),), CellError, "^E: x$"),
        ((said("execute_reply", status="aborted"),), KernelError, "did not run"),
        ((said("input_request", prompt="?"),), InputAskedError, "asks for input"),
        ((said("status", execution_state="dead"),), KernelDeadError, "died"),
        ((text(b"{"),), KernelError, "is not JSON"),
        ((text(b"", opcode=8),), KernelError, "closed the connection"),
        ((text(b"\xff\xff"),), KernelError, "websocket"),
    ],
)
def test_how_a_cell_failed_is_told_apart(
    answers: tuple[dict[str, object] | bytes, ...], error: type[KernelError], message: str
) -> None:
    """An exception, a refusal, a question, a death, and a kernel that speaks something else."""
    with kernel(*answers) as connection, pytest.raises(error, match=message):
        connection.execute("6*7")


def test_an_answer_of_odd_types_is_no_answer() -> None:
    """What completions and help are made of may be missing."""
    with kernel(said("complete_reply", matches=3)) as connection:
        assert connection.complete("x") == ()
    with kernel(said("inspect_reply", found=True, data=3)) as connection:
        assert connection.inspect("x") == ""


def test_one_line_is_one_line() -> None:
    """What a kernel says is cut, and has no colours and no line ends."""
    assert one_line("a\n\x1b[1mb\x1b[0m\r\n c" + "d" * 1000) == ("a b c" + "d" * 1000)[:300]
    assert one_line("\udce9") == "?"
