"""What inotify alone promises: its limits are found out for real and said, and it watches folders of the image only."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.errors import UnavailableError
from slimagent.linux.command import Command
from slimagent.model.trace import How
from slimagent.trace.inotify.backend import Inotify
from slimagent.trace.inotify.queue import parse
from tests.contract.conftest import lacking
from tests.contract.file_calls import ENVIRONMENT
from tests.contract.test_watched_rights import NOBODY, in_child, ordinary_user

CLONE_NEWUSER = 0x10000000  # <sched.h>
OPEN_MANY = "import os, sys; sys.stdin.read(1); [os.close(os.open(sys.argv[1 + i % 2], 0)) for i in range(40000)]"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give up rights")


@pytest.fixture(autouse=True)
def _usable() -> None:
    reason = Inotify.unavailable()
    if reason is not None:
        lacking(reason)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Twenty folders with a file each, reachable by all."""
    for i in range(20):
        (tmp_path / f"folder-{i}").mkdir()
        (tmp_path / f"folder-{i}" / "file").write_text("x")
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    return tmp_path


def run(watcher: Inotify, *command: object) -> None:
    assert (
        watcher.spawn(Command([str(part) for part in command], env=ENVIRONMENT, stdout=subprocess.DEVNULL)).wait(60)
        == 0
    )


def with_limit(name: str, limit: int, act: Callable[[], None]) -> None:
    """Run `act` in a fork with a limit of user_namespaces(7) of its own: no other process is concerned."""
    if not os.path.exists(f"/proc/sys/user/{name}"):
        lacking(f"this kernel has no {name} of its own in a user namespace")
    refusal = _refusal(name)
    if refusal:
        lacking(f"no user namespace with a {name} of its own can be made here: {refusal}")

    def limited() -> None:
        _limit(name, limit)
        act()

    in_child(limited, lambda: None)


def _limit(name: str, limit: int) -> None:
    """Enter a user namespace with that limit. Raises OSError where that is forbidden, as in a default container."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    with open(f"/proc/sys/user/{name}", "w") as file:
        file.write(str(limit))


def _refusal(name: str) -> str:
    """Why there can be no such limit, found out by setting one in a child process; "" if there can."""
    child = os.fork()
    if child == 0:
        try:
            _limit(name, 1000)
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 255)
        except BaseException:
            os._exit(255)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return os.strerror(code) if code else ""


def test_an_overflow_is_a_loss(image: Path) -> None:
    """More events than the queue holds, for real: the reader is held back while a command opens 40,000 times."""
    files = [image / "folder-0" / "file", image / "folder-1" / "file"]
    with Inotify(directories=(os.fsencode(image),)) as watcher:
        watcher.step("flood")
        process = watcher.spawn(
            Command([sys.executable, "-c", OPEN_MANY, *map(str, files)], env={}, stdin=subprocess.PIPE)
        )
        with watcher.reading:
            process.communicate(b"!", timeout=60)
        watcher.step("after")
        run(watcher, "cat", image / "folder-2" / "file")
    observed = watcher.finish()
    assert [loss.kind for loss in observed.losses] == ["queue-overflow"]
    assert "step 0" in observed.losses[0].example
    assert observed.accesses[os.fsencode(image / "folder-2" / "file")] == (How.OPENED, (1,))


def test_a_step_waits_for_what_was_opened_before(image: Path) -> None:
    """Though the reader is late and an earlier command still runs, a path belongs to the step that opened it."""
    with Inotify(directories=(os.fsencode(image),)) as watcher:
        watcher.step("first")
        watcher.spawn(Command(["sleep", "300"], env=ENVIRONMENT))
        following = threading.Thread(target=watcher.step, args=("second",))
        with watcher.reading:
            run(watcher, "cat", image / "folder-0" / "file")
            following.start()
            following.join(0.3)
        following.join(60)
        run(watcher, "cat", image / "folder-1" / "file")
    accesses = watcher.finish().accesses
    assert [accesses[os.fsencode(image / f"folder-{i}" / "file")][1] for i in (0, 1)] == [(0,), (1,)]


def test_what_is_lost_while_nothing_runs_is_no_loss(image: Path) -> None:
    """An overflow that the agent itself makes before the first command hides nothing of a command's."""
    with Inotify(directories=(os.fsencode(image),)) as watcher:
        watcher.step("flood")
        with watcher.reading:
            for i in range(40000):
                os.close(os.open(image / f"folder-{i % 2}" / "file", os.O_RDONLY))
        run(watcher, "cat", image / "folder-2" / "file")
    observed = watcher.finish()
    assert observed.losses == ()
    assert {path for path in observed.accesses if path.endswith(b"file")} == {os.fsencode(image / "folder-2" / "file")}


@needs_root
def test_the_limit_of_watches_is_a_loss(image: Path) -> None:
    """Folders that could not be watched are counted, one is named, and what the others hold is seen."""

    def act() -> None:
        with Inotify(directories=(os.fsencode(image),)) as watcher:
            watcher.step("all")
            run(watcher, "cat", *image.glob("*/file"))
        observed = watcher.finish()
        [loss] = observed.losses
        assert (loss.kind, loss.count) == ("watch-limit", 21 - 10)
        assert os.fspath(image) in loss.example
        assert len([path for path in observed.accesses if path.endswith(b"/file")]) in (9, 10)

    with_limit("max_inotify_watches", 10, act)


