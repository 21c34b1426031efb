"""What the engine starts is heard, whoever asked for it."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from pathlib import Path

import pytest
from engine_images import told

from slimagent.errors import UnavailableError
from slimagent.image.engine import Engine
from slimagent.image.engine_events import Beginnings

HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"


def test_every_start_is_heard(engine: Engine, probe: str) -> None:
    """Also of a container that is gone; not what is only created, and not what ran before."""
    name = f"slimagent-test-{secrets.token_hex(4)}"
    told("run", "--rm", "--name", f"{name}-before", "--network=none", probe, "0")
    with Beginnings(engine.socket()) as beginnings:
        told("create", "--name", f"{name}-created", "--network=none", probe, "0")
        for each in ("1", "2"):
            told("run", "--rm", "--name", f"{name}-{each}", "--label", "a.b=c", "--network=none", probe, "0")
        heard = [each for each in beginnings.seen() if each.name.startswith(name)]
    told("rm", f"{name}-created")
    assert [each.name for each in heard] == [f"{name}-1", f"{name}-2"]
    assert {each.image for each in heard} == {probe}
    assert all(len(each.identity) == 64 and "a.b" in each.labels for each in heard)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.0 500 No\r\n\r\n", "does not tell what it starts"),
        (b"", "does not tell what it starts"),
        (HEAD, "stopped telling"),
        (HEAD + b'{"Actor": 1}\n', "stopped telling"),
        (HEAD + b"{", "stopped telling"),
    ],
)
def test_an_engine_that_stops_telling(tmp_path: Path, answer: bytes, why: str) -> None:
    """What was not told of may have run."""
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(tmp_path / "s"))
        engine.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = engine.accept()
                    with client:
                        client.recv(1 << 16)
                        client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(UnavailableError, match=why), Beginnings(str(tmp_path / "s")) as beginnings:
            while True:  # until the end of the stream is noticed
                beginnings.seen()
        engine.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    """Said before anything runs."""
    with pytest.raises(UnavailableError, match="does not tell"), Beginnings(str(tmp_path / "nobody")):
        pass
