"""Seccomp held against fanotify: what was opened around the filter is found, and nothing else is taken for that."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.linux.command import Command
from slimagent.model.trace import BlindSpot, How, Loss
from slimagent.trace.compare_backends import interpreter, unseen
from slimagent.trace.cross_check import SeccompFanotify
from tests.contract.conftest import lacking
from tests.contract.file_calls import ENVIRONMENT, FileCalls, missed

# Opens argv[1] by its handle: no path is named but to make the handle, which is a look-up (open_by_handle_at(2)).
BY_HANDLE = """
libc = ctypes.CDLL(None, use_errno=True)
handle, mount = ctypes.create_string_buffer(136), ctypes.c_int()
ctypes.c_uint32.from_buffer(handle).value = 128
if libc.name_to_handle_at(-100, os.fsencode(sys.argv[1]), handle, ctypes.byref(mount), 0):
    sys.exit(f"name_to_handle_at: {os.strerror(ctypes.get_errno())}")
if libc.open_by_handle_at(os.open(os.path.dirname(sys.argv[1]), os.O_RDONLY), handle, os.O_RDONLY) < 0:
    sys.exit(f"open_by_handle_at: {os.strerror(ctypes.get_errno())}")
"""


@pytest.fixture
def folder() -> Iterator[bytes]:
    """A folder by its real name, on a file system that fanotify watches."""
    reason = SeccompFanotify.unavailable()
    if reason is not None:
        lacking(reason)
    made = os.fsencode(os.path.realpath(tempfile.mkdtemp(prefix="cross-check-", dir="/tmp")))
    yield made
    shutil.rmtree(made)


def make(path: bytes, data: bytes = b"data", mode: int = 0o644) -> bytes:
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)
    return path


def run(watcher: Any, *command: bytes | str) -> None:
    """Run a command under the watcher, to its good end."""
    process = watcher.spawn(Command(list(command), env=ENVIRONMENT, stdout=subprocess.DEVNULL))
    assert process.wait(timeout=60) == 0


def script(text: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-B", "-c", f"import ctypes, os, sys\n{text}")


def watched(*command: bytes | str) -> Any:
    """What both saw of one command."""
    with SeccompFanotify() as watcher:
        watcher.step("command")
        run(watcher, *command)
    return watcher.finish()


def unseen_opens(observed: Any) -> list[Loss]:
    return [loss for loss in observed.losses if loss.kind == "unseen-open"]


def test_a_way_around_the_filter_is_found(folder: bytes) -> None:
    """A file that is opened by its handle is evidence, and a loss that names it."""
    path = make(folder + b"/file")
    observed = watched(*script(BY_HANDLE), path)
    assert observed.accesses[path][0] & How.OPENED
    (loss,) = unseen_opens(observed)
    assert (loss.count, loss.example) == (1, os.fsdecode(path))


def test_three_of_many_are_named(folder: bytes) -> None:
    """All are counted, three are named."""
    paths = [make(folder + b"/%d" % number) for number in range(5)]
    loop = "\n ".join(["for sys.argv[1] in sys.argv[1:]:", *BY_HANDLE.strip().splitlines()])
    (loss,) = unseen_opens(watched(*script(loop), *paths))
    assert (loss.count, loss.example) == (5, ", ".join(map(os.fsdecode, paths[:3])))


def test_scripts_and_their_interpreters_are_explained(folder: bytes) -> None:
    """The kernel opens the interpreter of a script, that one's interpreter, and the loader: evidence, and no loss."""
    real = make(folder + b"/real", b"#!/bin/sh\nexit 0\n", 0o755)
    os.symlink(b"real", folder + b"/link")
    outer = make(folder + b"/outer", b"#! " + folder + b"/link  -x\n", 0o755)
    observed = watched(outer)
    assert observed.accesses[real][0] & How.EXECUTED
    assert os.path.realpath(b"/bin/sh") in observed.accesses
    assert observed.losses == ()


@pytest.mark.usefixtures("folder")
def test_a_program_of_its_own_is_explained(calls: FileCalls) -> None:
    """Its loader is the kernel's doing, as its PT_INTERP says."""
    with SeccompFanotify() as watcher:
        watcher.step("leaf")
        said = calls.run(watcher, "leaf", "one")
    assert missed(said, watcher) == []
    assert watcher.finish().losses == ()
    loaders = [path for path, (how, _) in watcher.finish().accesses.items() if b"/ld-" in path and how & How.EXECUTED]
    assert loaders


