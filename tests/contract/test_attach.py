"""Fanotify attached: what everybody does, but the agent, and what processes hold that already run."""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from slimagent.model.trace import BlindSpot, How
from slimagent.trace.fanotify.backend import Fanotify
from slimagent.trace.fanotify.running import record_running
from slimagent.trace.record import Record
from tests.contract.conftest import lacking

NOBODY = 65534
WAITS = "os.write(1, b'.'); os.read(0, 1)"


@pytest.fixture
def folder() -> Iterator[bytes]:
    """A folder by its real name, which every user can enter."""
    reason = Fanotify.unavailable()
    if reason is not None:
        lacking(f"fanotify: {reason}")
    made = os.fsencode(os.path.realpath(tempfile.mkdtemp(prefix="attach-", dir="/tmp")))
    os.chmod(made, 0o755)
    yield made
    shutil.rmtree(made)


def make(path: bytes) -> bytes:
    """A file of a page, so that it can be mapped."""
    with open(path, "wb") as file:
        file.write(bytes(mmap.PAGESIZE))
    return path


@contextlib.contextmanager
def running(script: str, *arguments: bytes, before: tuple[str, ...] = (), **options: Any) -> Iterator[int]:
    """A process that somebody else started, once it has done what the script says and until the block ends."""
    command = [*before, sys.executable, "-I", "-S", "-c", f"import mmap, os, sys\n{script}\n{WAITS}"]
    process = subprocess.Popen([*command, *map(os.fsdecode, arguments)], stdin=-1, stdout=-1, **options)
    try:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."
        yield process.pid
    finally:
        process.communicate()


def held(folder: bytes) -> tuple[dict[bytes, How], dict[str, tuple[int, str]]]:
    """What running processes hold below the folder, and the losses."""
    record = Record()
    record_running(record)
    found = record.steps.get(0, {})
    return {path: How(how) for path, how in found.items() if path.startswith(folder)}, record.losses


def test_what_others_do_is_seen_step_by_step(folder: bytes) -> None:
    """Processes that the watcher did not start count, before and after they are gone; the agent's own opens do not."""
    first, second, own = (make(folder + name) for name in (b"/first", b"/second", b"/own"))
    with Fanotify(attach=True) as watcher:
        assert watcher.step("first") == 0
        subprocess.run(["cat", first], check=True, stdout=subprocess.DEVNULL)
        assert watcher.step("second") == 1
        with running("open(sys.argv[1]).close(); os.listdir(sys.argv[2])", second, folder), open(own):
            pass
    accesses = watcher.finish().accesses
    assert accesses[first] == (How.OPENED, (0,))
    assert accesses[second] == (How.OPENED, (1,))
    assert accesses[folder] == (How.LISTED, (1,))
    assert own not in accesses
    assert set(watcher.blind_spots) == {BlindSpot.LOOKUPS, BlindSpot.WHO, BlindSpot.TESTS}


def test_what_already_runs_is_evidence_and_a_loss(folder: bytes) -> None:
    """Program, maps, descriptors, working folder of what ran before; that it did more before nobody can know."""
    program, mapped, opened = folder + b"/python", make(folder + b"/mapped"), make(folder + b"/opened")
    script = (
        "file = open(sys.argv[1], 'rb'); pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ); file.close()\n"
        "kept = open(sys.argv[2]); listed = os.open('/usr/lib', os.O_RDONLY); os.chdir(sys.argv[3])"
    )
    os.mkdir(folder + b"/cwd")
    with running(script, mapped, opened, folder + b"/cwd"), Fanotify(attach=True) as watcher:
        assert watcher.step("first") == 0
    observed = watcher.finish()
    assert observed.accesses[mapped] == (How.OPENED, (0,))
    assert observed.accesses[opened] == (How.OPENED, (0,))
    assert observed.accesses[folder + b"/cwd"] == (How.LISTED, (0,))
    assert observed.accesses[b"/usr/lib"][0] & How.LISTED
    assert observed.accesses[os.path.realpath(os.fsencode(sys.executable))][0] & How.EXECUTED
    assert program not in observed.accesses
    (loss,) = (loss for loss in observed.losses if loss.kind == "already-running")
    assert loss.count >= 1
    assert loss.example


def test_each_running_process_counts_once(folder: bytes) -> None:
    """The count of the loss grows by the processes that run, not by what they hold."""
    before = held(folder)[1]["already-running"][0] if "already-running" in held(folder)[1] else 0
    path = make(folder + b"/file")
    with contextlib.ExitStack() as several:
        numbers = [several.enter_context(running("kept = open(sys.argv[1])", path)) for _ in range(20)]
        found, losses = held(folder)
        assert len(set(numbers)) == 20
    assert found == {path: How.OPENED}
    assert losses["already-running"][0] >= before + 20 - 10  # other processes of the machine come and go


def test_a_process_of_another_user_is_read(folder: bytes) -> None:
    """What a service holds under a user of its own is evidence, and we are ourselves again after it."""
    path = make(folder + b"/file")
    ours = (os.geteuid(), os.getegid())
    process = subprocess.Popen(["tail", "-f", path], stdout=subprocess.PIPE, user=NOBODY, group=NOBODY)
    try:
        assert process.stdout is not None
        process.stdout.read(1)
        found, _ = held(folder)
    finally:
        process.kill()
        process.communicate()
    assert found == {path: How.OPENED}
    with open("/proc/thread-self/status") as file:
        ids = [line.split()[4] for line in file if line.startswith(("Uid:", "Gid:"))]
    assert tuple(map(int, ids)) == ours


def test_a_removed_file_that_is_held_has_its_name(folder: bytes) -> None:
    """A library that was replaced under a running service is evidence by the name it had."""
    path = make(folder + b"/gone")
    with running("kept = open(sys.argv[1]); os.unlink(sys.argv[1]); m = os.memfd_create('x')", path):
        found, _ = held(folder)
    assert found == {path: How.OPENED}


@pytest.mark.usefixtures("mount_namespaces")
def test_another_mount_namespace_is_another_image(folder: bytes) -> None:
    """What a container beside us holds is no evidence, and no loss of ours."""
    path = make(folder + b"/file")
    with running("kept = open(sys.argv[1])", path, before=("unshare", "-m")):
        found, _ = held(folder)
    assert found == {}


def test_the_agent_and_its_ancestors_are_left_out(folder: bytes) -> None:
    """Neither what we hold nor what the shell holds that started us is evidence."""
    with open(make(folder + b"/ours")):
        assert held(folder)[0] == {}
    path = make(folder + b"/shells")
    script = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from slimagent.trace.record import Record\nfrom slimagent.trace.fanotify.running import record_running\n"
        "record = Record(); record_running(record); print(sys.argv[1].encode() in record.steps.get(0, {}))"
    )
    inner = f'exec 9<{os.fsdecode(path)}; {sys.executable} -c "$0" {os.fsdecode(path)} 9<&-; :'
    done = subprocess.run(["/bin/sh", "-c", inner, script], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_nothing_is_stopped_at_the_end(folder: bytes) -> None:
    """Who attaches leaves what others started alone."""
    with running("pass") as process:
        with Fanotify(attach=True) as watcher:
            watcher.step("one")
        assert watcher.finish().stopped == ()
        os.kill(process, 0)