@needs_root
@pytest.mark.parametrize(
    ("name", "limit", "said"), [("max_inotify_watches", 0, "watch"), ("max_inotify_instances", 0, "instance")]
)
def test_without_any_watch_it_says_why(image: Path, name: str, limit: int, said: str) -> None:
    """A user who may not have a single watch or queue hears so, and nothing is left behind."""

    def act() -> None:
        before = sorted(os.listdir("/proc/self/fd"))
        with pytest.raises(UnavailableError) as error, Inotify(directories=(os.fsencode(image),)):
            pass
        assert f"inotify {said} limit reached" in error.value.message
        assert f"max_user_{said}" in error.value.hint
        assert sorted(os.listdir("/proc/self/fd")) == before
        assert threading.active_count() == 1
        if name == "max_inotify_instances":
            assert "inotify_init" in (Inotify.unavailable() or "")

    with_limit(name, limit, act)


@needs_root
def test_a_folder_that_cannot_be_read_is_a_loss(image: Path) -> None:
    """An ordinary user cannot watch what he cannot list, though he may be able to open files in it."""
    (image / "folder-3").chmod(0o711)

    def act() -> None:
        with Inotify(directories=(os.fsencode(image),)) as watcher:
            watcher.step("all")
            run(watcher, "cat", image / "folder-3" / "file", image / "folder-4" / "file")
        observed = watcher.finish()
        assert [(loss.kind, loss.count) for loss in observed.losses] == [("unreadable-path", 1)]
        assert "folder-3" in observed.losses[0].example
        assert os.fsencode(image / "folder-4" / "file") in observed.accesses

    in_child(ordinary_user, act)


def test_only_the_folders_own_file_system_is_watched(image: Path) -> None:
    """It goes neither into links nor into other mounts, which are watched if they are named themselves."""
    (image / "to-proc").symlink_to("/proc")
    (image / "folder-0" / "up").symlink_to(image)
    with Inotify(directories=(os.fsencode(image), b"/proc/self/../sys/kernel/random")) as watcher:
        watched = set(watcher._directories.values())
    assert watched == {os.fsencode(folder) for folder in (image, *image.glob("folder-*"))} | {
        b"/proc/sys/kernel/random"
    }
    with Inotify(directories=(b"/dev",)) as watcher:
        assert b"/dev/shm" not in watcher._directories.values()


def test_a_folder_that_is_a_link_is_watched_under_its_real_name(image: Path) -> None:
    """A path of the trace has no link in it: such a backend sees files, not the way to them."""
    (image / "link").symlink_to("folder-5")
    with Inotify(directories=(os.fsencode(image / "link"),)) as watcher:
        watcher.step("link")
        run(watcher, "cat", image / "link" / "file")
    assert set(watcher.finish().accesses) == {os.fsencode(image / "folder-5" / "file")}


def test_a_folder_that_moves_or_goes_keeps_its_name(image: Path) -> None:
    """What is opened in a folder of the image is said by the name that the image has for it."""
    script = (
        f"cd {image}; cat folder-0/file; mv folder-0 moved; cat moved/file; cat folder-1/file; rm -r folder-1 moved"
    )
    with Inotify(directories=(os.fsencode(image),)) as watcher:
        watcher.step("moved")
        run(watcher, "/bin/sh", "-ec", script)
    observed = watcher.finish()
    opened = {path for path, (how, _) in observed.accesses.items() if how & How.OPENED}
    assert opened == {os.fsencode(image / f"folder-{i}" / "file") for i in (0, 1)}
    assert observed.losses == ()


def test_memory_grows_with_files_not_with_opens(image: Path) -> None:
    """Thousands of opens of two files are two entries."""
    files = [image / "folder-0" / "file", image / "folder-1" / "file"]
    with Inotify(directories=(os.fsencode(image),)) as watcher:
        watcher.step("many")
        run(watcher, "/bin/sh", "-c", 'for i in $(seq 2000); do : <"$0"; : <"$1"; done', *files)
        assert set(watcher._record.steps[0]) == set(map(os.fsencode, files))
    assert len(watcher.finish().accesses) == 2


def test_its_thread_takes_no_signal(image: Path) -> None:
    """Signals are for the main thread, which may have them blocked to wait for them."""
    with Inotify(directories=(os.fsencode(image),)) as watcher:
        (thread,) = (each for each in threading.enumerate() if each.name == watcher.name)
        with open(f"/proc/self/task/{thread.native_id}/status") as file:
            [blocked] = [int(line.split()[1], 16) for line in file if line.startswith("SigBlk")]
    assert all(blocked >> number - 1 & 1 for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD))


@needs_root
def test_a_command_as_another_user_opens_files_that_count(image: Path) -> None:
    """Whoever opens a file, it is seen."""
    with Inotify(directories=(os.fsencode(image),)) as watcher:
        watcher.step("user")
        process = watcher.spawn(
            Command(["cat", str(image / "folder-6" / "file")], env=ENVIRONMENT, user=NOBODY, stdout=subprocess.DEVNULL)
        )
        assert process.wait(60) == 0
    assert os.fsencode(image / "folder-6" / "file") in watcher.finish().accesses


@given(
    st.lists(st.tuples(st.integers(-1, 1 << 20), st.integers(0, (1 << 32) - 1), st.binary(max_size=40))), st.binary()
)
def test_events_are_read_as_they_were_written(events: list[tuple[int, int, bytes]], rest: bytes) -> None:
    """Names end at their first NUL; what a read left unfinished is no event, whatever it is."""
    data = b"".join(struct.pack("=iIII", watch, mask, 0, len(name) + 1) + name + b"\0" for watch, mask, name in events)
    assert parse(data) == [(watch, mask, name.split(b"\0")[0]) for watch, mask, name in events]
    assert parse(data + rest)[: len(events)] == parse(data)
    assert len(parse(data + rest[:15])) == len(events)
