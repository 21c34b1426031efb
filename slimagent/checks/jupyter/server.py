"""A Jupyter server of the image: start it as configured, send requests, stop it. Its files go to another directory."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from slimagent.checks.context import Context
from slimagent.checks.finding import FaultError, attempt
from slimagent.checks.jupyter.kernel import KernelDeadError, KernelError
from slimagent.checks.loopback import HOST, Answer, Client, RequestError, free_port
from slimagent.checks.output import Output, last_lines
from slimagent.checks.server import Server, serving
from slimagent.model.result import Item, Outcome

_ANSWER = 30.0  # seconds for one answer of a server that is ready
_TAIL = 16 << 10
_LINES, _SHOWN = 100, 10
# The server's own lines begin so; others are a kernel's, or of a traceback. Then what says why: Python, R, shells.
_OF_SERVER = re.compile(r"^\[(?:[DIWEC] \d{4}-|\w+App\])")
_CAUSE = re.compile(
    r"^(?:[\w.]*(?:Error|Exception|Interrupt)\b|Error\b|\S*sh: )"
    r"|: not found$|[Nn]o such file|[Nn]o module named|error while loading|cannot open shared object"
)
_TRACEBACK = " " * 4  # the indentation of the server's tracebacks, and of code lines in those of Python
_SAID = re.compile(r"^\[[WE] [^\]]*\] (?:wrote error: )?['\"]?(.*?)['\"]?$")


@dataclass(slots=True)
class Asking:
    """Requests to a server until `deadline`, in `time.monotonic()` seconds, and its log in the meantime.

    `log` is the server's last output at the last failure.
    """

    client: Client
    deadline: float
    output: Output
    log: str = ""

    def left(self, most: float = _ANSWER) -> float:
        """The seconds for one answer."""
        return max(0.0, min(most, self.deadline - time.monotonic()))

    def until(self, most: float) -> float:
        """The deadline of something that may take `most` seconds."""
        return time.monotonic() + self.left(most)

    def get(self, path: str) -> Answer:
        """GET. Raises RequestError."""
        return self.client.get(path, self._some("GET", path, _ANSWER))

    def content(self, path: str) -> bytes:
        """GET a file. Raises RequestError, also if it is empty."""
        return self.client.content(path, self._some("GET", path, _ANSWER))

    def json(self, method: str, path: str, body: Any = None, most: float = _ANSWER) -> Any:
        """Make a request that is answered in JSON. Raises RequestError."""
        return self.client.json(method, path, self._some(method, path, most), body)

    def _some(self, method: str, path: str, most: float) -> float:
        left = self.left(most)
        if left <= 0:  # a client gives every request a moment, and there may be hundreds
            raise RequestError(f"{method} {path}: the check's time is over")
        return left

    def attempt(self, name: str, step: Callable[[], str]) -> Item:
        """The item of a step, which returns a detail. A failure includes the cause from the log."""
        mark, earlier = self.mark(), self.log

        def explained() -> str:
            try:
                return step()
            except KernelDeadError as error:
                raise FaultError(str(error)) from None
            except (RequestError, KernelError) as error:
                raise FaultError(with_cause(str(error), self.said(mark))) from None

        item = attempt(name, explained)
        if item.outcome is Outcome.FAILED:
            self.note(mark, earlier)
        return item

    def note(self, mark: int, earlier: str) -> None:
        """Keep the log since `mark`, unless it was kept since it was `earlier`."""
        if self.log == earlier:
            lines = self.said(mark)
            if len(lines) > _SHOWN:
                lines = [line for line in lines if not line.startswith(_TRACEBACK)]
            self.log = "\n".join(lines[-_SHOWN:])

    def mark(self) -> int:
        """A point in the log, for `said`."""
        return _size(self.output)

    def said(self, mark: int) -> list[str]:
        """The last lines of the log since a point in it."""
        size = _size(self.output)
        start = mark if mark <= size else 0  # it was truncated in the meantime
        data = os.pread(self.output.fileno(), _TAIL, max(start, size - _TAIL))
        return last_lines(data, _LINES).splitlines()


def _size(output: Output) -> int:
    return os.fstat(output.fileno()).st_size


def with_cause(what: str, lines: Sequence[str], *, of_kernel: bool = False) -> str:
    """What went wrong, with the line of the log that names a cause, if one does.

    A kernel's own lines come before those of the server; `of_kernel`: only they count.
    """
    found = _named([line for line in lines if not line.startswith(_TRACEBACK)])
    if not found and not of_kernel:
        words = (said[1] for said in map(_SAID.match, reversed(lines)) if said)
        found = _named(lines) or next((each for each in words if "denied" in each or "rror" in each), "")
    return f"{what}: {found}" if found and found not in what else what


def _named(lines: Sequence[str]) -> str:
    """The last line that names a cause and is not the server's, with the next one if it ends in a colon, as in R."""
    others = [line.strip() for line in lines if not _OF_SERVER.match(line)]
    at = next((at for at in reversed(range(len(others))) if _CAUSE.search(others[at])), None)
    if at is None:
        return ""
    return " ".join(others[at : at + 2]) if others[at].endswith(":") else others[at]


