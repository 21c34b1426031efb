"""What every backend promises about tests that a program marks: what is attributed is right, or nothing is."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slimagent.linux.command import Command
from slimagent.model.trace import TESTS_PLACE, BlindSpot
from slimagent.model.user import User
from slimagent.trace import by_test, runners
from slimagent.trace.seccomp import attribution
from slimagent.trace.seccomp import backend as seccomp
from slimagent.trace.seccomp.attribution import test_name as name_of
from slimagent.trace.watcher import Observed

NOBODY = User(name="nobody", uid=65534, gid=65534, groups=(65534,), home="/")
RUNNERS = Path(runners.__file__).parent
BEGIN = """
import os, subprocess, sys, threading, time
def mark(name=""): os.path.exists("/.slimagent/test/" + name)
def use(name): os.close(os.open(name, os.O_RDONLY))
def beat(number): open(os.getcwd() + f"-beats/{number}", "w").close()  # beside the files that count
def child(code): return subprocess.Popen([sys.executable, "-S", "-E", "-c", f"BEGIN = {BEGIN!r}\\n{BEGIN}{code}"])
def wait(name):
    for _ in range(2000):
        if os.path.exists(name): return
        time.sleep(0.01)
"""


class Files:
    """Files to use, by name, in the working directory of each program."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, watcher: Any, code: str, *names: str, user: User | None = None) -> None:
        for name in names:
            (self.directory / name).touch()
            (self.directory / name).chmod(0o644)
        argv = (sys.executable, "-S", "-E", "-c", f"BEGIN = {BEGIN!r}\n{BEGIN}{code}")
        process = watcher.spawn(Command(argv, env={}, cwd=str(self.directory), user=user))
        assert process.wait() == 0

    def tests(self, observed: Observed) -> dict[str, set[str]]:
        """The tests of each used file, "" for what was used outside of all tests, where that is known."""
        found: dict[str, set[str]] = {}
        attributed = {each.path: each for each in observed.attributed}
        for path in observed.accesses:
            directory, name = os.path.split(path)
            if directory == os.fsencode(self.directory):
                row = attributed.get(path)
                names = {""} if row is None or row.steps else set()
                for _, tests in () if row is None else row.by:
                    names |= {observed.tests[test].name for test in tests}
                found[name.decode()] = names
        return found


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.geteuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o055)
    yield Files(tmp_path.resolve())


@pytest.fixture
def marking(watcher_class: Any, files: Files) -> Any:
    """A backend over these files. One that is blind to tests must attribute nothing, whatever is marked."""

    def made() -> Any:
        return watcher_class.made_by(directories=(os.fsencode(files.directory), b"/usr"))

    return made


def check(files: Files, watcher: Any, expected: dict[str, set[str]]) -> None:
    observed = watcher.finish()
    if BlindSpot.TESTS in watcher.blind_spots:
        assert (observed.tests, observed.attributed, observed.tests_cut) == ((), (), False)
        return
    assert files.tests(observed) == expected
    assert not [path for path in observed.accesses if path.startswith(TESTS_PLACE)]
    for path, _, steps, by in observed.attributed:
        assert {observed.tests[test].step for _, tests in by for test in tests} | {*steps} == set(
            observed.accesses[path][1]
        )


def test_a_file_belongs_to_the_tests_that_used_it(marking: Any, files: Files) -> None:
    """From a mark on until the next one or the end; before, between and after, to the step alone."""
    code = """
use("before"); mark("one"); use("first"); use("both")
mark("two"); use("second"); use("both"); mark()
use("between"); use("second-and-between"); mark("three"); use("second-and-between"); mark(); use("after")
"""
    names = ("before", "first", "both", "second", "between", "second-and-between", "after")
    with marking() as watcher:
        watcher.step("step")
        files.run(watcher, code, *names)
    expected = {name: {""} for name in names} | {"first": {"one"}, "both": {"one", "two"}, "second": {"two"}}
    check(files, watcher, expected | {"second-and-between": {"three", ""}})


