"""Between Docker's own client and the engine: nothing is changed but what is to be changed."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_images import told
from python_images import lacking

from slimagent.errors import RefusedError, SlimagentError, UnavailableError
from slimagent.image.engine import Engine
from slimagent.image.engine_api import Proxy
from slimagent.image.engine_api import told as answered

LIMIT = 60  # seconds


class Labels:
    """Gives each new container of an image a label and remembers it; changes what is executed in it."""

    def __init__(self, image: str) -> None:
        self.image = image
        self.made: list[str] = []
        self.names: list[str] = []
        self.begun: list[str] = []
        self.errors: list[SlimagentError] = []
        self.built = 0
        self.refuses = False

    def create(self, wanted: dict[str, Any], name: str) -> tuple[dict[str, Any] | None, Callable[[str], None]]:
        """See Changes."""
        if wanted["Image"] != self.image:
            return None, lambda _: None
        if self.refuses:
            raise RefusedError("not this one", "take another")
        self.names.append(name)
        return {**wanted, "Labels": {"a": "b c"}}, self.made.append

    def execute(self, container: str, wanted: dict[str, Any]) -> dict[str, Any] | None:
        """See Changes."""
        return {**wanted, "Cmd": ["/probe", "7", "changed"]} if wanted["Cmd"] == ["/probe", "0", "asked"] else None

    def started(self, container: str) -> None:
        """See Changes."""
        self.begun.append(container)

    def building(self) -> contextlib.AbstractContextManager[object]:
        """See Changes."""
        self.built += 1
        return contextlib.nullcontext()

    def unseen(self, error: SlimagentError) -> None:
        """See Changes."""
        self.errors.append(error)


@pytest.fixture
def labels(probe: str) -> Labels:
    return Labels(probe)


@pytest.fixture
def client(engine: Engine, labels: Labels, tmp_path: Path) -> Iterator[str]:
    """The path of a socket of ours."""
    with Proxy(str(tmp_path / "s"), engine.socket(), labels) as proxy:
        yield proxy.path
    assert not (tmp_path / "s").exists()


def ask(client: str, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """What Docker's client says."""
    command = ["docker", "--host", f"unix://{client}", *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=LIMIT)


def test_a_container_is_changed_before_it_starts(client: str, labels: Labels, probe: str) -> None:
    """And its ID is known then. Its output, its errors and its exit status come through."""
    name = f"slimagent-test-{secrets.token_hex(4)}"
    done = ask(client, "run", "--name", name, "--network=none", probe, "5", "out", "err")
    try:
        assert (done.returncode, done.stdout, done.stderr) == (5, "out\n", "err\n")
        (described,) = json.loads(subprocess.run(["docker", "inspect", name], capture_output=True, check=True).stdout)
        assert described["Config"]["Labels"] == {"a": "b c"}
        assert (labels.made, labels.names, labels.begun) == ([described["Id"]], [name], [described["Id"]])
    finally:
        told("rm", "-f", name)


def test_other_images_are_left_alone(client: str, labels: Labels, probe: str) -> None:
    """The same image by another name is another one here: who changes decides."""
    identity = told("image", "inspect", "-f", "{{.Id}}", probe)[0]
    done = ask(client, "run", "--rm", "--network=none", identity, "0", "plain")
    assert (done.returncode, done.stdout) == (0, "plain\n")
    assert labels.made == []


