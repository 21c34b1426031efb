"""T1 and T2: whatever way a program has to name a file, it is seen, or a loss, or written down. The ways are in C."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slimagent.errors import UnavailableError
from slimagent.linux.command import Command
from slimagent.model.trace import Loss
from slimagent.trace.seccomp.backend import Seccomp
from slimagent.trace.select import choose
from tests.contract.conftest import BACKENDS, lacking

EVASIONS = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "evasions"
WAYS = re.findall(r'\{"([a-z0-9-]+)", \w+\}', (EVASIONS / "evasions.c").read_text(encoding="utf-8"))
NAMES = ("seccomp", "fanotify", "inotify", "seccomp+fanotify")

# What seccomp cannot see, and the kind of loss that says so. Everything else it sees, or docs/evasions.md tells.
KINDS = {
    **dict.fromkeys(("secret-memory", "secret-rest", "secret-how", "fault-memory"), "unreadable-memory"),
    **dict.fromkeys(("handle-of-now", "handle-of-before"), "opened-by-handle"),
    **dict.fromkeys(("foreign-i386", "foreign-x32"), "foreign-call"),
    **dict.fromkeys(("bind-mount", "bind-over", "bind-file", "tree-clone", "tree-moved"), "mounts-changed"),
    **dict.fromkeys(("overlay-mounted", "overlay-unmounted", "second-proc"), "mounts-changed"),
    **dict.fromkeys(("own-mounts", "own-user", "cloned-mounts", "cloned-vfork"), "mount-namespace"),
    **dict.fromkeys(("entered-by-file", "entered-by-process", "root-pivoted"), "mount-namespace"),
    "through-other-namespace": "mount-namespace",
    **dict.fromkeys(("undumpable-fork", "shared-directory", "thread-directory"), "unreadable-path"),
}
UNSEEN = ("changed-path", "socket-message", "given-descriptor")  # documented
# What hides a file where its name is not there: the call that names it is seen though its use is not.
NAMED_FIRST = ("handle-of-now", "bind-over", "bind-file", "tree-moved")


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("evasions_inside", EVASIONS / "inside.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


inside = _load()


@pytest.fixture(scope="module")
def evasions() -> Iterator[tuple[str, str]]:
    """The program, and a directory where every user can work."""
    compiler = shutil.which("cc")
    if compiler is None:
        lacking("no C compiler: install gcc and the C library's headers")
    folder = Path(tempfile.mkdtemp(prefix="evasions-", dir="/tmp"))
    folder.chmod(0o755)
    program = folder / "evasions"
    options = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread"]
    subprocess.run([str(compiler), *options, "-o", str(program), str(EVASIONS / "evasions.c")], check=True)
    yield str(program), str(folder)
    shutil.rmtree(folder)


def _attempt(evasions: tuple[str, str], way: str, backend: str, *, masked: bool = False) -> Any:
    try:
        choose(backend)
    except UnavailableError as error:
        lacking(error.message)
    return inside.attempt(evasions[0], way, backend, evasions[1], masked=masked)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_a_file_is_seen_or_a_loss_of_its_kind(evasions: tuple[str, str], way: str) -> None:
    """T1: seccomp sees the file by the name that it has in the image, or counts the way as a loss of the right kind."""
    result = _attempt(evasions, way, "seccomp")
    if result.verdict == "refused":
        return  # no file was used: the machine does not let a process do that
    if way in UNSEEN:
        assert result.verdict in ("seen", "documented")
    elif way in KINDS:
        assert result.verdict == "seen" or (result.verdict == "loss" and KINDS[way] in result.detail)
        assert KINDS[way] in result.detail or (result.verdict, KINDS[way]) == ("seen", "unreadable-path")
    else:
        assert (result.verdict, result.detail) in (("seen", ""), ("seen", "looked up"))


@pytest.mark.parametrize("way", WAYS)
def test_no_way_gets_at_a_masked_file_in_silence(evasions: tuple[str, str], way: str) -> None:
    """T2: where every file is to look gone, a way does not get at one, or the run is no proof: it has a loss."""
    result = _attempt(evasions, way, "seccomp", masked=True)
    if way in UNSEEN:
        assert result.verdict in ("hidden", "documented")
    elif way in KINDS and way not in NAMED_FIRST:
        assert result.verdict == "hidden" or KINDS[way] in result.detail
    else:
        assert result.verdict in ("hidden", "loss") if way in NAMED_FIRST else result.verdict == "hidden"


@pytest.mark.parametrize("backend", [name for name in NAMES if name != "seccomp"])
@pytest.mark.parametrize("way", WAYS)
def test_no_backend_is_evaded_in_silence(evasions: tuple[str, str], way: str, backend: str) -> None:
    """T1: of the others each sees the file, has a loss, or is documented not to see what is used like that."""
    assert _attempt(evasions, way, backend).verdict != "SILENT"


MOUNTED_BEFORE = """
import os, subprocess, sys
from slimagent.linux.command import Command
from slimagent.trace.seccomp.backend import Seccomp
place = sys.argv[1]
subprocess.run(["mount", "--bind", place + "/d", place + "/mounts"], check=True)
with Seccomp() as watcher:
    watcher.step("read")
    assert watcher.spawn(Command(["cat", place + "/mounts/file"], env=dict(os.environ), stdout=-3)).wait() == 0
