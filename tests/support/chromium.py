"""A real Chromium for tests: pages opened from files, keys and clicks as a person gives them, pictures of the screen.

SLIMAGENT_TEST_CHROMIUM names the program, else one on the PATH is used, else that of the image slimagent-test-browser
(tests/container/test_code_server.py makes it). It is driven by the Chrome DevTools Protocol over a websocket.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import re
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket

IMAGE = "slimagent-test-browser"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-sync"),
    *("--hide-scrollbars", "--force-color-profile=srgb", "--remote-debugging-port=0", "--remote-allow-origins=*"),
)
LIMIT = 60  # seconds
# Keys that are no characters: their codes (UI Events, KeyboardEvent.keyCode) and what they type.
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), "Backspace": (8, ""), "Home": (36, "")}
KEYS |= {f"Arrow{way}": (code, "") for way, code in (("Left", 37), ("Up", 38), ("Right", 39), ("Down", 40))}


class Page:
    """An open page. `asked` has every address that it asked for, `complaints` what it said on the console."""

    def __init__(self, socket: websocket.WebSocket, session: str | None, numbers: Iterator[int]) -> None:
        self._socket, self._session, self._numbers = socket, session, numbers
        self.asked: list[str] = []
        self.complaints: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and take note of what happened meanwhile."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:  # else the browser itself is asked
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        said = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.asked.append(said["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(said["exceptionDetails"]))
        elif event.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled"):
            self.complaints.append(json.dumps(said))

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript, as JSON; a promise is waited for."""
        done = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def open(self, file: Path, *, scripts: bool = True) -> None:
        """Open a file, and wait until its picture is there, or its tables without scripts."""
        for domain in ("Page", "Network", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call("Page.navigate", url=file.resolve().as_uri())
        ready = "document.readyState === 'complete'"
        if scripts:
            ready += " && (!document.querySelector('#picture') || document.documentElement.dataset.ready !== undefined)"
        self.wait_until(ready)

    def visit(self, address: str) -> None:
        """Open a page of a server."""
        for domain in ("Page", "Network", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")
        assert "errorText" not in self.call("Page.navigate", url=address)

    def wait_until(self, expression: str) -> None:
        """Wait until an expression is true. The page may have no scripts of its own, and then has no clock either."""
        until = time.monotonic() + LIMIT
        while not self.evaluate(expression):
            assert time.monotonic() < until, f"not in {LIMIT} s: {expression}"
            time.sleep(0.02)

    def screen(self, width: int, height: int, *, dark: bool = False, reduced: bool = True) -> None:
        """Be a screen of that size, light or dark, with or without movement."""
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1,
                  mobile=phone)  # fmt: skip
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if reduced else "no-preference"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def picture(self, file: Path, *, whole: bool = False) -> None:
        """Write what is on the screen, or the whole page, as a PNG."""
        options: dict[str, Any] = {"format": "png"}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            options |= {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **options)["data"]))

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key and let it go."""
        code, text = KEYS[key]
        said = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", **said, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **said)

    def write(self, text: str) -> None:
        """Type a text where the focus is."""
        self.call("Input.insertText", text=text)

    def move(self, x: float, y: float) -> None:
        """Move the pointer to a place of the screen."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x: float, y: float) -> None:
        """Click at a place of the screen."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


@contextlib.contextmanager
def chromium(*places: Path) -> Iterator[Page]:
    """A page of a new Chromium, which can read the files below `places`. Skips without one (strict: fails)."""
    name = f"slimagent-test-{secrets.token_hex(4)}"
    process = subprocess.Popen(_command(name, places), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        with contextlib.closing(websocket.create_connection(_address(process), timeout=LIMIT)) as socket:
            numbers = itertools.count(1)
            browser = Page(socket, None, numbers)
            target = browser.call("Target.createTarget", url="about:blank")["targetId"]
            attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
            yield Page(socket, attached["sessionId"], numbers)
    finally:
        process.terminate()
        process.wait()
        if process.args[0] == "docker":  # type: ignore[index]
            subprocess.run(["docker", "rm", "-f", name], capture_output=True, check=False)


def _command(name: str, places: tuple[Path, ...]) -> list[str]:
    named = os.environ.get("SLIMAGENT_TEST_CHROMIUM")
    program = named or next(filter(None, map(shutil.which, NAMES)), None)
    if program:
        return [program, *OPTIONS, "about:blank"]
    if (
        shutil.which("docker")
        and not subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True).returncode
    ):
        mounts = [part for place in places for part in ("-v", f"{place.resolve()}:{place.resolve()}:ro")]
        run = ["docker", "run", "--rm", "--init", "--name", name, "--network=host", *mounts, "--entrypoint", "chromium"]
        return [*run, IMAGE, *OPTIONS, "about:blank"]
    why = f"no Chromium (Debian: chromium) and no image {IMAGE}"
    (pytest.fail if os.environ.get("SLIMAGENT_TEST_STRICT") else pytest.skip)(why)
    raise AssertionError


def _address(process: subprocess.Popen[str]) -> str:
    """Where the browser listens, which it says on standard error; what else it says is read and forgotten."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        found = re.search(r"ws://\S+", line)
        if found:
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return found[0]
    raise AssertionError("".join(said))
