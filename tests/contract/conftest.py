"""Each tracing backend, the C program that they watch, a limit on every test, and no process left behind."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract import leftovers
from tests.contract.file_calls import PATIENCE, FileCalls

BACKENDS = [
    ("slimagent.trace.seccomp.backend", "Seccomp"),
    ("slimagent.trace.fanotify.backend", "Fanotify"),
    ("slimagent.trace.inotify.backend", "Inotify"),
    ("slimagent.trace.cross_check", "SeccompFanotify"),
    ("tests.contract.fake", "Fake"),
]
HERE = Path(__file__).parent
SOURCES = HERE.parent / "c"
LIMIT = 150 * PATIENCE  # seconds: a watcher that does not answer hangs what it watches


def lacking(reason: str) -> None:
    """Skip on a machine that lacks something; fail where all must be there (SLIMAGENT_TEST_STRICT=1)."""
    if os.environ.get("SLIMAGENT_TEST_STRICT") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def mount_namespaces() -> None:
    """A test needs `unshare -m`. Where it is refused though fanotify is not, that is a security module's doing."""
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True)
    if done.returncode != 0:
        lacking(f"no mount namespace can be made here: {done.stderr.strip()}")


@dataclass(frozen=True)
class Backend:
    """A backend's class, called as the class is: it watches where the program is and what it touches."""

    made_by: Any
    folders: tuple[bytes, ...]

    def __call__(self, **options: Any) -> Any:
        return self.made_by(directories=self.folders, **options)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self.made_by, attribute)


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend[1])
def watcher_class(request: pytest.FixtureRequest, calls: FileCalls) -> Backend:
    """A backend, if it can be used here."""
    module, name = request.param
    made_by = getattr(importlib.import_module(module), name)
    reason = made_by.unavailable()
    if reason is not None:
        lacking(f"{made_by.name}: {reason}")
    return Backend(made_by, (calls.folder, os.fsencode(os.path.dirname(calls.program))))


@pytest.fixture(scope="session")
def processes_mark() -> int:
    """What all processes that the tests start have in common."""
    return leftovers.mark()


@pytest.fixture(autouse=True)
def _nothing_is_left(processes_mark: int) -> Iterator[None]:
    """End what a test left running, however it ended, and let that test fail instead of the next ones."""
    before = leftovers.marked(processes_mark)
    yield
    left = leftovers.end_others(processes_mark, before)
    if left:
        pytest.fail(f"left running: {'; '.join(left)}", pytrace=False)


@pytest.fixture(scope="session")
def program() -> Iterator[str]:
    """The C program, compiled, where every user can execute it."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        lacking("no C compiler: install gcc and the C library's headers")
    folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="file-calls-", dir="/tmp")))
    folder.chmod(0o755)
    target = folder / "file_calls"
    sources = sorted(map(str, SOURCES.glob("*.c")))
    options = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-pthread"]
    subprocess.run([str(compiler), *options, "-o", str(target), *sources], check=True)
    yield str(target)
    shutil.rmtree(folder)


@pytest.fixture
def calls(program: str) -> Iterator[FileCalls]:
    """The program with a prepared folder that every user can reach and write."""
    folder = os.fsencode(os.path.realpath(tempfile.mkdtemp(prefix="watched-", dir="/tmp")))
    os.chmod(folder, 0o777)
    file_calls = FileCalls(program, folder)
    file_calls.prepare()
    yield file_calls
    shutil.rmtree(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test of this folder its limit; pytest hands over all tests."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(LIMIT))