@pytest.mark.parametrize(
    "text",
    [
        "open('link/../below/file').close(); open('to-file').close(); os.listdir('link')",
        "open('file').close(); os.unlink('file')",
        "f = open('file'); os.rename('file', 'other'); open(f'/proc/self/fd/{f.fileno()}').close()",
        "os.mkdir('new'); open('new/file', 'w').close(); os.rename('new', 'newer'); os.listdir('newer')",
        "os.mkdir('new'); os.symlink('new', 'n'); open('n/file', 'w').close(); os.unlink('n')",
        "os.link('file', 'second'); open('second').close(); open('file').close()",
        "f = os.open('file', os.O_PATH); open(f'/proc/self/fd/{f}').close()",
        "os.open('.', os.O_TMPFILE | os.O_RDWR)",
        "f = os.memfd_create('x', 0); os.write(f, open(sys.executable, 'rb').read())\n"
        "assert os.spawnv(os.P_WAIT, f'/proc/self/fd/{f}', ['x', '-V']) == 0",
        "f = open('s', 'w'); f.write('#!/usr/bin/uname -a'); os.chmod('s', 0o755); f.close()\n"
        "assert os.spawnv(os.P_WAIT, 's', ['s']) == 1; os.unlink('s')",
        "f = os.open('/bin/true', os.O_RDONLY); os.fork() and os.wait() or os.execve(f, ['true'], {})",
        "open('/dev/null').close(); open('/proc/self/status').close(); open('/dev/shm/x-' + str(os.getpid()), 'x')"
        ".close(); os.unlink('/dev/shm/x-' + str(os.getpid()))",
    ],
    ids=[
        "links",
        "removed",
        "renamed",
        "folder",
        "link-gone",
        "hard",
        "path-only",
        "unnamed",
        "memory",
        "script-gone",
        "fexecve",
        "else",
    ],
)
def test_what_was_called_for_is_no_loss(folder: bytes, text: str) -> None:
    """However a file comes by its name, and whatever becomes of it, its open is found among the calls."""
    make(folder + b"/file")
    os.mkdir(folder + b"/below")
    make(folder + b"/below/file")
    os.symlink(folder + b"/below", folder + b"/link")
    os.symlink(b"link/file", folder + b"/to-file")
    observed = watched(*script(f"os.chdir({os.fsdecode(folder)!r})\n{text}"))
    assert observed.losses == ()


def test_another_root_is_explained(folder: bytes) -> None:
    """In a root of its own a program's interpreters are those below that root."""
    jail = folder + b"/jail"
    loaded = subprocess.run(["ldd", "/bin/sh"], check=True, capture_output=True).stdout.split()
    for path in {os.path.normpath(word) for word in loaded if word[:1] == b"/"}:
        os.makedirs(os.path.dirname(jail + path), exist_ok=True)
        shutil.copy(path, jail + path)
    shutil.copy(os.path.realpath("/bin/sh"), jail + b"/sh")
    make(jail + b"/script", b"#!/sh\nexit 0\n", 0o755)
    observed = watched(*script("os.chroot(sys.argv[1]); os.execv('/script', ['script'])"), jail)
    assert observed.accesses[jail + b"/sh"][0] & How.EXECUTED
    assert observed.losses == ()


def test_a_process_from_elsewhere_is_not_reported(folder: bytes) -> None:
    """What the agent did not start is neither evidence nor a loss."""
    path = make(folder + b"/file")
    with SeccompFanotify() as watcher:
        watcher.step("elsewhere")
        other = subprocess.Popen(
            [*script("open(sys.argv[1]).close(); os.write(1, b'x'); os.read(0, 1)"), path], stdin=-1, stdout=-1
        )
        assert other.stdout is not None
        other.stdout.read(1)
        run(watcher, "true")
        watcher.step("read")
        other.communicate()
        subprocess.run(["cat", path], check=True, stdout=subprocess.DEVNULL)  # and one that is gone
    observed = watcher.finish()
    assert path not in observed.accesses
    assert observed.losses == ()


