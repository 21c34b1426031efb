"""Start a code-server so that it uses the image's extensions and configuration, and leaves nothing behind.

Its options and variables are those of src/node/cli.ts and src/node/util.ts in github.com/coder/code-server (as of
4.139). jupyter-vscode-proxy passes CODE_EXTENSIONSDIR to it as --extensions-dir.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass

from slimagent.checks.code_server.extensions import listed_by_command
from slimagent.checks.context import Context
from slimagent.checks.directory import give, start_of
from slimagent.checks.loopback import HOST
from slimagent.checks.program import complete

# Set inside an editor or by whoever runs the container: each would override one of our options, or redirect us.
_UNSET = ("PORT", "CODE_SERVER_HOST", "CODE_SERVER_PARENT_PID", "CODE_SERVER_SESSION_SOCKET", "VSCODE_IPC_HOOK_CLI")
_OPTIONS = ("--auth=none", "--disable-telemetry", "--disable-update-check", "--disable-workspace-trust")
_SETTINGS = {
    "extensions.autoUpdate": False,  # with a page open it downloads newer versions of what the image has
    "extensions.autoCheckUpdates": False,
    "remote.autoForwardPortsSource": "output",
    "remote.autoForwardPorts": False,  # it searches every process for ports, including the browser
    "workbench.startupEditor": "none",
}
_CONFIGURED = re.compile(r"^extensions-dir:\s*[\"']?([^\"'#\n]+)", re.MULTILINE)
_LARGEST_CONFIGURATION = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A code-server that can be started: its command, environment and directories. All but `extensions` are temporary.

    `workspace` is a directory to open, with a file in it. `scratch` is empty. `configuration` is an option, if needed.
    """

    context: Context
    command: tuple[str, ...]
    env: dict[str, str]
    data: str
    workspace: str
    scratch: str
    extensions: str
    configuration: tuple[str, ...]

    def argv(self, port: int) -> tuple[str, ...]:
        """The command line of a server at a port of the loopback interface."""
        return (*self.command, *self._directories(), *_OPTIONS, f"--bind-addr={HOST}:{port}")

    def lists(self) -> tuple[str, ...]:
        """The command line that lists what is installed."""
        return (*self.command, *self._directories(), "--list-extensions", "--show-versions")

    def _directories(self) -> tuple[str, ...]:
        return (f"--user-data-dir={self.data}", f"--extensions-dir={self.extensions}", *self.configuration)


def prepare(command: tuple[str, ...], directory: str, context: Context, extensions: str) -> Place:
    """Make the directories of a code-server in `directory`. `extensions` is where its extensions are.

    If empty, they are where CODE_EXTENSIONSDIR says, else where the configuration says, else in code-server's default
    directory if that exists. Raises OSError.
    """
    env = {name: value for name, value in context.env.items() if name not in _UNSET}
    configuration = _configuration(env)
    written = _CONFIGURED.search(start_of(configuration, _LARGEST_CONFIGURATION))
    wanted = extensions or env.get("CODE_EXTENSIONSDIR", "") or (written[1].strip() if written else "")
    data = os.path.join(directory, "data")
    workspace, scratch = os.path.join(directory, "workspace"), os.path.join(directory, "browser")
    for each in (data, workspace, scratch):
        os.mkdir(each)
    for each in ("User", "Machine"):
        os.mkdir(os.path.join(data, each))
        _write(os.path.join(data, each, "settings.json"), json.dumps(_SETTINGS))
    _write(os.path.join(workspace, "hay"), "needle\n")
    for here, _, names in os.walk(directory):
        for path in (here, *(os.path.join(here, name) for name in names)):
            give(path, context.user)
    own = f"--config={os.path.join(directory, 'config.yaml')}"
    return Place(
        context=context,
        command=command,
        env={**env, **_own_places(directory)},
        data=data,
        workspace=workspace,
        scratch=scratch,
        extensions=wanted or _usual(env, directory),
        configuration=() if os.path.lexists(configuration) else (own,),  # otherwise it creates one
    )


def _own_places(directory: str) -> dict[str, str]:
    """Where it writes in spite of its options: sockets, its log and heartbeat, and the machine's identifier."""
    return {
        "TMPDIR": directory,
        "XDG_DATA_HOME": os.path.join(directory, "share"),
        "XDG_CACHE_HOME": os.path.join(directory, "cache"),
    }


def _write(path: str, content: str) -> None:
    with open(path, "x", encoding="utf-8") as file:
        file.write(content)


def _configuration(env: dict[str, str]) -> str:
    home = env.get("XDG_CONFIG_HOME") or os.path.join(env.get("HOME", "/"), ".config")
    return env.get("CODE_SERVER_CONFIG") or os.path.join(home, "code-server", "config.yaml")


def _usual(env: dict[str, str], directory: str) -> str:
    home = env.get("XDG_DATA_HOME") or os.path.join(env.get("HOME", "/"), ".local", "share")
    usual = os.path.join(home, "code-server", "extensions")
    return usual if os.path.isdir(usual) else os.path.join(directory, "extensions")


def listed(place: Place, seconds: float) -> tuple[frozenset[str] | None, str]:
    """The identities that the command line lists, or None and why it does not. Raises OSError if it cannot start."""
    ended = complete(place.context, place.lists(), env=place.env, cwd=place.workspace, seconds=seconds)
    if not ended.well:
        return None, f"--list-extensions: {ended.why}"
    return listed_by_command(ended.last), ""
