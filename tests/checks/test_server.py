"""Servers of the image: real ones, that behave and that do not."""

from __future__ import annotations

import contextlib
import http.server
import socket
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from checks_context import Place, place

from slimagent.checks.loopback import HOST, Client, RequestError, free_port
from slimagent.checks.server import NotReadyError, Server, serving

__all__ = ["place"]  # a fixture

_SERVE = "import http.server as h, sys; h.test(h.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind=sys.argv[2])"


@contextlib.contextmanager
def server(place: Place, *argv: str, seconds: float = 20, port: int = 0) -> Iterator[Server]:
    """A server by a shell line (its port is $1, its address $2), or Python's own without one."""
    client = Client(port=port or free_port())
    program = argv or (sys.executable, "-c", _SERVE)
    context, directory = place.context(), str(place.temporary)
    command = (*program, str(client.port), HOST)
    with serving(context, command, client, env=context.env, cwd=directory, ready="/", seconds=seconds) as answering:
        yield answering


def shell(line: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", line, "sh")


def test_a_server_answers_and_is_stopped(place: Place) -> None:
    """Inside the block the server answers on its port; after it nobody listens there."""
    with server(place) as running:
        assert running.client.get("/", 5).media_type == "text/html"
        port = running.client.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port), 1)


def test_a_server_that_ends_says_why(place: Place) -> None:
    """One that ends before it answers is not waited for; its status and last lines are in the message."""
    with (
        pytest.raises(NotReadyError, match=r"the server ended: exit status 3\nno configuration"),
        server(place, *shell("echo no configuration; exit 3")),
    ):
        pass


def test_a_server_that_never_answers_is_given_up(place: Place) -> None:
    """At the limit the last error and the last lines are in the message, and it is stopped."""
    with (
        pytest.raises(NotReadyError, match=r"(?s)not ready after 1 s: GET /: Connection refused\nthinking"),
        server(place, *shell("echo thinking; sleep 1000"), seconds=1),
    ):
        pass


def test_a_port_that_is_taken_is_seen(place: Place) -> None:
    """A server that cannot have its port fails with its own words."""
    with socket.socket() as other:
        other.bind((HOST, 0))
        port = other.getsockname()[1]
        with pytest.raises(NotReadyError, match="Address already in use"), server(place, port=port):
            pass


def test_nothing_is_left_of_a_server_when_the_block_fails(place: Place) -> None:
    """An exception in the block goes on after the server was stopped, with a child of it that ignores SIGTERM."""
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"
    line = f'{sys.executable} -c "{stubborn}" & exec {sys.executable} -c "{_SERVE}" "$@"'
    with pytest.raises(ZeroDivisionError), server(place, *shell(line)):
        raise ZeroDivisionError
    assert place.running() == []


class _Misbehaving(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "http://example.invalid/")
        elif self.path == "/round":
            self.send_response(302)
            self.send_header("Location", "/round")
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"{}")
            return
        elif self.path.startswith("/drip"):
            with contextlib.suppress(OSError):
                self.wfile.write(b"HTTP/1.0 200 OK\r\n" + b"\r\n" * (self.path == "/drip/body"))
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.1)
            return
        elif self.path == "/garbage":
            self.wfile.write(b"\x00\xff" * 50)
            return
        else:
            self.send_response(500, "Broken")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass


@pytest.fixture
def misbehaving() -> Iterator[Client]:
    """A client of a server in this process that answers badly."""
    with http.server.ThreadingHTTPServer((HOST, 0), _Misbehaving) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield Client(port=running.server_address[1])
        running.shutdown()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/elsewhere", "GET /elsewhere: redirected to another server, http://example.invalid/"),
        ("/round", "GET /round: 302"),
        ("/short", "GET /short: IncompleteRead"),
        ("/garbage", "GET /garbage: "),
        ("/broken", "GET /broken: 500 Broken"),
        ("http://example.invalid/x", "not on this server"),
        ("file:///etc/passwd", "not on this server"),
    ],
)
def test_a_bad_answer_is_a_request_error(misbehaving: Client, path: str, message: str) -> None:
    """Whatever a server answers, the error says what was asked and what came, and no other server is asked."""
    with pytest.raises(RequestError) as caught:
        misbehaving.get(path, 5)
    assert message in str(caught.value)


@pytest.mark.parametrize("path", ["/drip/head", "/drip/body"])
def test_an_answer_that_drips_is_given_up(misbehaving: Client, path: str) -> None:
    """A limit is one for the whole of an answer, however slowly its head or its body comes."""
    with pytest.raises(RequestError, match="no answer in time"):
        misbehaving.get(path, 1)


def test_proxies_are_not_asked(misbehaving: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment has no part in what happens on the loopback interface."""
    monkeypatch.setenv("http_proxy", f"http://{HOST}:1/")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(RequestError, match="500 Broken"):
        misbehaving.get("/broken", 5)


def test_an_answer_that_is_no_json_is_a_request_error(place: Place) -> None:
    """A page where JSON is expected is an error that says so."""
    with server(place) as running, pytest.raises(RequestError, match="GET /: the answer is not JSON"):
        running.client.json("GET", "/", 5)
