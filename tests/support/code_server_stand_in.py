"""A stand-in for code-server: its options, its page and files, and what a page asks for over its websocket.

Run as a program. STAND_IN_ROOT is the editor's folder, with `out` and `extensions` in it; STAND_IN_FAULT names the one
thing that it does wrong. It speaks the protocol as slimagent's own reader of it: the real one is in tests/container.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from slimagent.checks.code_server.remote import CONTROL, REGULAR, Frames, decode, encode, frame

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PREFIX = f"/stable-{COMMIT}"
ROOT = Path(os.environ.get("STAND_IN_ROOT", "/nonexistent"))
FAULT = os.environ.get("STAND_IN_FAULT", "")


def option(name: str) -> str:
    (value,) = [each.split("=", 1)[1] for each in sys.argv if each.startswith(f"--{name}=")] or [""]
    return value


def extensions(folder: Path, built_in: bool) -> list[dict[str, Any]]:
    """What a scan of a folder finds: the real one passes over what it cannot read, too."""
    found = []
    for file in sorted(folder.glob("*/package.json")):
        try:
            manifest = json.loads(file.read_text())
            identity = {"value": f"{manifest['publisher']}.{manifest['name']}"}
        except (ValueError, KeyError):
            continue
        found.append(
            {"identifier": identity, "isBuiltin": built_in, "extensionLocation": {"path": str(file.parent)}, "x": 1.5}
        )
    return found


class Link:
    """The server's end of a websocket (RFC 6455), and of the protocol on it."""

    def __init__(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        key = handler.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = hashlib.sha1(key.encode(), usedforsecurity=False).digest()
        handler.send_response(101)
        handler.send_header("Upgrade", "websocket")
        handler.send_header("Connection", "Upgrade")
        handler.send_header("Sec-WebSocket-Accept", base64.b64encode(accept).decode())
        handler.end_headers()
        self.input, self.output = handler.rfile, handler.wfile
        self.frames, self.number = Frames(), 0

    def receive(self) -> tuple[int, bytes]:
        while (got := self.frames.next()) is None:
            head = self.input.read(2)
            if len(head) < 2 or head[0] & 0x0F == 8:
                raise EOFError
            size = head[1] & 0x7F
            if size == 126:
                size = int.from_bytes(self.input.read(2), "big")
            mask = self.input.read(4)
            self.frames.feed(bytes(each ^ mask[at % 4] for at, each in enumerate(self.input.read(size))))
        return got[0], got[2]

    def send(self, kind: int, body: bytes) -> None:
        self.number += kind == REGULAR
        data = frame(kind, body, number=self.number)
        half = len(data) // 2
        for part in (data[:half], data[half:]):  # a frame of the protocol comes in any pieces
            size = bytes((len(part),)) if len(part) < 126 else b"\x7f" + len(part).to_bytes(8, "big")
            self.output.write(b"\x82" + size + part)
        self.output.flush()

    def tell(self, message: dict[str, Any]) -> None:
        self.send(CONTROL, json.dumps(message).encode())

    def next_of(self, wanted: int) -> bytes:
        while True:
            kind, body = self.receive()
            if kind == wanted:
                return body


class Editor(http.server.BaseHTTPRequestHandler):
    """Answers as the real one does, but for one fault."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if FAULT == "hangs" and parts.path == "/":
            time.sleep(1000)
        if self.headers.get("Upgrade"):
            self.close_connection = True
            with contextlib.suppress(EOFError):
                self.converse(Link(self))
        elif parts.path == "/healthz":
            self.give(b"{}")
        elif parts.path == "/":
            self.give((ROOT / "page.html").read_bytes())
        elif parts.path == f"{PREFIX}/vscode-remote-resource":
            self.file(Path(parse_qs(parts.query)["path"][0]))
        elif parts.path.startswith(f"{PREFIX}/static/"):
            self.file(ROOT / unquote(parts.path).removeprefix(f"{PREFIX}/static/"))
        else:
            self.send_error(404)

    def file(self, path: Path) -> None:
        try:
            self.give(path.read_bytes())
        except OSError:
            self.send_error(404)

    def give(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def converse(self, link: Link) -> None:
        link.next_of(CONTROL)
        if FAULT == "mute":
            time.sleep(1000)
        link.tell({"type": "sign", "data": "x", "signedData": "x"})
        request = json.loads(link.next_of(CONTROL))
        if request["commit"] != COMMIT or FAULT == "refuses":
            link.tell({"type": "error", "reason": "Client refused: version mismatch"})
            return
        link.tell({"type": "ok"})
        if request["desiredConnectionType"] == 2:
            if FAULT != "no host":
                link.send(REGULAR, b"\x02")
            link.next_of(-1)
        link.next_of(REGULAR)
        link.send(REGULAR, encode([200]) + encode(None))
        self.listening: dict[str, int] = {}
        while True:
            (kind, number, _, name), argument = decode(link.next_of(REGULAR))
            if kind == 102:
                self.listening[name] = number
            elif FAULT == "garbage" and name == "scanExtensions":
                link.send(REGULAR, encode([201, number])[:-1])
            else:
                self.answer(link, number, name, argument)

    def answer(self, link: Link, number: int, name: str, argument: Any) -> None:
        result: Any = None
        if name == "getEnvironmentData":
            result = {"appRoot": {"path": str(ROOT)}}
        elif name == "scanExtensions":
            result = [*extensions(ROOT / "extensions", True), *extensions(Path(option("extensions-dir")), False)]
        elif name == "$createProcess" and FAULT == "no terminal":
            print("[IPC Library: Pty Host] Uncaught Exception:  Error: Cannot find module 'pty.node'", flush=True)
            return
        elif name == "$createProcess":
            self.shell = argument["shellLaunchConfig"]
            result = {"persistentTerminalId": 7}
        link.send(REGULAR, encode([201, number]) + encode(result))
        if name == "$start":
            done = subprocess.run([self.shell["executable"], *self.shell["args"]], capture_output=True, text=True)
            said = "sh: not found" if FAULT == "broken shell" else done.stdout
            link.send(REGULAR, encode([204, self.listening["$onProcessDataEvent"]]) + encode({"id": 7, "event": said}))
        elif name == "watch" and FAULT != "blind":
            changes = [{"type": 1, "resource": {"path": f"{argument[2]['path']}/watched-1"}}]
            link.send(REGULAR, encode([204, self.listening["fileChange"]]) + encode(changes))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass


def leave_traces() -> None:
    """What the real one (4.139) writes whatever its options say: its log, its heartbeat, the machine's identifier."""
    home = Path(os.environ["HOME"])
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    for file in (data / "code-server/coder-logs/stdout.log", data / "code-server/heartbeat"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    (cache / "Microsoft/DeveloperTools").mkdir(parents=True, exist_ok=True)
    (cache / "Microsoft/DeveloperTools/deviceid").write_text("an identifier")


def main() -> None:
    leave_traces()
    if "--list-extensions" in sys.argv:
        if FAULT == "cannot list":
            sys.exit("ENOENT: no such file or directory, open 'product.json'")
        for each in extensions(Path(option("extensions-dir")), False):
            print(f"{each['identifier']['value']}@1.0.0")
        return
    if FAULT == "ends":
        sys.exit("Error: Cannot find module 'argon2'")
    subprocess.Popen(["sleep", "1000"])  # a child, as its extension host is one
    host, port = option("bind-addr").split(":")
    server = http.server.ThreadingHTTPServer((host, int(port)), Editor)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
