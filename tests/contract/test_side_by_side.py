"""What backends promise that tell apart what runs at the same time: each file counts for its own step and test."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from slimagent.linux.command import Command
from slimagent.trace.watcher import Observed

# Opens its file again and again until it may end, so that it is sure to run beside the others.
READER = """
import os, sys
name, others, ready = sys.argv[1], sys.argv[2:-1], sys.argv[-1]
open(ready, "w").close()
while True:
    os.close(os.open(name, os.O_RDONLY))
    if all(map(os.path.exists, others)):
        break
if os.fork() == 0:
    os.close(os.open(name + "-child", os.O_RDONLY))
    os._exit(0)
os.wait()
"""


@pytest.fixture
def apart(watcher_class: Any, tmp_path: Path) -> Any:
    if not watcher_class.tells_apart:
        pytest.skip(f"{watcher_class.name} does not tell lanes apart, and says so")
    return watcher_class.made_by(directories=(os.fsencode(tmp_path.resolve()), b"/usr"))


def reader(directory: Path, name: str, of: int) -> Command:
    for each in (name, f"{name}-child"):
        (directory / each).touch()
    others = [str(directory / f"ready-{number}") for number in range(of)]
    argv = (sys.executable, "-S", "-E", "-c", READER, name, *others, str(directory / f"ready-{name[-1]}"))
    return Command(argv, env={}, cwd=str(directory))


def steps(observed: Observed, directory: Path, name: str) -> tuple[int, ...]:
    return observed.accesses[os.fsencode(directory.resolve() / name)][1]


def test_what_runs_at_the_same_time_counts_for_its_own_step(apart: Any, tmp_path: Path) -> None:
    """Three lanes, each started by a thread of its own; a step before and a step after them."""
    with apart as watcher:
        assert watcher.step("before") == 0
        (tmp_path / "first").touch()
        watcher.spawn(Command(("cat", "first"), env={"PATH": os.environ["PATH"]}, cwd=str(tmp_path))).wait()
        lanes = [watcher.beside(f"lane {number}") for number in range(3)]
        ended: list[int] = []

        def run(number: int) -> None:
            ended.append(lanes[number].spawn(reader(tmp_path, f"file-{number}", 3)).wait())

        threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert watcher.step("after") == 4
        (tmp_path / "last").touch()
        watcher.spawn(Command(("cat", "last"), env={"PATH": os.environ["PATH"]}, cwd=str(tmp_path))).wait()
        observed = watcher.finish()
    assert ended == [0, 0, 0]
    found = [steps(observed, tmp_path, name) for name in ("first", "file-0", "file-1", "file-2", "last")]
    assert found == [(0,), (1,), (2,), (3,), (4,)]
    assert [steps(observed, tmp_path, f"file-{number}-child") for number in range(3)] == [(1,), (2,), (3,)]
    assert not observed.losses


def test_a_test_of_a_lane_is_that_of_its_processes_alone(apart: Any, tmp_path: Path) -> None:
    """Both lanes have a test of the same name, and only one is in another one later."""
    with apart as watcher:
        one, two = watcher.beside("one"), watcher.beside("two")
        for lane in (one, two):
            lane.test("begin")
        running = [lane.spawn(reader(tmp_path, f"file-{number}", 2)) for number, lane in enumerate((one, two))]
        assert [process.wait() for process in running] == [0, 0]
        one.test("end")
        for lane, name in ((one, "of-one"), (two, "of-two")):
            (tmp_path / name).touch()
            lane.spawn(Command(("cat", name), env={"PATH": os.environ["PATH"]}, cwd=str(tmp_path))).wait()
        observed = watcher.finish()
    by = {
        os.path.basename(each.path).decode(): {
            (observed.tests[test].step, observed.tests[test].name) for _, tests in each.by for test in tests
        }
        for each in observed.attributed
    }
    assert by["file-0"] == {(0, "begin")}
    assert by["file-1"] == {(1, "begin")}
    assert (by["of-one"], by["of-two"]) == ({(0, "end")}, {(1, "begin")})


def test_a_lane_that_cannot_start_a_program_says_so(apart: Any) -> None:
    """As the watcher itself does; the other lane goes on."""
    with apart as watcher:
        one, two = watcher.beside("one"), watcher.beside("two")
        with pytest.raises(FileNotFoundError):
            one.spawn(Command(("no-such-program",), env={"PATH": os.environ["PATH"]}))
        assert two.spawn(Command(("true",), env={"PATH": os.environ["PATH"]})).wait() == 0


def test_after_the_end_nothing_starts(apart: Any, tmp_path: Path) -> None:
    """A check that goes on in its thread after Ctrl-C must not start its next program."""
    with apart as watcher:
        lane = watcher.beside("one")
        left = lane.spawn(Command(("sleep", "1000"), env={"PATH": os.environ["PATH"]}, stdout=subprocess.DEVNULL))
        watcher.finish()
        assert left.wait() < 0
        with pytest.raises(OSError, match="cancel"):
            lane.spawn(Command(("true",), env={"PATH": os.environ["PATH"]}))


def test_a_backend_that_cannot_tell_lanes_apart_refuses_them(watcher_class: Any, tmp_path: Path) -> None:
    """Rather than put down a file to the wrong step."""
    if watcher_class.tells_apart or watcher_class.name == "fake":
        pytest.skip("it can, or it is a stand-in")
    with (
        watcher_class.made_by(directories=(os.fsencode(tmp_path.resolve()),)) as watcher,
        pytest.raises(NotImplementedError),
    ):
        watcher.beside("one")