def test_what_is_executed_is_changed(client: str, engine: Engine, probe: str) -> None:
    """Only the one, though many run at once; a container is found by its name, its ID and the beginning of it."""
    name = f"slimagent-test-{secrets.token_hex(4)}"
    ask(client, "run", "-d", "--name", name, "--network=none", probe, "wait").check_returncode()
    try:
        identity = told("inspect", "-f", "{{.Id}}", name)[0]
        for each in (name, identity, identity[:12]):
            described = answered(engine.socket(), f"/containers/{each}/json")
            assert described is not None
            assert described["Id"] == identity
        for each in ("nosuch", "a b", "%2e"):
            assert answered(engine.socket(), f"/containers/{each}/json") is None
        results: dict[int, tuple[int, str]] = {}

        def execute(number: int) -> None:
            said = "asked" if number % 2 else f"other{number}"
            done = ask(client, "exec", "-i", name, "/probe", "0", said, given="x" * 100_000)
            results[number] = done.returncode, done.stdout

        threads = [threading.Thread(target=execute, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expected = {each: (7, "changed\n") if each % 2 else (0, f"other{each}\n") for each in range(8)}
        assert results == expected
    finally:
        told("rm", "-f", name)


def test_streams_of_any_length_come_through(
    client: str, labels: Labels, engine: Engine, probe: str, tmp_path: Path
) -> None:
    """An image that is saved, loaded and built upon, and a container's long output."""
    assert len(ask(client, "run", "--rm", "--network=none", probe, "flood").stdout) == 300_000
    subprocess.run(["docker", "save", "-o", str(tmp_path / "a"), probe], check=True)
    ask(client, "save", "-o", str(tmp_path / "b"), probe).check_returncode()
    assert (tmp_path / "a").stat().st_size == (tmp_path / "b").stat().st_size
    assert probe in ask(client, "load", "-i", str(tmp_path / "b")).stdout
    (tmp_path / "Dockerfile").write_text(f"FROM {probe}\nLABEL x=y\n")
    tag = f"slimagent-test-proxy:{secrets.token_hex(4)}"
    try:
        ask(client, "build", "-t", tag, str(tmp_path)).check_returncode()
        assert told("image", "inspect", "-f", "{{.Config.Labels.x}}", tag) == ["y"]
        assert labels.built <= 1  # BuildKit builds over a session of its own
    finally:
        engine.remove_image(tag)


def test_who_refuses_is_heard(client: str, labels: Labels, probe: str) -> None:
    """Nothing is created."""
    labels.refuses = True
    done = ask(client, "run", "--rm", "--network=none", probe, "0")
    assert done.returncode != 0
    assert "slimagent: not this one; take another" in done.stderr
    assert labels.made == []


def test_an_engine_that_does_not_answer(tmp_path: Path) -> None:
    """What is unknown is not taken for absent."""
    with pytest.raises(UnavailableError, match="does not say"):
        answered(str(tmp_path / "nobody"), "/containers/x/json")


def test_both_directions_at_once(client: str, small_cat: str) -> None:
    """A program that answers while it still reads: more goes each way than any buffer holds."""
    given = "0123456789abcdef" * (4 << 16)  # 4 MiB
    double = "/bin/busybox cat | /bin/busybox cat"
    done = ask(client, "exec", "-i", small_cat, "/bin/busybox", "sh", "-c", double, given=given)
    assert done.returncode == 0, done.stderr
    assert done.stdout == given


def test_after_a_refused_upgrade_the_connection_ends(client: str, labels: Labels) -> None:
    """Else the next request on it would pass unseen."""
    upgrade = b"POST /v1.41/exec/nosuch/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    upgrade += b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    body = b'{"Image": "%b"}' % labels.image.encode()
    create = b"POST /v1.41/containers/create HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n"
    create += b"Content-Length: %d\r\n\r\n" % len(body) + body
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(LIMIT)
        stream.connect(client)
        stream.sendall(upgrade + create)
        said = b"".join(iter(lambda: stream.recv(1 << 16), b""))
    assert said.startswith(b"HTTP/1.1 404")
    assert said.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in said
    assert labels.made == []


@pytest.fixture
def small_cat(tmp_path: Path) -> Iterator[str]:
    """A running container that has busybox."""
    busybox = shutil.which("busybox")
    if busybox is None:
        lacking("no busybox (Debian: busybox-static)")
    tag, name = f"slimagent-test-cat:{secrets.token_hex(4)}", f"slimagent-test-{secrets.token_hex(4)}"
    with tarfile.open(tmp_path / "cat.tar", "w") as archive:
        archive.add(str(busybox), "bin/busybox")
    subprocess.run(["docker", "import", str(tmp_path / "cat.tar"), tag], check=True, capture_output=True)
    command = ["docker", "run", "-d", "--name", name, "--network=none", tag, "/bin/busybox", "sleep", "1000"]
    subprocess.run(command, check=True, capture_output=True)
    yield name
    told("rm", "-f", name)
    told("rmi", tag)


BODY = b'{"Image": "nosuch-image"}'
CHUNKED = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in (BODY[:5], BODY[5:])) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: %d" % len(BODY), BODY),
        (b"Transfer-Encoding: chunked", CHUNKED),
    ],
)
def test_bodies(client: str, engine: Engine, labels: Labels, head: bytes, body: bytes) -> None:
    """In one piece, and in chunks: the answer is the engine's own."""
    labels.image = "another"
    (status, *_), (expected, *_) = (_raw(each, head, body).split(b"\r\n") for each in (client, engine.socket()))
    assert status == expected
    assert status.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no!",
        b"[]",
        b"null",
        b'{"Image": "nosuch", "Env": ["A=\\udcff"]}',
        b'{"Image": "nosuch", "Env": ["A=\xff"]}',
        b'{"Image": "nosuch", "Labels": ' + b'{"a": ' * 60 + b"1" + b"}" * 61,
        b'{"Image": "nosuch"} and more',
        b'{"Image": "nosuch", "Image": null}',
        b'{"Image": "another", "image": "nosuch"}',
        b'{"Image": "nosuch", "HostConfig": {"Mounts": [], "mounts": []}}',
        b'{"Image": "nosuch", "HostConfig": []}',
    ],
)
@pytest.mark.parametrize("path", ["/v1.41/containers/create", "/v1.41/containers/nosuch/exec"])
def test_a_body_that_the_engine_may_read_in_another_way(client: str, labels: Labels, path: str, body: bytes) -> None:
    """It does not reach the engine, the client hears why, and the run hears of it."""
    if path.endswith("exec") and b"HostConfig" in body:
        body = b'{"Cmd": ["a"], "cmd": ["b"]}'
    if path.endswith("exec"):
        body = body.replace(b'"Image": "another", "image"', b'"User": "1", "uSer"')
    said = _raw(client, b"Content-Length: %d" % len(body), body, path)
    head, _, content = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert "slimagent cannot follow" in json.loads(content)["message"]
    assert [each.exit_status for each in labels.errors] == [3]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/containers/create", b'{"image": "%b"}'),
        ("/containers/create", '{"Image": "%b", "ho\u017ftConfig": {"memorY": 1}}'.encode()),
        ("/v1.41/containers/%63reate", b'{"Image": "%b"}'),
        ("/v1.41/containers/./x/..//create?name=&name=x", b'{"Image": "%b"}'),
        ("http://docker/v1.41/containers/create", b'{"Image": "%b"}'),
    ],
)
def test_no_other_spelling_passes_unseen(client: str, labels: Labels, path: str, body: bytes) -> None:
    """Keys in any case, as Go finds them, and paths that are decoded and cleaned."""
    labels.refuses = True  # nothing is made
    body = body % labels.image.encode()
    assert b"slimagent: not this one" in _raw(client, b"Content-Length: %d" % len(body), body, path)
    assert labels.errors == []


