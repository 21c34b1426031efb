"""What every backend promises about single calls: each path-taking call of Linux is seen."""

from __future__ import annotations

import errno
import os
import subprocess

import psutil
import pytest

import slimagent
from slimagent.errors import UsageError
from slimagent.linux.command import Command
from slimagent.model.trace import How
from tests.contract.conftest import Backend
from tests.contract.file_calls import ENVIRONMENT, FileCalls, knows_whose, lost, missed, parse, unsaid, visible

# mount(2) of a file system without a device is given a word for one; it reads like a relative path.
WORDS = {"cwd/none"}
LOADER = (b"/etc/ld.", b"/lib", b"/usr/lib", b"/usr/local/lib")  # what the dynamic loader asks for
MASKING = ("seccomp", "seccomp+fanotify")


def test_every_path_taking_call_is_seen(watcher_class: Backend, calls: FileCalls) -> None:
    """Each call on a file of its own, found or missing, absolute or relative to whatever, is reported."""
    with watcher_class() as watcher:
        watcher.step("calls")
        said = calls.run(watcher, "calls")
    assert len(said.expected) > 400
    assert len(list(visible(said.expected, watcher.blind_spots))) > 50
    assert missed(said, watcher) == []
    assert lost(watcher, calls.folder) == []


def test_nothing_is_seen_that_did_not_happen(watcher_class: Backend, calls: FileCalls) -> None:
    """No path or use of one is reported that the program did not say: NULL and empty paths are none."""
    with watcher_class() as watcher:
        watcher.step("calls")
        said = calls.run(watcher, "calls")
    assert unsaid(said, watcher, calls.folder).keys() <= set(map(calls.path, WORDS))


def test_calls_that_the_kernel_refuses_are_no_loss(watcher_class: Backend, calls: FileCalls) -> None:
    """Too long a path, a bad address, an empty path, a closed descriptor fail as ever and leave no trace."""
    with watcher_class() as watcher:
        watcher.step("refused")
        said = calls.run(watcher, "refused")
    assert said.results == {
        "too-long": errno.ENAMETOOLONG,
        "bad-address": errno.EFAULT,
        "null": errno.EFAULT,
        "empty": errno.ENOENT,
        "bad-descriptor": errno.EBADF,
        "negative-descriptor": errno.EBADF,
    }
    assert missed(said, watcher) == []
    assert unsaid(said, watcher, calls.folder) == {}
    assert lost(watcher, calls.folder) == []


def test_a_removed_working_folder_is_survived(watcher_class: Backend, calls: FileCalls) -> None:
    """Relative paths below a folder that is gone fail as ever and name no file that could exist."""
    with watcher_class() as watcher:
        watcher.step("removed")
        said = calls.run(watcher, "removed")
    observed = watcher.finish()
    assert said.results == {"relative": errno.ENOENT, "at": errno.ENOENT}
    assert missed(said, watcher) == []
    assert not [path for path in observed.accesses if b"(deleted)" in path]


def test_io_uring_is_refused_where_it_would_pass_unseen(watcher_class: Backend, calls: FileCalls) -> None:
    """Under seccomp io_uring_setup says ENOSYS, and programs fall back; other backends leave it alone."""
    untouched = parse(subprocess.run(calls.argv("io_uring"), stdout=subprocess.PIPE, timeout=60).stdout)
    with watcher_class() as watcher:
        watcher.step("io_uring")
        said = calls.run(watcher, "io_uring")
    assert said.results == ({"io_uring_setup": errno.ENOSYS} if "seccomp" in watcher.name else untouched.results)


@pytest.mark.parametrize("mode", ["undumpable", "foreign-calls"])
def test_what_cannot_be_read_is_seen_or_a_loss(watcher_class: Backend, calls: FileCalls, mode: str) -> None:
    """An unreadable process and 32-bit system calls never make a trace that looks whole and is not."""
    with watcher_class() as watcher:
        watcher.step(mode)
        running = calls.start(watcher, mode)
        if running.process.wait(timeout=60) < 0:
            pytest.skip("this kernel has no 32-bit system calls")
        said = running.said()
    observed = watcher.finish()
    done = [calls.path(f"foreign-{word}") for word, error in said.results.items() if error != errno.ENOSYS]
    if watcher.name != "fake":  # these are results, in which it does not believe
        assert not missed([*said.expected, *((How.OPENED, path) for path in done)], watcher) or observed.losses