observed = watcher.finish()
assert observed.losses == (), observed.losses
print(*sorted(os.fsdecode(path) for path in observed.accesses if place.encode() in path))
"""


@pytest.mark.usefixtures("mount_namespaces")
def test_a_second_mount_from_before_the_run_is_seen_through(evasions: tuple[str, str]) -> None:
    """T1: a file below a mount that shows a part of the image once more is seen by both of its names."""
    place = os.path.realpath(tempfile.mkdtemp(prefix="mounted-", dir=evasions[1]))
    subprocess.run([evasions[0], place, "prepare"], check=True)
    command = ["unshare", "-m", sys.executable, "-c", MOUNTED_BEFORE, place]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.stdout.split() == [f"{place}/d/file", f"{place}/mounts/file"]


def test_a_masked_file_that_a_call_would_make_is_a_loss(tmp_path: Path) -> None:
    """T2: with O_CREAT a file that looks gone would be found with its content, and not made: that is no proof."""
    gone = tmp_path / "gone"
    gone.write_text("content", encoding="ascii")
    script = f"import os; os.read(os.open({str(gone)!r}, os.O_RDWR | os.O_CREAT), 9)"
    with Seccomp(mask=os.fsencode(gone).__eq__) as watcher:
        watcher.step("make")
        command = [sys.executable, "-I", "-S", "-c", script]
        assert watcher.spawn(Command(command, env=inside.ENVIRONMENT)).wait(timeout=60) == 0
    assert [(loss.kind, loss.example) for loss in watcher.finish().losses] == [("not-masked", str(gone))]


def test_every_way_is_tried_and_every_exception_is_one() -> None:
    """The tables of exceptions name ways that exist, and the benchmark tries all that the program has."""
    assert len(WAYS) > 60
    assert {*KINDS, *UNSEEN, *NAMED_FIRST, *inside.DOCUMENTED} <= set(WAYS)
    assert set(NAMES) == set(inside.BACKENDS) == {"seccomp", *(set(NAMES) - {"seccomp"})}
    assert len(NAMES) == len([name for _, name in BACKENDS if name != "Fake"])


def test_the_benchmark_knows_silence_when_it_hears_it(evasions: tuple[str, str], monkeypatch: Any) -> None:
    """A watcher that forgets the file and says nothing does not pass; one that says that it lost something does."""

    def silent(said: Any, way: str, watched: Any, seen: Any, place: str, losses: tuple[Loss, ...] = ()) -> Any:
        observed = watched.observed
        object.__setattr__(observed, "losses", losses)
        return judge(said, way, watched, {}, place)

    judge = inside._judge
    monkeypatch.setattr(inside, "_judge", silent)
    assert _attempt(evasions, "beneath", "seccomp").verdict == "SILENT"
    loss = (Loss(kind="queue-overflow", count=1, example=""),)
    monkeypatch.setattr(inside, "_judge", lambda *given: silent(*given, losses=loss))
    assert _attempt(evasions, "beneath", "seccomp") == ("loss", "queue-overflow")
