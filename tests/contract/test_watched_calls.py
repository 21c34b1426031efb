"""What every backend promises about single calls: each path-taking call of Linux is seen."""

from __future__ import annotations

import errno
import os
import subprocess
from typing import Any

import psutil
import pytest
from file_calls import ENVIRONMENT, FileCalls, below, missed, parse

import slimagent
from slimagent.traces import How

# mount(2) of a file system without a device is given a word for one; it reads like a relative path.
WORDS = {"cwd/none"}
LOADER = (b"/etc/ld.", b"/lib", b"/usr/lib", b"/usr/local/lib")  # what the dynamic loader asks for


def test_every_path_taking_call_is_seen(watcher_class: Any, calls: FileCalls) -> None:
    """Each call on a file of its own, found or missing, absolute or relative to whatever, is reported."""
    with watcher_class() as watcher:
        watcher.step("calls")
        said = calls.run(watcher, "calls")
    observed = watcher.finish()
    assert len(said.expected) > 400
    assert missed(said, observed) == []
    assert observed.losses == ()


def test_nothing_is_seen_that_did_not_happen(watcher_class: Any, calls: FileCalls) -> None:
    """No path or use of one is reported that the program did not say: NULL and empty paths are none."""
    with watcher_class() as watcher:
        watcher.step("calls")
        said = calls.run(watcher, "calls")
    uses: dict[bytes, How] = {}
    for how, path in said.expected:
        uses[path] = uses.get(path, How.LOOKED_UP) | how
    invented = {
        path: how & ~uses.get(path, How(0))
        for path, how in below(watcher.finish(), calls.folder).items()
        if how & ~uses.get(path, How(0)) and path not in map(calls.path, WORDS)
    }
    assert invented == {}


def test_calls_that_the_kernel_refuses_are_no_loss(watcher_class: Any, calls: FileCalls) -> None:
    """Too long a path, a bad address, an empty path, a closed descriptor fail as ever and leave no trace."""
    with watcher_class() as watcher:
        watcher.step("refused")
        said = calls.run(watcher, "refused")
    observed = watcher.finish()
    assert said.results == {
        "too-long": errno.ENAMETOOLONG,
        "bad-address": errno.EFAULT,
        "null": errno.EFAULT,
        "empty": errno.ENOENT,
        "bad-descriptor": errno.EBADF,
        "negative-descriptor": errno.EBADF,
    }
    assert missed(said, observed) == []
    assert set(below(observed, calls.folder)) == said.paths()
    assert observed.losses == ()


def test_a_removed_working_folder_is_survived(watcher_class: Any, calls: FileCalls) -> None:
    """Relative paths below a folder that is gone fail as ever and name no file that could exist."""
    with watcher_class() as watcher:
        watcher.step("removed")
        said = calls.run(watcher, "removed")
    observed = watcher.finish()
    assert said.results == {"relative": errno.ENOENT, "at": errno.ENOENT}
    assert missed(said, observed) == []
    assert not [path for path in observed.accesses if b"(deleted)" in path]


def test_io_uring_is_refused(watcher_class: Any, calls: FileCalls) -> None:
    """io_uring_setup says ENOSYS: file calls through a ring would pass unseen, programs fall back."""
    with watcher_class() as watcher:
        watcher.step("io_uring")
        assert calls.run(watcher, "io_uring").results == {"io_uring_setup": errno.ENOSYS}


@pytest.mark.parametrize("mode", ["undumpable", "foreign-calls"])
def test_what_cannot_be_read_is_seen_or_a_loss(watcher_class: Any, calls: FileCalls, mode: str) -> None:
    """An unreadable process and 32-bit system calls never make a trace that looks whole and is not."""
    with watcher_class() as watcher:
        watcher.step(mode)
        running = calls.start(watcher, mode)
        if running.process.wait(timeout=60) < 0:
            pytest.skip("this kernel has no 32-bit system calls")
        said = running.said()
    observed = watcher.finish()
    done = {calls.path(f"foreign-{word}") for word, error in said.results.items() if error != errno.ENOSYS}
    unseen = (said.paths() | done) - set(observed.accesses)
    assert not unseen or observed.losses