def test_a_program_with_a_filter_of_its_own_is_seen(watcher_class: Backend, calls: FileCalls) -> None:
    """A program may put itself into a sandbox, before and after which its calls are seen."""
    with watcher_class() as watcher:
        watcher.step("own-filter")
        said = calls.run(watcher, "own-filter")
    assert missed(said, watcher) == []


def test_only_what_the_program_asked_for_is_seen(watcher_class: Backend, calls: FileCalls) -> None:
    """Neither the agent's own files nor what the child did before it executed are in the trace."""
    with watcher_class() as watcher:
        watcher.step("leaf")
        said = calls.run(watcher, "leaf", "one", "two")
    observed = watcher.finish()
    assert missed([*said.expected, (How.EXECUTED, os.fsencode(calls.program))], watcher) == []
    assert unsaid(said, watcher, calls.folder) == {}
    if not knows_whose(watcher):
        return
    others = set(observed.accesses) - said.paths() - {os.fsencode(calls.program)}
    assert {path for path in others if not path.startswith(LOADER)} == set()
    package = os.fsencode(os.path.dirname(slimagent.__file__))
    assert not [path for path in others if path.startswith(package) or b"python" in path]


def test_a_masked_path_is_not_there(watcher_class: Backend, calls: FileCalls) -> None:
    """Every call on a masked path says ENOENT, and the lookup is recorded; other paths are untouched."""
    _can_mask(watcher_class)
    for name in ("masked", "bare"):
        os.close(os.open(calls.path(name), os.O_CREAT, 0o600))
    with watcher_class(mask=lambda path: os.path.normpath(path) == calls.path("masked")) as watcher:
        watcher.step("masked")
        said = calls.run(watcher, "try", "masked", "bare")
    for call in ("open", "stat", "access", "execute", "relative"):
        assert said.results[f"{call} masked"] == errno.ENOENT
        assert said.results[f"{call} bare"] == (errno.EACCES if call == "execute" else 0)
    assert calls.path("masked") in watcher.finish().accesses


def test_a_masked_program_cannot_be_started(watcher_class: Backend, calls: FileCalls) -> None:
    """A command whose own program is masked is not found, as if it were not in the image."""
    _can_mask(watcher_class)
    with watcher_class(mask=lambda path: path == os.fsencode(calls.program)) as watcher:
        watcher.step("masked")
        with pytest.raises(FileNotFoundError):
            watcher.spawn(Command(calls.argv("leaf", "one"), env=ENVIRONMENT))


def test_who_cannot_mask_says_so(watcher_class: Backend) -> None:
    """A backend that cannot make files look gone refuses to be asked for it; it does not silently show them."""
    if watcher_class.name in MASKING:
        pytest.skip("it can")
    with pytest.raises(UsageError):
        watcher_class(mask=lambda path: False)


def test_the_command_is_looked_for_in_the_search_path(watcher_class: Backend, calls: FileCalls) -> None:
    """A command without a slash is found through PATH of the environment it is given."""
    environment = {"PATH": f"/nowhere:{os.fsdecode(calls.folder)}"}
    with watcher_class() as watcher:
        watcher.step("search")
        said = calls.run(watcher, "leaf", "x", program="program", env=environment)
    assert missed([*said.expected, (How.EXECUTED, calls.path("program"))], watcher) == []


def test_a_missing_command_is_said_as_popen_says_it(watcher_class: Backend, calls: FileCalls) -> None:
    """No such command, no such folder and a file that is no program raise what subprocess.Popen raises."""
    with watcher_class() as watcher:
        watcher.step("missing")
        with pytest.raises(FileNotFoundError):
            watcher.spawn(Command(["/no/such/command"], env=ENVIRONMENT))
        with pytest.raises(FileNotFoundError):
            watcher.spawn(Command(["no-such-command-anywhere"], env=ENVIRONMENT))
        with pytest.raises(PermissionError):
            watcher.spawn(Command([os.fsdecode(calls.path("file"))], env=ENVIRONMENT))
        with pytest.raises(FileNotFoundError):
            watcher.spawn(Command(calls.argv("leaf"), env=ENVIRONMENT, cwd="/no/such/folder"))
        said = calls.run(watcher, "leaf", "after-missing")
    assert missed(said, watcher) == []
    assert psutil.Process().children() == []


def _can_mask(watcher_class: Backend) -> None:
    if watcher_class.name not in MASKING:
        pytest.skip("it cannot mask, and says so")
