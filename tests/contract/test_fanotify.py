"""What fanotify promises beyond the contract: files by their real names, each reported once, loss for what it lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.errors import UnavailableError, UsageError
from slimagent.linux.command import Command
from slimagent.model.trace import How, Loss
from slimagent.trace.fanotify.backend import Fanotify
from slimagent.trace.fanotify.group import METADATA, Event, Group, parse
from tests.contract.conftest import lacking
from tests.contract.file_calls import ENVIRONMENT, FileCalls

MOST_QUEUED = Path("/proc/sys/fs/fanotify/max_queued_events")
FEW = 1000


@pytest.fixture
def folder() -> Iterator[bytes]:
    """A folder that is watched, by its real name; a test of fanotify needs fanotify."""
    reason = Fanotify.unavailable()
    if reason is not None:
        lacking(f"fanotify: {reason}")
    made = os.fsencode(os.path.realpath(tempfile.mkdtemp(prefix="fanotify-", dir="/tmp")))
    yield made
    shutil.rmtree(made)


def python(watcher: Any, script: str, *arguments: bytes) -> int:
    """Run a script under the watcher, to its good end; the number of its process."""
    command = [sys.executable, "-I", "-S", "-B", "-c", f"import os, sys\n{script}", *map(os.fsdecode, arguments)]
    process = watcher.spawn(Command(command, env=ENVIRONMENT))
    assert process.wait(timeout=60) == 0
    return int(process.pid)


def make(path: bytes, mode: int = 0o644, data: bytes = b"data") -> bytes:
    """A file, before it is watched."""
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)
    return path


def seen(watcher: Any, folder: bytes) -> dict[bytes, How]:
    """What was seen below the folder."""
    return {path: how for path, (how, _) in watcher.finish().accesses.items() if path.startswith(folder)}


def losses_but_of_others(watcher: Any) -> list[Loss]:
    """Without what a process of a container beside us, gone by now, opened: on its own mount, by no name of ours."""
    return [loss for loss in watcher.finish().losses if loss.kind not in ("mount-namespace", "unreadable-path")]


def test_what_the_kernel_opens_is_seen(folder: bytes) -> None:
    """A program, a script, both interpreters, a file that is read and a folder that is listed: each by its use."""
    script = make(folder + b"/script", 0o755, b"#!/bin/sh\ncat < $0\nls -l ${0%/*}\n")
    with Fanotify() as watcher:
        watcher.step("script")
        assert watcher.spawn(Command([script], env=ENVIRONMENT, stdout=subprocess.DEVNULL)).wait(timeout=60) == 0
    accesses = watcher.finish().accesses
    assert accesses[script][0] & How.EXECUTED  # that it was read as well shows if that came before we looked
    assert accesses[folder][0] == How.LISTED
    assert accesses[os.path.realpath(b"/bin/sh")][0] & How.EXECUTED
    assert any(b"/ld-" in path and how & How.EXECUTED for path, (how, _) in accesses.items())
    assert losses_but_of_others(watcher) == []


def test_only_a_handle_to_a_path_is_no_open(folder: bytes) -> None:
    """O_PATH reads nothing, and neither does a look-up: both are fanotify's blind spot."""
    path = make(folder + b"/looked-at")
    with Fanotify() as watcher:
        watcher.step("look")
        python(watcher, "os.stat(sys.argv[1]); os.open(sys.argv[1], os.O_PATH)", path)
    assert seen(watcher, folder) == {}


