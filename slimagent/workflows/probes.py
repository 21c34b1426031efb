"""Ask a server on this machine over HTTP whether it answers. It is a container's: what it says is not trusted."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping

from slimagent.model.result import Item, Outcome

LOOPBACK = "127.0.0.1"
_LOOK_EVERY = 0.2  # seconds
_ANSWER = 10.0  # seconds for a port to open, and then for an answer from the first byte asked to the last one read
_HEAD = 64 << 10  # bytes: the longest head of an answer
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_END = re.compile(rb"\r?\n\r?\n")
_WITH_BODY = ("POST", "PUT", "PATCH")


def ask(method: str, port: int | None, path: str, env: Mapping[str, str], seconds: float = _ANSWER) -> Item:
    """Ask a server for a path, at most for twice these seconds. It passes with a status below 400.

    A redirection is an answer like any other, and is not followed: it may lead to another server of this machine. Only
    the head of the answer is read. `env` says where the port is.
    """
    name = f"{method} {'' if port is None else f':{port}'}{path}"
    number = env.get("SLIMAGENT_PORT" if port is None else f"SLIMAGENT_PORT_{port}")
    if number is None:
        which = "the image exposes no port" if port is None else f"the image does not expose port {port}"
        return Item(name=name, outcome=Outcome.FAILED, detail=f"{which}, or it does not run")
    if not re.fullmatch(r"[\x21-\x7e]+", path):
        detail = "the path has characters that no URL has: write them as %20 and the like"
        return Item(name=name, outcome=Outcome.FAILED, detail=detail)
    until = time.monotonic() + seconds
    while True:
        try:
            status = _status(int(number), _request(method, number, path), seconds)
            return Item(
                name=name, outcome=Outcome.PASSED if status < 400 else Outcome.FAILED, detail=f"status {status}"
            )
        except (OSError, ValueError) as error:
            if time.monotonic() >= until:
                late = isinstance(error, TimeoutError)
                detail = f"no complete answer within {seconds:.0f} s" if late else str(error)
                return Item(name=name, outcome=Outcome.FAILED, detail=detail)
        time.sleep(_LOOK_EVERY)


def _request(method: str, number: str, path: str) -> bytes:
    lines = [
        f"{method} {path.partition('#')[0]} HTTP/1.1",
        f"Host: {LOOPBACK}:{number}",
        "User-Agent: slimagent",
        "Accept: */*",
        "Accept-Encoding: identity",
        "Connection: close",
        *(["Content-Length: 0"] if method in _WITH_BODY else ()),
    ]
    return "\r\n".join((*lines, "", "")).encode("ascii")


def _status(port: int, request: bytes, seconds: float) -> int:
    """The status of the final answer to a request.

    Raises OSError if there is none within these seconds, and ValueError if it is not one of HTTP/1.
    """
    until = time.monotonic() + seconds
    data, total = b"", 0
    with socket.create_connection((LOOPBACK, port), timeout=seconds) as server:
        server.sendall(request)
        while True:
            while end := _END.search(data):
                found = _STATUS.match(data)
                if found is None:
                    raise ValueError("the answer is not HTTP/1")
                if int(found[1]) >= 200 or int(found[1]) == 101:  # the others come before the answer
                    return int(found[1])
                data = data[end.end() :]
            if total > _HEAD:
                raise ValueError(f"the head of the answer is longer than {_HEAD >> 10} KiB")
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            server.settimeout(left)  # for what is left: a server may send byte by byte
            piece = server.recv(_HEAD)
            total += len(piece)
            if not piece:
                raise ConnectionError("the connection ended before the answer did")
            data += piece