def test_descendants_are_in_the_test_that_started_them(marking: Any, files: Files) -> None:
    """A child, its child, and a daemon that goes on while its parent is in the next test; a child's mark is its own."""
    code = """
mark("one")
late = child('''
sub = child("use('grandchild')"); sub.wait(); use("child"); mark("inner"); use("inner"); mark(); use("child-again")
open("ready", "w").close()
wait("go"); use("late")
''')
wait("ready"); mark("two"); use("second"); child("use('second-child')").wait()
open("go", "w").close(); late.wait(); mark()
"""
    names = ("grandchild", "child", "inner", "child-again", "late", "second", "second-child")
    with marking() as watcher:
        watcher.step("step")
        files.run(watcher, code, *names)
    expected = {name: {"one"} for name in names} | {"inner": {"inner"}, "second": {"two"}, "second-child": {"two"}}
    for name in ("ready", "go"):
        (files.directory / name).unlink()
    seen = files.tests(watcher.finish())
    check(files, watcher, expected | {name: seen.get(name, set()) for name in ("ready", "go")})


def test_processes_mark_by_themselves(marking: Any, files: Files) -> None:
    """Several processes run tests at the same time, each its own."""
    code = """
jobs = [child(f'''
for number in range(20):
    mark(f"test-{each}-{{number}}"); use(f"file-{each}-{{number}}"); use("shared"); mark()
''') for each in range(4)]
assert not any(job.wait() for job in jobs)
"""
    names = [f"file-{each}-{number}" for each in range(4) for number in range(20)]
    with marking() as watcher:
        watcher.step("step")
        files.run(watcher, code, "shared", *names)
    expected = {name: {name.replace("file", "test")} for name in names}
    check(files, watcher, expected | {"shared": {each for tests in expected.values() for each in tests}})


def test_threads_share_a_mark_unless_several_have_one(marking: Any, files: Files) -> None:
    """A thread is in the test of its process. If two threads have tests at a time, what others do is in neither."""
    code = """
def join(*threads):
    for thread in threads: thread.start()
    for thread in threads: thread.join()
mark("alone"); join(threading.Thread(target=use, args=("helper",))); mark()
barrier = threading.Barrier(2)
def work(name):
    mark(name); barrier.wait(); use(name + "-file")
    join(threading.Thread(target=use, args=(name + "-helper",))); child(f"use('{name}-child')").wait()
    barrier.wait(); mark()
join(*(threading.Thread(target=work, args=(name,)) for name in ("left", "right")))
use("after")
"""
    names = ("helper", "after", *(f"{who}-{what}" for who in ("left", "right") for what in ("file", "helper", "child")))
    with marking() as watcher:
        watcher.step("step")
        files.run(watcher, code, *names)
    expected = {name: {""} for name in names}
    check(files, watcher, expected | {"helper": {"alone"}, "left-file": {"left"}, "right-file": {"right"}})