def test_a_file_is_reported_once_however_often_it_is_opened(folder: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200,000 opens of one file a handful is read; the next step sees the file again."""
    path, events = make(folder + b"/one"), []
    read, file = Group.read, os.stat(path)

    def counted(group: Group) -> list[Event]:
        found = read(group)
        opened = (event for event in found if event.descriptor >= 0)
        events.extend(event for event in opened if os.path.samestat(os.fstat(event.descriptor), file))
        return found

    monkeypatch.setattr(Group, "read", counted)
    with Fanotify() as watcher:
        for name in ("first", "second"):
            watcher.step(name)
            opens = "os.close(os.open(sys.argv[1], os.O_RDONLY))"
            # Until the first one is read, more of them are queued.
            python(watcher, f"import time; {opens}; time.sleep(2)\nfor _ in range(200_000): {opens}", path)
    assert watcher.finish().accesses[path] == (How.OPENED, (0, 1))
    assert 2 <= len(events) < FEW


def test_an_execution_shows_after_an_open_of_the_same_file(folder: bytes) -> None:
    """That a file was opened hides no execution of it in the same step."""
    path = folder + b"/program"
    shutil.copy(os.path.realpath("/bin/true"), path)
    script = "for _ in range(3):\n open(sys.argv[1]).close()\nos.spawnv(os.P_WAIT, sys.argv[1], ['program'])"
    with Fanotify() as watcher:
        watcher.step("both")
        python(watcher, script, path)
    assert seen(watcher, folder)[path] & How.EXECUTED


def test_each_name_of_a_hard_link_is_seen(folder: bytes) -> None:
    """One file under two names is two paths, also when both are opened again and again in one step."""
    first, second = make(folder + b"/first"), folder + b"/second"
    os.link(first, second)
    script = "for _ in range(100):\n for name in sys.argv[1:]: open(name).close()"
    with Fanotify() as watcher:
        watcher.step("links")
        python(watcher, script, first, second)
    assert seen(watcher, folder) == {first: How.OPENED, second: How.OPENED}


@pytest.mark.parametrize("name", [b"line\nbreak", b"latin1-\xe9", b"really (deleted)", b"a b\t", b"x" * 255])
def test_any_name_is_seen_as_it_is(folder: bytes, name: bytes) -> None:
    """Whatever bytes a name has, also those that the kernel writes behind a removed file's name."""
    path = make(folder + b"/" + name)
    with Fanotify() as watcher:
        watcher.step("name")
        python(watcher, "open(sys.argv[1]).close()", path)
    assert seen(watcher, folder) == {path: How.OPENED}


def test_a_removed_file_has_the_name_that_it_had(folder: bytes) -> None:
    """A file that is gone when its event is read is known by its name, one that never had a name is not."""
    script = "open(sys.argv[1]).close(); os.unlink(sys.argv[1]); os.open(sys.argv[2], os.O_TMPFILE | os.O_RDWR)"
    path = make(folder + b"/gone")
    with Fanotify() as watcher:
        watcher.step("gone")
        with watcher.reading:
            python(watcher, script, path, folder)
    assert seen(watcher, folder) == {path: How.OPENED}
    assert losses_but_of_others(watcher) == []


def test_a_fifo_hangs_nobody(folder: bytes) -> None:
    """To be told of an opened FIFO (some kernels do not tell) opens it again, without waiting for its other end."""
    path = folder + b"/fifo"
    os.mkfifo(path)
    with Fanotify() as watcher:
        watcher.step("fifo")
        python(watcher, "os.close(os.open(sys.argv[1], os.O_RDWR))", path)
    assert seen(watcher, folder) in ({}, {path: How.OPENED})


def test_a_full_queue_is_a_loss(folder: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """More events than the kernel keeps for a reader that is held back: said, and what came through is there."""
    monkeypatch.setattr(Fanotify, "unlimited_queue", False)
    most = int(MOST_QUEUED.read_text()) if MOST_QUEUED.exists() else 16384
    if most > 100_000:
        lacking(f"{MOST_QUEUED} is {most}: too many files to fill it")
    with Fanotify() as watcher:
        watcher.step("overflow")
        open_many(watcher, folder, most + FEW)
    (loss,) = losses_but_of_others(watcher)
    assert loss.kind == "queue-overflow"
    assert loss.count >= 1
    assert 0 < len(seen(watcher, folder)) < most + FEW


def test_an_unlimited_queue_loses_nothing(folder: bytes) -> None:
    """The same with the queue as it is: all is there, when a step begins as well as at the end."""
    with Fanotify() as watcher:
        watcher.step("many")
        open_many(watcher, folder, 20_000)
        watcher.step("none")
    assert len(seen(watcher, folder)) == 20_000
    assert {steps for path, (_, steps) in watcher.finish().accesses.items() if path.startswith(folder)} == {(0,)}
    assert losses_but_of_others(watcher) == []


def open_many(watcher: Fanotify, folder: bytes, number: int) -> None:
    """Open so many files while nobody reads the events."""
    with watcher.reading:
        python(
            watcher,
            "for i in range(int(sys.argv[2])):\n open(f'{sys.argv[1]}/{i}', 'w').close()",
            folder,
            b"%d" % number,
        )


def test_a_folder_on_another_mount_is_watched_when_it_is_named(folder: bytes) -> None:
    """A volume is a mount of its own; what is mounted is watched there, and nothing else of its file system."""
    volume, source = folder + b"/volume", folder + b"/source"
    for each in (volume, source):
        os.mkdir(each)
    inside, outside = make(source + b"/inside"), make(folder + b"/outside")
    mounted = subprocess.run(["mount", "--bind", source, volume], capture_output=True, text=True)
    if mounted.returncode != 0:
        lacking(f"cannot mount here: {mounted.stderr.strip()}")
    try:
        with Fanotify(directories=(volume, volume)) as watcher:
            watcher.step("volume")
            python(watcher, "for name in sys.argv[1:]: open(name).close()", volume + b"/inside", outside)
        assert seen(watcher, folder) == {volume + b"/inside": How.OPENED}
        assert inside not in watcher.finish().accesses
    finally:
        subprocess.run(["umount", "--lazy", volume], check=True)  # another watcher may hold an event of it


@pytest.mark.usefixtures("mount_namespaces")
def test_a_mount_namespace_is_a_loss(folder: bytes) -> None:
    """Where a process has mounts of its own, its paths may mean other files."""
    path = make(folder + b"/file")
    with Fanotify() as watcher:
        watcher.step("namespace")
        assert watcher.spawn(Command(["unshare", "-m", "cat", path], env=ENVIRONMENT, stdout=-3)).wait(timeout=60) == 0
    assert path in seen(watcher, folder)
    assert "mount-namespace" in [loss.kind for loss in watcher.finish().losses]


def test_another_agents_processes_are_not_ours(folder: bytes) -> None:
    """Two agents beside each other tell their families apart."""
    path = make(folder + b"/file")
    script = "open(sys.argv[1]).close(); os.close(1); sys.stdin.read()"
    with Fanotify() as first, Fanotify() as second:
        for watcher in (first, second):
            watcher.step("beside")
        command = [sys.executable, "-I", "-S", "-c", f"import os, sys; {script}", os.fsdecode(path)]
        process = first.spawn(Command(command, env=ENVIRONMENT, stdin=-1, stdout=-1))
        assert process.stdout is not None
        process.stdout.read()
        second.step("read")  # the process is still there: whose it is can be told
        process.communicate(timeout=60)
        first.finish()
    assert path in seen(first, folder)
    assert path not in seen(second, folder)


def test_no_group_and_no_thread_is_left(folder: bytes) -> None:
    """After the exit no descriptor of this process is fanotify's, even if the entry failed half way."""
    before = threading.active_count()
    with Fanotify() as watcher:
        assert len(groups()) == 1
        watcher.step("one")
        with watcher.reading:
            python(watcher, "open(sys.argv[1], 'w').close()", folder + b"/file")
    with pytest.raises(UnavailableError, match="no/such"), Fanotify(directories=(b"/", b"/no/such")):
        pass
    assert groups() == []
    assert threading.active_count() == before


def groups() -> list[str]:
    found = []
    for descriptor in os.listdir("/proc/self/fdinfo"):
        try:
            text = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
        except FileNotFoundError:
            continue
        found += [descriptor] if "fanotify" in text else []
    return found


def test_without_the_capability_it_says_so(folder: bytes) -> None:
    """An ordinary user is told which right is missing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        os.write(writing, str(Fanotify.unavailable()).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as file:
        assert "CAP_SYS_ADMIN" in file.read()
    os.waitpid(child, 0)


def test_it_masks_nothing(calls: FileCalls) -> None:
    """A verification that needs files to look gone is refused, not done without."""
    with pytest.raises(UsageError):
        Fanotify(lambda path: True)


EVENTS = st.builds(Event, st.integers(0, (1 << 64) - 1), st.integers(-5, 1 << 30), st.integers(0, 1 << 22))


@given(st.lists(EVENTS), st.binary(max_size=8), st.integers(0, METADATA.size - 1))
def test_events_are_read_as_they_were_written(events: list[Event], record: bytes, cut: int) -> None:
    """Whatever follows the metadata of an event, and wherever the bytes end: the events before are read."""
    data = b"".join(
        METADATA.pack(METADATA.size + len(record), 3, 0, METADATA.size, *event) + record for event in events
    )
    assert parse(data) == events
    if events:
        assert parse(data[: len(data) - len(record) - METADATA.size + cut]) == events[:-1]


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_parser(data: bytes) -> None:
    """Bytes that are no events are refused, and never an endless loop."""
    try:
        assert len(parse(data)) <= len(data) // METADATA.size
    except ValueError as error:
        assert "version" in str(error)
