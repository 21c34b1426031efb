"""Read and write the HTTP/1 of Docker's API, as RFC 9112 says and as Go's server reads it.

What the engine could read in another way than we do is not read at all: so no request hides behind another one.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import orjson

_HEAD, _BODY = 1 << 16, 64 << 20  # bytes: the most of a request's head, and of a body that we read
PIECE = 1 << 16
_LINE = re.compile(rb"([A-Z]+) ([\x21-\x7e]+) HTTP/1\.[01]\r\n")
# A line that ends without CR, which Go accepts as its end; a CR alone; a line that continues the one before it.
_UNCLEAR = re.compile(rb"(?<!\r)\n|\r(?!\n)|\r\n[ \t]|\0")
_OURS = re.compile(rb"(?i)(?:content-length|transfer-encoding|connection|expect)\s*:")
_REASONS = {400: b"Bad Request", 500: b"Internal Server Error"}


def request_line(head: bytes) -> tuple[str, str]:
    """The method and the target of a request. Raises ValueError if readers could differ about its head."""
    found = _LINE.match(head)
    if found is None or _UNCLEAR.search(head):
        raise ValueError("its head is not that of an HTTP/1 request")
    return found[1].decode(), found[2].decode()


def until_blank(stream: socket.socket) -> tuple[bytes, bytes]:
    """Read the head of a request. Returns it with its empty line, and what came after it; empty if there is none."""
    data = bytearray()
    while b"\r\n\r\n" not in data:
        piece = stream.recv(PIECE)
        if not piece or len(data) > _HEAD:
            return b"", b""
        data += piece
    head, _, rest = bytes(data).partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def upgrades(head: bytes) -> bool:
    """Whether the head of a request or an answer asks for an upgrade."""
    return re.search(rb"(?i)\r\nconnection\s*:[^\r\n]*upgrade", head.partition(b"\r\n\r\n")[0]) is not None


def closing(head: bytes, length: int | None = None, *, upgrade: bool = False) -> bytes:
    """The head of a request after which the connection is closed; with `upgrade`, unless it asks for an upgrade.

    So each connection carries one request. `length` is that of a new body.
    """
    lines = head.rstrip(b"\r\n").split(b"\r\n")
    if length is not None:
        lines = [line for line in lines if not _OURS.match(line) or (upgrade and re.match(rb"(?i)connection", line))]
        lines.append(b"Content-Length: %d" % length)
    if not (upgrade and upgrades(head)):
        lines = [line for line in lines if not re.match(rb"(?i)connection\s*:", line)] + [b"Connection: close"]
    return b"\r\n".join((*lines, b"", b""))


def body(stream: Stream, head: bytes) -> Iterator[bytes]:
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


class Stream:
    """What a socket still sends, after what was read of it."""

    def __init__(self, client: socket.socket, rest: bytes) -> None:
        self.client, self._data = client, bytearray(rest)

    @property
    def rest(self) -> bytes:
        """What was read and not taken."""
        return bytes(self._data)

    def exactly(self, size: int) -> bytes:
        """That many bytes. Raises OSError if they are too many, or do not come."""
        if size > _BODY:
            raise OSError("the body is too long")
        while len(self._data) < size:
            self._more()
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken

    def line(self) -> bytes:
        """A line without its end. Raises OSError if it is too long, or does not come."""
        while b"\r\n" not in self._data:
            if len(self._data) > _HEAD:
                raise OSError("the line is too long")
            self._more()
        line, _, rest = bytes(self._data).partition(b"\r\n")
        self._data = bytearray(rest)
        return line

    def _more(self) -> None:
        piece = self.client.recv(PIECE)
        if not piece:
            raise OSError("cut off")
        self._data += piece


def refusal(message: str, status: int = 500) -> bytes:
    """An answer of Docker's API that says why nothing was done."""
    content = orjson.dumps({"message": message})
    return b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        _REASONS[status],
        len(content),
        content,
    )