def running(
    context: Context, command: Sequence[str], *, env: Mapping[str, str], directory: str, root: str, seconds: float
) -> AbstractContextManager[Server]:
    """Start a Jupyter server that serves `root` and may write to `directory`. Raises as `serving` does."""
    token, port = secrets.token_hex(16), free_port()
    client = Client(port=port, headers={"Authorization": f"token {token}"})
    argv = (*command, *_options(context, port=port, token=token, directory=directory, root=root))
    return serving(context, argv, client, env=env, cwd=directory, ready="/api/status", seconds=seconds)


def environment(context: Context, directory: str) -> dict[str, str]:
    """The image's environment, with variables so that all new files go to `directory`.

    The image's own data and configuration are exercised. Where the user has none, Jupyter and its kernels create
    theirs in `directory` instead of the home directory, which may not exist.
    Paths: https://docs.jupyter.org/en/latest/use/jupyter-directories.html and IPython's paths.py.
    """
    env = {**context.env, "JUPYTER_RUNTIME_DIR": os.path.join(directory, "runtime")}
    env["HISTFILE"] = os.path.join(directory, "history")  # of the terminal's shell
    env["npm_config_cache"] = os.path.join(directory, "npm")  # `jupyter labextension list` asks npm for its settings
    home = env.get("HOME", "")
    data = env.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share")
    directories = {
        "JUPYTER_CONFIG_DIR": os.path.join(home, ".jupyter"),
        "JUPYTER_DATA_DIR": os.path.join(data, "jupyter"),
        "IPYTHONDIR": os.path.join(home, ".ipython"),
        "XDG_CACHE_HOME": os.path.join(home, ".cache"),
    }
    if env.get("JUPYTER_PLATFORM_DIRS"):  # then it is where platformdirs has it
        del directories["JUPYTER_CONFIG_DIR"]
    for variable, usual in directories.items():
        if not env.get(variable) and not os.path.isdir(usual):
            env[variable] = os.path.join(directory, variable.lower())
    return env


def lacking(programs: Sequence[str], env: Mapping[str, str]) -> str:
    """The first program that is not on PATH; empty if all are."""
    path = env.get("PATH", os.defpath)
    return next((program for program in programs if shutil.which(program, path=path) is None), "")


def _options(context: Context, *, port: int, token: str, directory: str, root: str) -> list[str]:
    """Options, because they override the image's configuration files."""
    options = [
        "--no-browser",
        f"--ServerApp.ip={HOST}",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.base_url=/",
        "--ServerApp.certfile=",
        "--ServerApp.sock=",
        f"--ServerApp.root_dir={root}",
        f"--ServerApp.preferred_dir={root}",
        f"--IdentityProvider.token={token}",  # jupyter_server 2
        f"--ServerApp.token={token}",  # jupyter_server 1
        "--ContentsManager.allow_hidden=True",  # the temporary directory may be in a hidden one
        "--FileContentsManager.delete_to_trash=False",  # the trash is in the home directory
        "--KernelRestarter.restart_limit=0",  # so that we see a kernel that died
        "--KernelRestarter.time_to_dead=1.0",  # seconds between two looks
        "--NotebookNotary.db_file=:memory:",
        f"--NotebookNotary.secret_file={os.path.join(directory, 'notary')}",
        f"--LabApp.workspaces_dir={os.path.join(directory, 'workspaces')}",
    ]
    if (os.geteuid() if context.user is None else context.user.uid) == 0:
        options.append("--allow-root")
    return options