@pytest.mark.parametrize(
    "head",
    [
        b"GET /version HTTP/1.1\nHost: docker\n\nPOST /containers/create HTTP/1.1",
        b"GET /version HTTP/1.1\r\nHost: docker\r\nA: b\n\nPOST /containers/create HTTP/1.1",
        b"GET /version HTTP/1.1\r\nHost: docker\r\nConnection:\r\n keep-alive",
        b"PRI * HTTP/2.0",
        b"POST  /containers/create HTTP/1.1",
        b"POST /containers/create",
    ],
)
def test_a_head_that_hides_another_request(client: str, labels: Labels, head: bytes) -> None:
    """Go ends a line without CR, too, and continues one; so readers differ about what is asked."""
    said = _sent(client, head + b"\r\nHost: docker\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1 ") == 1
    assert len(labels.errors) == 1


def test_only_a_stream_keeps_its_connection(client: str, labels: Labels, probe: str) -> None:
    """The log of a container looks like a stream, and is one answer: the next request does not pass behind it."""
    name = f"slimagent-test-{secrets.token_hex(4)}"
    told("create", "--name", name, "--network=none", probe, "0")
    body = b'{"Image": "%b"}' % labels.image.encode()
    forged = b"Host: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    first = b"GET /v1.42/containers/%b/logs?stdout=1&follow=0 HTTP/1.1\r\n" % name.encode() + forged
    second = b"POST /v1.41/containers/create HTTP/1.1\r\nHost: docker\r\nContent-Length: %d\r\n\r\n" % len(body)
    try:
        said = _sent(client, first + second + body)
    finally:
        told("rm", "-f", name)
    assert said.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in said
    assert labels.made == []


def test_a_stream_of_an_engine_that_calls_its_logs_one(labels: Labels, tmp_path: Path) -> None:
    """Newer engines answer a log with the type of a stream (API v1.42): it counts only where one can begin."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nContent-Length: 0\r\n\r\n"
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(tmp_path / "engine"))
        engine.listen()

        def serve() -> None:
            connection, _ = engine.accept()
            with connection:
                connection.settimeout(LIMIT)
                heard.append(connection.recv(1 << 16))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with Proxy(str(tmp_path / "s"), str(tmp_path / "engine"), labels) as proxy:
            request = b"GET /containers/x/logs HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            assert _sent(proxy.path, request) == answer
        thread.join()
    assert b"\r\nConnection: close\r\n" in heard[0]
    assert b"connection: upgrade" not in heard[0].lower()


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 999", b"cut off"),
        (b"Content-Length: 999999999", b""),
        (b"Transfer-Encoding: chunked", b"fffffffff\r\n"),
        (b"Transfer-Encoding: chunked", b"x" * 200_000),
        (b"X: " + b"y" * 200_000, b""),
    ],
)
def test_a_strange_request_is_dropped_and_the_next_one_answered(client: str, head: bytes, body: bytes) -> None:
    """No answer, no more memory than the limit, and nobody else notices."""
    assert _raw(client, head, body) == b""
    assert ask(client, "version").returncode == 0


def _raw(client: str, head: bytes, body: bytes, path: str = "/v1.41/containers/create") -> bytes:
    line = b"POST %b HTTP/1.1" % path.encode()
    return _sent(client, b"\r\n".join((line, b"Host: docker", b"Content-Type: application/json", head, b"", body)))


def _sent(client: str, request: bytes) -> bytes:
    """All that is answered to some bytes."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(LIMIT)
        stream.connect(client)
        try:
            stream.sendall(request)
            stream.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: stream.recv(1 << 16), b""))
        except (BrokenPipeError, ConnectionResetError):
            return b""