def test_a_thread_may_end_as_soon_as_its_mark_is_answered(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark that ends a test counts, also if its thread, not heard of lately, is gone before that is worked on."""
    mark = attribution.Attribution.mark

    def late(*arguments: Any) -> None:
        time.sleep(0.2)
        mark(*arguments)

    monkeypatch.setattr(attribution.Attribution, "mark", late)
    monkeypatch.setattr(attribution, "_SECONDS_TRUSTED", 0)
    code = """
used, go = threading.Event(), threading.Event()
def work(): mark("one"); use("in"); used.set(); go.wait(); mark()
thread = threading.Thread(target=work); thread.start()
used.wait(); use("beside"); go.set(); thread.join(); use("after")
"""
    with seccomp.Seccomp() as watcher:
        watcher.step("step")
        files.run(watcher, code, "in", "beside", "after")
    assert files.tests(watcher.finish()) == {"in": {"one"}, "beside": {"one"}, "after": {""}}


def test_a_test_ends_with_its_step(marking: Any, files: Files) -> None:
    """What an earlier step left running belongs to the present step, and a test of the same name is another one."""
    heard = """
beats = os.getcwd() + "-beats"
begun = len(os.listdir(beats))
while len(os.listdir(beats)) < begun + 2: time.sleep(0.005)
"""
    with marking() as watcher:
        watcher.step("first")
        code = """
mark("same"); use("one"); os.mkdir(os.getcwd() + "-beats")
child('mark("left")\\nfor number in range(10 ** 9): use("left"); beat(number); time.sleep(0.005)')
"""
        files.run(watcher, code + heard, "one", "left")
        watcher.step("second")
        files.run(watcher, heard + "mark('same'); use('two')", "two")
    observed = watcher.finish()
    check(files, watcher, {"one": {"same"}, "left": {"left", ""}, "two": {"same"}})
    if BlindSpot.TESTS not in watcher.blind_spots:
        assert [(test.step, test.name) for test in observed.tests] == [(0, "left"), (0, "same"), (1, "same")]


def test_the_agent_can_say_which_item_is_exercised(marking: Any, files: Files) -> None:
    """It counts for processes without a mark of their own, those that run already included."""
    with marking() as watcher:
        watcher.step("step")
        watcher.test("item")
        files.run(watcher, "use('item-file'); mark('own'); use('own-file'); mark(); use('item-again')", "item-file",
                  "own-file", "item-again")  # fmt: skip
        watcher.test("")
        files.run(watcher, "use('rest')", "rest")
    check(files, watcher, {"item-file": {"item"}, "own-file": {"own"}, "item-again": {"item"}, "rest": {""}})


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_another_user_can_mark(marking: Any, files: Files) -> None:
    """A mark needs no rights."""
    with marking() as watcher:
        watcher.step("step")
        for name in ("a", "b"):
            (files.directory / name).touch()
        argv = ("/bin/sh", "-c", "[ -e /.slimagent/test/one ]; cat a; (cat b; true)")
        assert watcher.spawn(Command(argv, env={}, cwd=str(files.directory), user=NOBODY)).wait() == 0
    check(files, watcher, {"a": {"one"}, "b": {"one"}})


def test_a_shell_marks_a_command(marking: Any, files: Files) -> None:
    """`slimagent_test NAME COMMAND` works in any shell, and returns the command's status; `set -e` is no trouble."""
    for name in ("a", "b", "c"):
        (files.directory / name).touch()
    script = "set -e\n" + (RUNNERS / "slimagent_test.sh").read_text() + "\nwork() { cat a; return 3; }\n"
    script += "slimagent_test 'plot a' work || [ $? = 3 ]; cat b; slimagent_test 100%25 cat c\n"
    with marking() as watcher:
        watcher.step("step")
        process = watcher.spawn(Command(("/bin/sh", "-c", script), env={}, cwd=str(files.directory)))
        assert process.wait() == 0
    check(files, watcher, {"a": {"plot a"}, "b": {""}, "c": {"100%"}})


def test_what_does_not_fit_is_said(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the limits a use counts for its step, so that no evidence is lost, and the result says so."""
    code = "\n".join(f"mark('{each}'); use('{each}'); use('shared'); mark()" for each in "abcdef")
    seen = []
    for room in ({"tests": 3}, {"pairs": 5}, {}):
        monkeypatch.setattr(seccomp, "Room", lambda room=room: by_test.Room(**room))
        with seccomp.Seccomp() as watcher:
            watcher.step("step")
            files.run(watcher, code, *"abcdef", "shared")
        observed = watcher.finish()
        assert {os.fsencode(files.directory / name) for name in (*"abcdef", "shared")} <= observed.accesses.keys()
        seen.append(
            (observed.tests_cut, len(observed.tests), sum(tests == {""} for tests in files.tests(observed).values()))
        )
    assert seen[0] == (True, 3, 3)
    assert seen[1][0] is True
    assert seen[1][2] > 0
    assert seen[2] == (False, 6, 0)


def test_memory_of_ended_processes_is_bounded(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many processes come and go during a test, and the last is in it as well as the first."""
    monkeypatch.setattr(attribution, "_MOST_MEMBERS", 8)
    names = [f"file-{number}" for number in range(30)]
    code = "mark('one')\nfor number in range(30): child(f\"use('file-{number}')\").wait()"
    with seccomp.Seccomp() as watcher:
        watcher.step("step")
        files.run(watcher, code, *names)
    assert files.tests(watcher.finish()) == {name: {"one"} for name in names}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"/.slimagent/test/a/b::c[d e]", b"a/b::c[d e]"),
        (b"/.slimagent/test/a%2Fb%25%ff%0a", b"a/b%\xff\n"),
        (b"/.slimagent/test/%zz%", b"%zz%"),
        (b"/.slimagent/test", b""),
        (b"/.slimagent/test//", b""),
        (b"/.slimagent/tests/a", None),
        (b"/.slimagent", None),
    ],
)
def test_a_name_is_read_from_its_path(path: bytes, name: bytes | None) -> None:
    assert name_of(path) == name


def test_a_long_name_is_cut_and_stays_apart() -> None:
    one, two = (name_of(b"/.slimagent/test/" + b"x" * 1000 + end) for end in (b"1", b"2"))
    assert one is not None
    assert two is not None
    assert one != two
    assert len(one) == len(two) == attribution.LONGEST_NAME