def test_a_program_with_a_filter_of_its_own_is_seen(watcher_class: Any, calls: FileCalls) -> None:
    """A program may put itself into a sandbox, before and after which its calls are seen."""
    with watcher_class() as watcher:
        watcher.step("own-filter")
        said = calls.run(watcher, "own-filter")
    assert missed(said, watcher.finish()) == []


def test_only_what_the_program_asked_for_is_seen(watcher_class: Any, calls: FileCalls) -> None:
    """Neither the agent's own files nor what the child did before it executed are in the trace."""
    with watcher_class() as watcher:
        watcher.step("leaf")
        said = calls.run(watcher, "leaf", "one", "two")
    observed = watcher.finish()
    assert missed([*said.expected, (How.EXECUTED, os.fsencode(calls.program))], observed) == []
    others = set(observed.accesses) - said.paths() - {os.fsencode(calls.program)}
    assert {path for path in others if not path.startswith(LOADER)} == set()
    package = os.fsencode(os.path.dirname(slimagent.__file__))
    assert not [path for path in others if path.startswith(package) or b"python" in path]


def test_a_masked_path_is_not_there(watcher_class: Any, calls: FileCalls) -> None:
    """Every call on a masked path says ENOENT, and the lookup is recorded; other paths are untouched."""
    for name in ("masked", "bare"):
        os.close(os.open(calls.path(name), os.O_CREAT, 0o600))
    with watcher_class(mask=lambda path: os.path.normpath(path) == calls.path("masked")) as watcher:
        watcher.step("masked")
        said = calls.run(watcher, "try", "masked", "bare")
    for call in ("open", "stat", "access", "execute", "relative"):
        assert said.results[f"{call} masked"] == errno.ENOENT
        assert said.results[f"{call} bare"] == (errno.EACCES if call == "execute" else 0)
    assert calls.path("masked") in watcher.finish().accesses


def test_a_masked_program_cannot_be_started(watcher_class: Any, calls: FileCalls) -> None:
    """A command whose own program is masked is not found, as if it were not in the image."""
    with watcher_class(mask=lambda path: path == os.fsencode(calls.program)) as watcher:
        watcher.step("masked")
        with pytest.raises(FileNotFoundError):
            watcher.spawn(calls.argv("leaf", "one"), env=ENVIRONMENT)


def test_the_command_is_looked_for_in_the_search_path(watcher_class: Any, calls: FileCalls) -> None:
    """A command without a slash is found through PATH of the environment it is given."""
    environment = {"PATH": f"/nowhere:{os.fsdecode(calls.folder)}"}
    with watcher_class() as watcher:
        watcher.step("search")
        command = ["program", os.fsdecode(calls.folder), "leaf", "x"]
        process = watcher.spawn(command, env=environment, stdout=subprocess.PIPE)
        said = parse(process.communicate(timeout=60)[0])
    assert missed([*said.expected, (How.EXECUTED, calls.path("program"))], watcher.finish()) == []


def test_a_missing_command_is_said_as_popen_says_it(watcher_class: Any, calls: FileCalls) -> None:
    """No such command, no such folder and a file that is no program raise what subprocess.Popen raises."""
    with watcher_class() as watcher:
        watcher.step("missing")
        with pytest.raises(FileNotFoundError):
            watcher.spawn(["/no/such/command"], env=ENVIRONMENT)
        with pytest.raises(FileNotFoundError):
            watcher.spawn(["no-such-command-anywhere"], env=ENVIRONMENT)
        with pytest.raises(PermissionError):
            watcher.spawn([os.fsdecode(calls.path("file"))], env=ENVIRONMENT)
        with pytest.raises(FileNotFoundError):
            watcher.spawn(calls.argv("leaf"), env=ENVIRONMENT, cwd="/no/such/folder")
        said = calls.run(watcher, "leaf", "after-missing")
    assert missed(said, watcher.finish()) == []
    assert psutil.Process().children() == []
