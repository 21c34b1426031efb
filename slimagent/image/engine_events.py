"""Hear of every container that an engine starts, whoever asked for it.

Source: the events of the Docker Engine API (v1.41). The daemon sends them in order, and keeps the last 256.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from slimagent.errors import UnavailableError
from slimagent.image.engine_http import PIECE, until_blank
from slimagent.text.json_input import parsed

_FILTERS = quote('{"type":["container"],"event":["start"]}')
_LONGEST = 4 << 20  # bytes of one event: it has all labels
_PATIENCE = 60.0  # seconds until the engine answers
_BEFORE = 5  # seconds: the last events are asked for once more, those that the stream may not have brought yet
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A container that was started: its ID, the image as its creator named it, its name, and its labels.

    `when` is the time of its start in nanoseconds since the epoch.
    """

    identity: str
    image: str
    name: str
    labels: frozenset[str]
    when: int


class Beginnings:
    """Listens at the engine's socket while the block runs. Raises UnavailableError if the engine tells of no events."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._begun: dict[tuple[str, int], Begun] = {}
        self._since = time.time_ns()
        self._stream = socket.socket(socket.AF_UNIX)
        self._has_ended = self._is_over = False

    def __enter__(self) -> Beginnings:
        rest = self._asked(self._stream, f"since={self._since // _SECOND}")
        self._thread = threading.Thread(target=self._listen, args=(rest,), name="events", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over = True
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._stream.close()

    def seen(self) -> list[Begun]:
        """All containers that were started up to now. Raises UnavailableError if some may be missing."""
        now = time.time_ns() // _SECOND
        with socket.socket(socket.AF_UNIX) as last:
            is_all = self._read(last, self._asked(last, f"since={now - _BEFORE}&until={now + 1}"))
        if self._has_ended or not is_all:
            raise UnavailableError("the engine stopped telling what it starts while the tests ran", "run it again")
        return list(self._begun.values())

    def _asked(self, stream: socket.socket, when: str) -> bytes:
        """Ask for events over a new connection. Returns what came of them with the head of the answer."""
        try:
            stream.settimeout(_PATIENCE)
            stream.connect(self._engine)
            stream.sendall(f"GET /events?{when}&filters={_FILTERS} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            head, rest = until_blank(stream)
        except OSError as error:
            raise UnavailableError(f"the engine does not tell what it starts: {error}", "run it again") from None
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise UnavailableError("the engine does not tell what it starts", "run it again")
        return rest

    def _listen(self, rest: bytes) -> None:
        self._stream.settimeout(None)  # nothing may start for hours
        self._read(self._stream, rest)
        self._has_ended = not self._is_over

    def _read(self, stream: socket.socket, rest: bytes) -> bool:
        """Take events until the engine sends no more. False if it was cut off, or if something is no event."""
        data = bytearray(rest)
        try:
            while True:
                *lines, last = bytes(data).split(b"\n")
                for line in lines:
                    self._take(parsed(line))
                data = bytearray(last)
                piece = stream.recv(PIECE)
                if not piece or len(data) > _LONGEST:
                    return not data
                data += piece
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return False

    def _take(self, event: Any) -> None:
        actor = event["Actor"]
        attributes = actor.get("Attributes") or {}
        begun = Begun(
            identity=str(actor["ID"]),
            image=str(attributes.get("image", "")),
            name=str(attributes.get("name", "")),
            labels=frozenset(attributes),
            when=int(event["timeNano"]),
        )
        if begun.when >= self._since:
            self._begun[begun.identity, begun.when] = begun
