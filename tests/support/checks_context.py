"""A place to run checks in, and the proof that they left nothing behind."""

from __future__ import annotations

import os
import secrets
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from slimagent.checks import Context, run
from slimagent.linux.family import spawn
from slimagent.model.profile import CheckSpec, Parameter
from slimagent.model.result import CheckResult, Item
from slimagent.model.user import User

IS_ROOT = os.geteuid() == 0
NOBODY = User(name="nobody", uid=65534, gid=65534, groups=(65534,), home="/nonexistent")
_MARK = "SLIMAGENT_TEST_PLACE"


class Place:
    """Runs checks with an environment that bears a mark, and a folder of its own for temporary files."""

    def __init__(self, temporary: Path) -> None:
        self.temporary = temporary
        self.mark = secrets.token_hex(8)
        self.env = {**os.environ, _MARK: self.mark}

    def context(self, user: User | None = None, cwd: str = "/", **env: str) -> Context:
        return Context(spawn=spawn, env={**self.env, **env}, user=user, cwd=cwd)

    def check(
        self, kind: str, seconds: float = 30, *, user: User | None = None, path: str = "", **parameters: Parameter
    ) -> CheckResult:
        """Run one check; `path` takes the place of PATH."""
        env = {"PATH": path} if path else {}
        spec = CheckSpec(kind=kind, name="it", seconds=seconds, parameters=parameters)
        return run(spec, self.context(user, **env))

    def shell(self, line: str, seconds: float = 30, *, user: User | None = None) -> CheckResult:
        """Run one check of kind `command` with a line for the shell."""
        spec = CheckSpec(kind="command", name="it", seconds=seconds, parameters={"shell": line})
        return run(spec, self.context(user))

    def running(self) -> list[str]:
        """The command lines of the processes that bear our mark."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(_MARK) == self.mark:
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A place; afterwards no process of it runs, and its folder for temporary files is empty."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    temporary.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    here = Place(temporary)
    yield here
    assert here.running() == []
    assert os.listdir(temporary) == []


def item(result: CheckResult, name: str) -> Item:
    """The one item of that name."""
    (found,) = (each for each in result.items if each.name == name)
    return found


def make_venv(folder: Path) -> Path:
    """A virtual environment without pip; returns its folder of packages."""
    venv.create(folder, symlinks=True, with_pip=False)
    (packages,) = folder.glob("lib/python3*/site-packages")
    return packages