def test_both_see_their_part_step_by_step(folder: bytes) -> None:
    """A look-up is seccomp's, a loader fanotify's; a path that both saw has the steps of both."""
    path = make(folder + b"/file")
    with SeccompFanotify() as watcher:
        for name in ("first", "second"):
            watcher.step(name)
            run(watcher, "cat", path)
        watcher.step("third")
        run(watcher, "test", "!", "-e", folder + b"/missing")
    accesses = watcher.finish().accesses
    assert accesses[path] == (accesses[path][0], (0, 1))
    assert accesses[folder + b"/missing"] == (How.LOOKED_UP, (2,))
    assert BlindSpot.OTHER_PROCESSES in watcher.blind_spots
    assert len(watcher.blind_spots) == 1


def test_a_masked_file_is_gone_under_both(folder: bytes) -> None:
    """The mask is seccomp's."""
    path = make(folder + b"/file")
    with SeccompFanotify(lambda each: each == path) as watcher:
        watcher.step("masked")
        process = watcher.spawn(Command(["cat", path], env=ENVIRONMENT, stderr=subprocess.DEVNULL))
        assert process.wait(timeout=60) == 1
    assert watcher.finish().losses == ()


NAMES = st.sampled_from([b"/a", b"/b", b"/c/d", b"/c/e", b"/l/d", b"/l"])
OPENS = st.sampled_from([How.OPENED, How.EXECUTED, How.LISTED, How.OPENED | How.EXECUTED])
CALLS = st.dictionaries(NAMES, st.tuples(OPENS | st.just(How.LOOKED_UP), st.just((0,))))
EVENTS = st.dictionaries(NAMES, st.tuples(OPENS, st.just((0,))))
LINKS = {b"/l": b"/c"}
INTERPRETERS = {b"/a": b"/l/d", b"/c/d": b"/b"}


@given(CALLS, CALLS, EVENTS)
def test_more_calls_explain_more(calls: Any, more: Any, events: Any) -> None:
    """What few calls explain, more calls explain too; what is left was opened, and by no call that is known."""
    arguments = (LINKS.get, INTERPRETERS.get, lambda path: False)
    left = unseen(calls, events, *arguments)
    both = {path: (calls.get(path, (How(0),))[0] | more.get(path, (How(0),))[0], (0,)) for path in {*calls, *more}}
    assert set(unseen(both, events, *arguments)) <= set(left) <= set(events)
    assert left == sorted(left)
    assert unseen(events, events, *arguments) == []
    assert unseen(calls, events, LINKS.get, INTERPRETERS.get, lambda path: True) == []


def test_an_interpreter_explains_executions_only() -> None:
    """The kernel executes an interpreter; whoever opens it to read it made a call."""
    calls = {b"/a": (How.EXECUTED, (0,))}
    for how, left in ((How.EXECUTED, []), (How.OPENED, [b"/b", b"/c/d"])):
        events = dict.fromkeys((b"/b", b"/c/d"), (how, (0,)))
        assert unseen(calls, events, LINKS.get, INTERPRETERS.get, lambda path: False) == left


def test_a_look_up_explains_no_open() -> None:
    """Who made a handle of a path and opened that opened it around the filter."""
    calls, events = {b"/a": (How.LOOKED_UP, (0,))}, {b"/a": (How.OPENED, (0,))}
    assert unseen(calls, events, LINKS.get, INTERPRETERS.get, lambda path: False) == [b"/a"]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"#!/bin/sh\n", b"/bin/sh"),
        (b"#! \t/bin//sh -e -x\nrest", b"/bin/sh"),
        (b"#!/bin/sh", b"/bin/sh"),
        (b"#!\n", None),
        (b"#!relative/sh\n", None),
        (b"#", None),
        (b"", None),
        (b"\x7fELF", None),
    ],
)
def test_the_first_line_of_a_script(head: bytes, expected: bytes | None) -> None:
    """As execve(2) reads it; what cannot be read has no interpreter."""
    assert interpreter(lambda offset, size: head[offset : offset + size]) == expected


def test_the_loader_of_a_program() -> None:
    """PT_INTERP of a real program is a file that is there; a library has none."""
    data = Path(os.path.realpath("/bin/sh")).read_bytes()
    found = interpreter(lambda offset, size: data[offset : offset + size])
    assert found is not None
    assert os.path.exists(found)


@given(st.binary(max_size=400))
def test_no_program_crashes_the_reader(data: bytes) -> None:
    """Whatever is executed, it has an absolute interpreter or none."""
    found = interpreter(lambda offset, size: data[offset : offset + size])
    assert found is None or found[:1] == b"/"
