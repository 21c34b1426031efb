"""One kernel of a Jupyter server, spoken to over its websocket, as a browser does.

Messages: https://jupyter-client.readthedocs.io/en/stable/messaging.html (protocol version 5.3); the websocket carries
each as one JSON text with the name of its channel, see
https://jupyter-server.readthedocs.io/en/stable/developers/websocket-protocols.html (default protocol).
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from slimagent.checks.loopback import HOST, Client

_PROTOCOL = "5.3"
_DEAD = ("dead", "restarting", "autorestarting")


class KernelError(Exception):
    """A kernel that died, did not answer in time, or answered with an error."""


def message(kind: str, session: str, content: dict[str, Any]) -> dict[str, Any]:
    """A request on the shell channel."""
    return {
        "header": {
            "msg_id": uuid.uuid4().hex,
            "session": session,
            "username": "slimagent",
            "date": datetime.now(timezone.utc).isoformat(),
            "msg_type": kind,
            "version": _PROTOCOL,
        },
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": "shell",
        "buffers": [],
    }


class Kernel:
    """An open connection to a kernel. Every method raises KernelError; `deadline` is in `time.monotonic()` seconds."""

    def __init__(self, socket: Any, session: str, deadline: float) -> None:
        self._socket, self._session, self._deadline = socket, session, deadline

    def execute(self, code: str) -> str:
        """The plain text of the cell's result."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        result = ""
        for kind, answer in self._answers("execute_request", content):
            if kind == "execute_result":
                result = str(answer.get("data", {}).get("text/plain", ""))
            elif kind == "error":
                raise KernelError(f"{answer.get('ename')}: {answer.get('evalue')}")
            elif kind == "status" and answer.get("execution_state") == "idle":  # all output of the cell is there
                return result
        return result

    def complete(self, code: str) -> tuple[str, ...]:
        """What the kernel offers at the end of `code`."""
        for kind, answer in self._answers("complete_request", {"code": code, "cursor_pos": len(code)}):
            if kind == "complete_reply":
                if answer.get("status") != "ok":
                    raise KernelError(f"complete: {answer.get('ename', answer.get('status'))}")
                return tuple(map(str, answer.get("matches", ())))
        return ()

    def _answers(self, kind: str, content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The type and content of each message that answers a request, without end."""
        request = message(kind, self._session, content)
        self._send(json.dumps(request))
        while True:
            reply = self._receive()
            what = str(reply.get("header", {}).get("msg_type", ""))
            answer = reply.get("content") or {}
            state = answer.get("execution_state")
            if what == "status" and state in _DEAD:
                raise KernelError(f"the kernel is {state}")
            if (reply.get("parent_header") or {}).get("msg_id") == request["header"]["msg_id"]:
                yield what, answer

    def _send(self, text: str) -> None:
        with _explained(self._deadline):
            self._socket.send(text)

    def _receive(self) -> dict[str, Any]:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise KernelError("the kernel did not answer in time")
        with _explained(self._deadline):
            self._socket.settimeout(left)
            value = json.loads(self._socket.recv())
            return value if isinstance(value, dict) else {}


@contextlib.contextmanager
def connected(client: Client, kernel: str, deadline: float) -> Iterator[Kernel]:
    """Connect to the kernel of that identity. Raises KernelError."""
    import websocket  # its import takes a while, and only this check needs it

    session = uuid.uuid4().hex
    url = f"ws://{HOST}:{client.port}/api/kernels/{quote(kernel, safe='')}/channels?session_id={session}"
    with _explained(deadline):
        socket = websocket.create_connection(
            url,
            timeout=max(deadline - time.monotonic(), 0.1),
            header=[f"{name}: {value}" for name, value in client.headers.items()],
            suppress_origin=True,
            http_no_proxy=[HOST],
        )
    try:
        yield Kernel(socket, session, deadline)
    finally:
        with contextlib.suppress(OSError, websocket.WebSocketException):
            socket.close(timeout=1)


@contextlib.contextmanager
def _explained(deadline: float) -> Iterator[None]:
    import websocket

    try:
        yield
    except websocket.WebSocketTimeoutException:
        raise KernelError("the kernel did not answer in time") from None
    except (OSError, websocket.WebSocketException, ValueError) as error:
        late = time.monotonic() >= deadline
        raise KernelError("the kernel did not answer in time" if late else f"websocket: {error}") from None
