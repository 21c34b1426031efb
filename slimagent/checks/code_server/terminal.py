"""A terminal and a file watcher of VS Code's server, requested as its page requests them. Each is a separate process.

Source: src/vs/workbench/contrib/terminal/common/remote/remoteTerminalChannel.ts and terminal.ts beside it, and
src/vs/platform/files/common/diskFileSystemProviderClient.ts of github.com/microsoft/vscode (as of 1.100).
"""

from __future__ import annotations

import os
import time
import uuid
from typing import Any

from slimagent.checks.answers import member
from slimagent.checks.code_server.remote import Connection, RemoteError, RemoteLateError
from slimagent.checks.output import last_lines

_TERMINAL, _FILES = "remoteterminal", "remoteFilesystem"
_SAYS = "in-42"
_LINE = "echo in-$((40+2))"
_LONGEST = 1 << 16  # characters of a terminal's output that are kept
_AGAIN = 0.5  # seconds between two changes that a watcher may report


class Terminal:
    """A terminal that runs one line of shell. Create it, wait until it is `made`, then `finish`."""

    def __init__(self, connection: Connection, directory: str, until: float) -> None:
        """Request it. Raises RemoteError."""
        self._connection = connection
        self._data = connection.listen(_TERMINAL, "$onProcessDataEvent", None, until)
        self._asked = connection.ask(_TERMINAL, "$createProcess", _process(directory), until)
        self._identity: int | None = None

    def made(self, until: float) -> bool:
        """Whether it exists; if not, ask again. Raises RemoteError."""
        if self._identity is None:
            try:
                answer = self._connection.answer(self._asked, until)
            except RemoteLateError:
                return False
            identity = member(answer, "persistentTerminalId")
            if not isinstance(identity, int):
                raise RemoteError("the answer to the request for a terminal does not name one")
            self._identity = identity
        return True

    def finish(self, until: float) -> None:
        """Start the shell of a terminal that exists, and wait for its output. Raises RemoteError."""
        wrong = self._connection.call(_TERMINAL, "$start", [self._identity], until)
        if isinstance(wrong, dict) and wrong.get("message"):
            raise RemoteError(f"the shell does not start: {str(wrong['message'])[:300]}")
        written = ""
        while _SAYS not in written:
            try:
                written = (written + _text(self._connection.event(self._data, until), self._identity))[-_LONGEST:]
            except RemoteError as error:
                said = " ".join(last_lines(written.encode("utf-8", "replace"), 3).split())
                raise RemoteError(f"{_LINE!r} wrote {said!r}: {error}" if said else str(error)) from None


def _process(directory: str) -> dict[str, Any]:
    """ICreateTerminalProcessArguments for a shell in a directory. No reconnection will find it again."""
    return {
        "configuration": {"terminal.integrated.detectLocale": "auto", "terminal.integrated.unicodeVersion": "11"},
        "resolvedVariables": {},
        "envVariableCollections": [],
        "shellLaunchConfig": {"executable": "/bin/sh", "args": ["-c", _LINE], "cwd": directory},
        "workspaceId": "slimagent",
        "workspaceName": "slimagent",
        "workspaceFolders": [],
        "activeWorkspaceFolder": None,
        "shouldPersistTerminal": False,
        "options": {
            "shellIntegration": {"enabled": False, "suggestEnabled": False, "nonce": ""},
            "windowsEnableConpty": False,
            "windowsUseConptyDll": False,
            "environmentVariableCollections": None,
            "workspaceFolder": None,
        },
        "cols": 80,
        "rows": 24,
        "unicodeVersion": "11",
    }


def _text(event: Any, identity: int | None) -> str:
    """The text of a data event of that terminal, which is in an object under `data` until 1.70."""
    if not isinstance(event, dict) or event.get("id") != identity:
        return ""
    data = event.get("event")
    return str(data.get("data", "") if isinstance(data, dict) else data)


def watch(connection: Connection, directory: str, until: float) -> None:
    """Watch a directory recursively, make files in it, and wait until one is reported. Raises RemoteError."""
    session = str(uuid.uuid4())
    changes = connection.listen(_FILES, "fileChange", [session], until)
    resource = {"$mid": 1, "scheme": "vscode-remote", "authority": "remote", "path": directory}
    connection.call(_FILES, "watch", [session, 1, resource, {"recursive": True, "excludes": []}], until)
    number = 0
    while True:
        number += 1
        with open(os.path.join(directory, f"watched-{number}"), "x"):
            pass
        try:
            reported = connection.event(changes, min(until, time.monotonic() + _AGAIN))
        except RemoteLateError:  # a watcher starts after the answer, and does not see earlier files
            if time.monotonic() >= until:
                raise
            continue
        if isinstance(reported, str):
            raise RemoteError(f"the watcher reports {reported[:300]}")
        if isinstance(reported, list) and any("watched-" in str(each) for each in reported):
            return
