"""What a bundle must be able to do: command lines to run under the tracer, and again in the slim bundle."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from slimagent.linux.files import make_directory, write
from slimagent.model.profile import CheckSpec

# Modules that slimagent never needs: graphics, games, tests, installers, other systems.
UNREACHED = (
    *("antigravity", "ensurepip", "idlelib", "lib2to3", "msilib", "pydoc_data", "test", "this", "tkinter", "turtle"),
    *("turtledemo", "unittest", "venv", "sqlite3", "curses", "IPython", "ipywidgets", "pydoc", "doctest", "pdb"),
)
_REACH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "reach_driver.py")
_SECONDS = 300.0
_NO, _USAGE = 1, 2  # exit statuses
_PROFILE = b'name = "bundle"\ndescription = ""\n[[check]]\nkind = "command"\nargv = ["cat", "/dev/null"]\n'
_IMPORT = (
    "import sys; sys.path.insert(0, sys.argv[1]); import slimagent.cli.main, rich.status; "
    "from slimagent.cli.commands import import_all; import_all()"
)
_ON_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A bundle: `entry` starts it, `interpreter` only its Python, and `loading` comes before any program of it.

    `site` is its site-packages, `strip` its GNU strip or None.
    """

    loading: tuple[str, ...]
    entry: tuple[str, ...]
    interpreter: tuple[str, ...]
    site: str
    strip: str | None


class Workload:
    """The command lines. Each works on a small image in `directory`, which `prepare` makes."""

    def __init__(self, agent: Agent, directory: str) -> None:
        self._agent = agent
        self._directory = directory
        self._image = os.path.join(directory, "image")
        self._scope = ("--scope", self._image)

    def prepare(self) -> None:
        """Make the small image and what the commands read. Raises UnavailableError."""
        shutil.rmtree(self._directory, ignore_errors=True)
        make_directory(self._image)
        write(os.path.join(self._image, "used"), b"used\n")
        write(os.path.join(self._image, "unused"), b"unused\n" * 10_000)
        write(self._at("profile.toml"), _PROFILE)

    def seed(self) -> tuple[CheckSpec, ...]:
        """What prepares the watched commands. It cannot be watched itself: a process can have only one tracer.

        It writes the missing bytecode, so that everything after starts faster.
        """
        writing = tuple(word for word in self._agent.interpreter if word != "-B")
        warm = _check("bytecode", (*writing, "-c", _IMPORT, self._agent.site))
        traced = self._call("trace", *self._scope, "-o", self._at("trace.json"), "--", "cat", self._image + "/used")
        return warm, traced

    def watched(self) -> tuple[CheckSpec, ...]:
        """Every command that can run under the tracer, and the code that no command reaches today."""
        agent, plan, used = self._agent, self._at("plan.json"), self._image + "/used"
        planning = ("plan", self._at("trace.json"), *self._scope, "-o", plan)
        return (
            _check("reach", (*agent.interpreter, _REACH, agent.site, *UNREACHED)),
            self._call("--version"),
            self._call("--help"),
            self._terminal(*planning),
            self._call("merge", self._at("trace.json"), "-o", self._at("merged.json")),
            self._call("explain", plan, used),
            *(self._call("apply", plan, to, self._at("slim" + to)) for to in ("--tar", "--to")),
            self._call("check", "--profile", self._at("profile.toml"), "-o", self._at("checks.json")),
            self._call("profiles"),
            self._call("detect"),
            self._call("plan", self._at("none.json"), status=_USAGE),
            self._call("check", "--wrong", status=_USAGE),
            *([] if agent.strip is None else [_check("strip", (*agent.loading, agent.strip, "--version"))]),
        )

    def alone(self) -> tuple[CheckSpec, ...]:
        """What can only run unwatched: a whole run, and a command that fails."""
        command = ("run", *self._scope, "--out", self._at("run"), "--", "cat", self._image + "/used")
        return (
            self._call(*command),
            self._call("trace", *self._scope, "-o", self._at("no.json"), "--", "false", status=_NO),
        )

    def _at(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def _terminal(self, *arguments: str) -> CheckSpec:
        argv = (*self._agent.interpreter, "-c", _ON_A_TERMINAL, *self._agent.entry, *arguments)
        return _check(f"{arguments[0]} on a terminal", argv)

    def _call(self, *arguments: str, status: int = 0) -> CheckSpec:
        return _check(" ".join(arguments[:1]), (*self._agent.entry, *arguments), status)


def _check(name: str, argv: Sequence[str], status: int = 0) -> CheckSpec:
    parameters = {"shell": f"{shlex.join(argv)}; test $? = {status}"} if status else {"argv": tuple(argv)}
    return CheckSpec(kind="command", name=name, seconds=_SECONDS, parameters=parameters)
