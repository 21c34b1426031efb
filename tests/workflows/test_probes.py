"""Probes against servers that answer as they like."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from slimagent.model.result import Item, Outcome
from slimagent.workflows.probes import ask

Answer = Callable[[socket.socket], None]
SECONDS = 0.5  # of patience


@contextlib.contextmanager
def served(answer: Answer) -> Iterator[tuple[str, list[bytes]]]:
    """A port at which each request gets an answer, and the requests that came."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client, contextlib.suppress(OSError):
                    heard.append(client.recv(1 << 16))
                    answer(client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield str(server.getsockname()[1]), heard
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def says(*pieces: bytes) -> Answer:
    """Send these, one after another."""

    def answer(client: socket.socket) -> None:
        for piece in pieces:
            client.sendall(piece)
            time.sleep(0.01)

    return answer


def asked(port: str, path: str = "/p", method: str = "GET") -> Item:
    return ask(method, None, path, {"SLIMAGENT_PORT": port}, SECONDS)


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ((b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n",), 200),
        ((b"HTTP/1.0 20", b"4\r\n\r", b"\n"), 204),
        ((b"HTTP/1.1 399 \n\n",), 399),
        ((b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n", b"HTTP/1.1 201\r\n\r\n"), 201),
        ((b"HTTP/1.1 200 OK\r\n", b"\r\n" + b"x" * (1 << 20)), 200),
        ((b"HTTP/1.1 404 Not Found\r\n\r\n",), 404),
        ((b"HTTP/1.1 500 \xff\r\n\r\n",), 500),
    ],
)
def test_the_status_decides(pieces: tuple[bytes, ...], status: int) -> None:
    """That of the final answer, however it is cut; what follows its head is not read."""
    with served(says(*pieces)) as (port, heard):
        item = asked(port)
    assert (item.detail, item.outcome is Outcome.PASSED) == (f"status {status}", status < 400)
    assert heard[0].startswith(b"GET /p HTTP/1.1\r\nHost: 127.0.0.1:%b\r\n" % port.encode())


def test_a_redirection_is_not_followed() -> None:
    """It counts by itself: where it leads may be anything that this machine can reach."""
    with served(says(b"HTTP/1.1 200 OK\r\n\r\n")) as (other, reached):
        location = b"http://127.0.0.1:%b/" % other.encode()
        with served(says(b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % location)) as (port, _):
            item = asked(port)
    assert (item.outcome, item.detail) == (Outcome.PASSED, "status 302")
    assert reached == []


def test_an_answer_that_never_ends_is_not_awaited() -> None:
    """One deadline for all of it, however often a byte comes."""

    def drip(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\n")
        for _ in range(600):
            client.sendall(b"x")
            time.sleep(SECONDS / 10)

    began = time.monotonic()
    with served(drip) as (port, _):
        item = asked(port)
        assert time.monotonic() - began < 10 * SECONDS
    assert item.outcome is Outcome.FAILED
    assert "no complete answer within" in item.detail


def test_a_head_without_end_is_not_kept() -> None:
    """64 KiB are more than any server sends."""
    with served(says(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 100_000)) as (port, _):
        item = asked(port)
    assert (item.outcome, item.detail) == (Outcome.FAILED, "the head of the answer is longer than 64 KiB")


@pytest.mark.parametrize(
    ("pieces", "detail"),
    [((b"SSH-2.0-x\r\n\r\n",), "the answer is not HTTP/1"), ((b"HTTP/1.1 200 OK\r\n",), "the connection ended")],
)
def test_what_is_no_answer(pieces: tuple[bytes, ...], detail: str) -> None:
    """Asked again until the time is over."""
    with served(says(*pieces)) as (port, heard):
        item = asked(port)
    assert item.outcome is Outcome.FAILED
    assert item.detail.startswith(detail)
    assert len(heard) > 1


def test_a_port_that_opens_late() -> None:
    """It gets a moment; one that stays closed does not pass."""
    with socket.socket() as late:
        late.bind(("127.0.0.1", 0))
        port = str(late.getsockname()[1])
        assert "refused" in asked(port).detail

        def serve() -> None:
            time.sleep(SECONDS / 2)
            late.listen()
            client, _ = late.accept()
            with client:
                client.recv(1 << 16)
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        assert asked(port, method="POST").detail == "status 200"
        thread.join()


def test_a_request_is_one_line() -> None:
    """Nothing of a path becomes a header."""
    with served(says(b"HTTP/1.1 200 OK\r\n\r\n")) as (port, heard):
        assert "write them as %20" in asked(port, "/a\r\nX: y").detail
        assert "write them as %20" in asked(port, "/a b").detail
    assert heard == []
    assert "the image exposes no port" in ask("GET", None, "/", {}).detail
    assert "does not expose port 7" in ask("GET", 7, "/", {}).detail
