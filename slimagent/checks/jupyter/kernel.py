"""One kernel of a Jupyter server, used over its websocket as by a browser.

Messages: https://jupyter-client.readthedocs.io/en/stable/messaging.html (protocol version 5.3); the websocket carries
each as one JSON text with the name of its channel, see
https://jupyter-server.readthedocs.io/en/stable/developers/websocket-protocols.html (default protocol).
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from slimagent.checks.answers import array, mapping, parsed, string
from slimagent.checks.loopback import Client
from slimagent.checks.output import last_lines
from slimagent.checks.websockets import LateError, Socket, SocketError, opened

_PROTOCOL = "5.3"
_DEAD = ("dead", "restarting", "autorestarting")
_LONGEST = 300  # characters of what a kernel says of an error


class KernelError(Exception):
    """A kernel that did not answer, or not as the protocol requires; the message says what happened."""


class KernelLateError(KernelError):
    """A kernel that did not answer in time."""


class KernelDeadError(KernelError):
    """A kernel that died."""


class CellError(KernelError):
    """A cell that raised an exception."""


class InputAskedError(KernelError):
    """A cell that waits for input."""


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
    """An open connection to a kernel. Every method raises KernelError.

    `deadline` is in `time.monotonic()` seconds and may be changed between two requests.
    """

    def __init__(self, socket: Socket, session: str, deadline: float) -> None:
        self._socket, self._session, self.deadline = socket, session, deadline

    def execute(self, code: str, *, stop_on_error: bool = True) -> str:
        """The plain text of the cell's result; no other output is kept. Raises CellError and InputAskedError, too."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": True,  # otherwise some languages answer with an empty input, and the cell goes on
            "stop_on_error": stop_on_error,
        }
        result = ""
        for kind, answer in self._answers("execute_request", content):
            if kind in ("execute_result", "display_data"):  # the latter by IRkernel
                result = _plain(answer)
            elif kind == "input_request":
                raise InputAskedError("asks for input")
            elif kind == "error" or (kind == "execute_reply" and answer.get("status") == "error"):
                raise CellError(one_line(f"{answer.get('ename')}: {answer.get('evalue')}"))
            elif kind == "execute_reply" and answer.get("status") in ("abort", "aborted"):
                raise KernelError("the kernel did not run it")
            elif kind == "status" and answer.get("execution_state") == "idle":  # all output of the cell is there
                return result
        return result

    def language(self) -> str:
        """The kernel's language, as it reports it."""
        return string(self._reply("kernel_info", {}), "language_info", "name")

    def complete(self, code: str) -> tuple[str, ...]:
        """The kernel's completions of `code`."""
        return tuple(map(str, array(self._reply("complete", {"code": code, "cursor_pos": len(code)}), "matches")))

    def inspect(self, code: str) -> str:
        """The kernel's help on the name at the end of `code`, as plain text; empty if it has none."""
        answer = self._reply("inspect", {"code": code, "cursor_pos": len(code), "detail_level": 0})
        return _plain(answer) if answer.get("found") is not False else ""

    def _reply(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        for what, answer in self._answers(f"{kind}_request", content):
            if what == f"{kind}_reply":
                if answer.get("status", "ok") != "ok":
                    raise KernelError(one_line(f"{kind}: {answer.get('ename', answer.get('status'))}"))
                return answer
        return {}

    def _answers(self, kind: str, content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The type and content of each message that answers a request, without end."""
        request = message(kind, self._session, content)
        with _explained():
            self._socket.send(json.dumps(request), self.deadline)
        while True:
            reply = self._receive()
            what, answer = string(reply, "header", "msg_type"), mapping(reply, "content")
            state = answer.get("execution_state")
            if what == "status" and state in _DEAD:
                raise KernelDeadError("the kernel died")
            if string(reply, "parent_header", "msg_id") == request["header"]["msg_id"]:
                yield what, answer

    def _receive(self) -> dict[str, Any]:
        with _explained():
            data = self._socket.receive(self.deadline)
        if isinstance(data, bytes):  # a message with buffers, e.g. of a widget: never the answer we wait for
            return {}
        value = parsed(data)
        if value is None:
            raise KernelError("a message of the kernel is not JSON")
        return mapping(value)


def _plain(answer: dict[str, Any]) -> str:
    return str(mapping(answer, "data").get("text/plain", ""))


def one_line(text: str) -> str:
    """A kernel's text as one printable line."""
    return " ".join(last_lines(text.encode("utf-8", "replace"), 100).split())[:_LONGEST]


@contextlib.contextmanager
def connected(client: Client, kernel: str, deadline: float) -> Iterator[Kernel]:
    """Connect to the kernel of that identity. Raises KernelError."""
    session = uuid.uuid4().hex
    path = f"/api/kernels/{quote(kernel, safe='')}/channels?session_id={session}"
    with contextlib.ExitStack() as stack:
        with _explained():
            socket = stack.enter_context(opened(client, path, deadline))
        yield Kernel(socket, session, deadline)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except LateError:
        raise KernelLateError("the kernel did not answer in time") from None
    except SocketError as error:
        raise KernelError(str(error)) from None
