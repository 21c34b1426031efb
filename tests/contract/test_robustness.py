"""What wears a watcher out: crowds, kills in the midst of calls, odd names, no memory, and who forks for ever."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import tracing
from hypothesis import given
from hypothesis import strategies as st

from slimagent.documents import decode_trace
from slimagent.linux import kernel
from slimagent.linux.command import Command
from slimagent.linux.family import Family
from slimagent.linux.processes import parse_stat
from slimagent.linux.syscalls import MACHINES
from slimagent.trace.record import Record
from slimagent.trace.seccomp.backend import Seccomp
from slimagent.trace.seccomp.filter import build
from slimagent.trace.seccomp.tasks import Tasks
from tests.contract.file_calls import ENVIRONMENT, SECONDS, FileCalls, missed, parse
from tests.contract.rights import CAP_SYS_PTRACE

SECCOMP = ("slimagent.trace.seccomp.backend", "Seccomp")
BOTH = ("slimagent.trace.cross_check", "SeccompFanotify")
FANOTIFY = ("slimagent.trace.fanotify.backend", "Fanotify")
STRANGER = 65533  # a user with no processes of its own
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")


def watched_by(*backends: tuple[str, str]) -> Any:
    """The test is for these backends: the others see no lookups, or share what is tested."""
    return pytest.mark.parametrize("watcher_class", backends, ids=lambda backend: backend[1], indirect=True)


# Many, odd, killed


@watched_by(SECCOMP, BOTH)
@pytest.mark.parametrize("mode", [("crowd", 500), ("hammer", 10, 10, 1000), ("names",), ("longest",)], ids=str)
def test_nothing_is_missed(watcher_class: Any, calls: FileCalls, mode: tuple[object, ...]) -> None:
    """500 processes at once, 100,000 calls as fast as they come, names of any bytes, paths of 4,095 bytes."""
    with watcher_class() as watcher:
        watcher.step("many")
        said = calls.run(watcher, *mode)
    assert said.expected
    assert missed(said, watcher) == []
    # The kernel names an open file by at most 4,095 bytes, and one that is opened relative to a folder can have more.
    is_unnamed = mode == ("longest",) and watcher_class.made_by is not Seccomp
    assert [loss.kind for loss in watcher.finish().losses] == ["unreadable-path"] * is_unnamed
    assert said.results.get("too-long", errno.ENAMETOOLONG) == errno.ENAMETOOLONG


@watched_by(SECCOMP, BOTH)
def test_what_is_killed_in_the_midst_of_calls(watcher_class: Any, calls: FileCalls) -> None:
    """200 processes whose threads are killed while they call: what had returned is seen, and the rest goes on."""
    with watcher_class() as watcher:
        watcher.step("killed")
        said = calls.run(watcher, "killed", 200)
    assert len(said.expected) > 200
    assert missed(said, watcher) == []
    assert watcher.finish().losses == ()


@watched_by(SECCOMP)
def test_a_listener_of_its_own_is_a_loss(watcher_class: Any, calls: FileCalls) -> None:
    """Who wants to watch processes itself gets EBUSY, which is counted; a filter without a listener is no loss."""
    with watcher_class() as watcher:
        watcher.step("own")
        said = calls.run(watcher, "own-listener")
        ours = watcher.spawn(Command(
            [sys.executable, "-c", "from slimagent.trace.seccomp.backend import Seccomp; print(Seccomp.unavailable())"],
            env={**os.environ}, stdout=subprocess.PIPE,
        ))  # fmt: skip
        assert b"another supervisor" in ours.communicate(timeout=SECONDS)[0]
    assert said.results == {"filter": 0, "listener": errno.EBUSY}
    assert missed(said, watcher) == []
    (loss,) = watcher.finish().losses
    assert (loss.kind, loss.count) == ("own-listener", 2)
    assert "file_calls" in loss.example


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_every_jump_of_the_filter_ends_at_a_verdict(machine: Any) -> None:
    """No way through the filter leaves it, or passes the limit of a jump (a byte)."""
    program = build(machine)
    codes = [program[at] for at in range(0, len(program), 8)]
    for place in range(len(codes)):
        true, false = program[8 * place + 2], program[8 * place + 3]
        assert place + 1 + max(true, false) < len(codes) or codes[place] == 0x06
    assert codes[-3:] == [0x06] * 3


# Going on untraced


def test_a_supervisor_that_fails_lets_the_calls_go_on(calls: FileCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error of ours the command ends as it would have, and the trace says that it is not whole."""
    add = Record.add

    def broken(record: Record, step: int, path: bytes, how: int) -> None:
        add(record, step, path, how)
        if path == calls.path("steady-500"):
            raise RuntimeError("planted")

    monkeypatch.setattr(Record, "add", broken)
    with Seccomp() as watcher:
        watcher.step("steady")
        said = calls.run(watcher, "steady", 5000)
    assert said.results["failures"] == 0
    assert missed(said, watcher) == []
    (loss,) = watcher.finish().losses
    assert loss.kind == "supervisor-error"
    assert "planted" in loss.example
    assert calls.path("steady-501") not in watcher.finish().accesses


def test_nothing_comes_before_letting_the_calls_go_on(calls: FileCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory even the closing of a file may fail: it waits until the command has ended."""
    add, close = Record.add, Tasks.close
    failed = threading.Event()

    def broken(record: Record, step: int, path: bytes, how: int) -> None:
        add(record, step, path, how)
        if path == calls.path("steady-500"):
            failed.set()
            raise MemoryError

    def closes_at_the_end(tasks: Tasks) -> None:
        if failed.is_set() and not os.path.exists(calls.path("steady-end")):
            raise MemoryError
        close(tasks)

    monkeypatch.setattr(Record, "add", broken)
    monkeypatch.setattr(Tasks, "close", closes_at_the_end)
    with Seccomp() as watcher:
        watcher.step("steady")
        said = calls.run(watcher, "steady", 5000)
    assert said.results["failures"] == 0
    (loss,) = watcher.finish().losses
    assert (loss.kind, loss.count) == ("supervisor-error", 1)
    assert "MemoryError" in loss.example


AGENT = """
import json, os, resource, sys, time
from slimagent.linux.command import Command
from slimagent.trace.seccomp import guardian
from slimagent.trace.seccomp.backend import Seccomp
program, folder, count, trouble = sys.argv[1:]
if trouble == "no-guardian":
    guardian.Guardian.start = lambda self: None
with open(folder + "/said", "wb") as output, Seccomp() as watcher:
    watcher.step("steady")
    process = watcher.spawn(Command([program, folder, "steady", count], env={}, stdout=output))
    while b"ready" not in open(folder + "/said", "rb").read():
        time.sleep(0.01)
    if trouble == "no-memory":
        size = int(open("/proc/self/statm").read().split()[0]) * 4096
        limit, (soft, hard) = resource.RLIMIT_AS, resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(limit, (size + (4 << 20), hard))
    elif trouble == "no-descriptors":
        limit, (soft, hard) = resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(limit, (3, hard))
    if trouble.startswith("no-"):
        while True:
            try:
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
                break
            except MemoryError:
                pass
        if trouble != "no-guardian":
            resource.setrlimit(limit, (soft, hard))
    else:
        print(json.dumps([process.pid, watcher._guardian._process.pid]), flush=True)
    process.wait()
    losses = [[loss.kind, loss.example] for loss in watcher.finish().losses]
print(json.dumps(losses))
"""


def _agent(calls: FileCalls, count: int, trouble: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", AGENT, calls.program, os.fsdecode(calls.folder), str(count), trouble]
    # The C library gives each thread 64 MiB of address space at once: a limit would be felt late.
    return subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "MALLOC_ARENA_MAX": "1"})


def _failures(calls: FileCalls) -> int:
    with open(calls.path("said"), "rb") as file:
        return parse(file.read()).results["failures"]


@pytest.mark.parametrize(
    ("trouble", "kind", "example"),
    [("no-memory", "supervisor-error", "MemoryError"), ("no-descriptors", "unreadable-path", "Too many open files")],
)
def test_out_of_something_the_command_goes_on(calls: FileCalls, trouble: str, kind: str, example: str) -> None:
    """An agent that gets no more memory or descriptors breaks no call, and says what it could not see."""
    said = _agent(calls, 200_000, trouble).communicate(timeout=2 * SECONDS)[0]
    losses = dict(json.loads(said.splitlines()[-1]))
    assert example in losses[kind]
    assert _failures(calls) == 0


def test_after_an_agent_was_killed_the_command_goes_on(calls: FileCalls) -> None:
    """SIGKILL to the agent, in the midst of a call or not: the command ends well, and the guardian with it."""
    for attempt in range(10):
        agent = _agent(calls, 30_000, "killed")
        assert agent.stdout is not None
        processes = json.loads(agent.stdout.readline())
        time.sleep(attempt * 0.003)
        agent.kill()
        agent.communicate()
        _until(lambda: os.path.exists(calls.path("steady-end")))
        _until(lambda processes=processes: not any(map(_lives, processes)))
        assert _failures(calls) == 0
        os.unlink(calls.path("steady-end"))


def test_the_guardian_outlives_what_a_terminal_sends(calls: FileCalls) -> None:
    """It has a session of its own, ignores what asks it to end, and holds none of the agent's descriptors open."""
    agent = _agent(calls, 100_000, "killed")
    assert agent.stdout is not None
    command, guardian = json.loads(agent.stdout.readline())
    assert os.getsid(guardian) == guardian != os.getsid(agent.pid)
    _until(lambda: _ignores(guardian, signal.SIGQUIT))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        os.kill(guardian, number)
    if kernel.has_capability(CAP_SYS_PTRACE):  # who has not may not look
        open_files = {os.readlink(each.path).split(":")[0] for each in os.scandir(f"/proc/{guardian}/fd")}
        assert open_files <= {"/dev/null", "anon_inode", "socket", "/memfd"}
    agent.kill()
    assert agent.stdout.read() == b""
    agent.stdout.close()
    agent.wait()
    _until(lambda: not _lives(command) and not _lives(guardian))
    assert _failures(calls) == 0


def test_without_a_guardian_the_calls_would_fail(calls: FileCalls) -> None:
    """What the tests above are worth: the same command breaks when nobody stands in for a killed agent."""
    agent = _agent(calls, 1_000_000, "no-guardian")
    _until(
        lambda: os.path.exists(calls.path("said")) and b"ready" in Path(os.fsdecode(calls.path("said"))).read_bytes()
    )
    agent.kill()
    agent.communicate()
    _until(lambda: os.path.exists(calls.path("said")) and b"failures" in _text(calls.path("said")))
    assert _failures(calls) > 0


# Who forks for ever


@watched_by(SECCOMP, FANOTIFY)
@pytest.mark.parametrize("arguments", [(), ("session",)], ids=["same session", "own sessions"])
def test_a_chain_of_forks_is_stopped(watcher_class: Any, calls: FileCalls, arguments: tuple[str, ...]) -> None:
    """Each process forks the next and ends, deaf to SIGTERM: no listing shows it, and yet it is stopped."""
    with watcher_class() as watcher:
        watcher.step("chain")
        said = calls.run(watcher, "fork-chain", *arguments)
        watcher.finish()
        assert _running(calls) == []
    assert missed(said, watcher) == []


@as_root
@watched_by(SECCOMP, FANOTIFY)
def test_a_bomb_of_forks_is_stopped(watcher_class: Any, calls: FileCalls) -> None:
    """300 processes that fill every gap in the table, deaf to SIGTERM, are stopped all."""
    with watcher_class() as watcher:
        watcher.step("bomb")
        running = calls.start(watcher, "fork-bomb", 300, STRANGER)
        _until(lambda: len(_running(calls)) > 250)
        observed = watcher.finish()
        assert _running(calls) == []
    assert 0 < len(observed.stopped) <= 100
    assert running.process.wait(timeout=10) == -signal.SIGKILL


@as_root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_bomb_leaves_a_trace(calls: FileCalls, tmp_path: Path, number: signal.Signals) -> None:
    """`slimagent trace` of a command that forks for ever ends it when it is asked to end, and writes the trace."""
    output = tmp_path / "trace.json"
    line = f"{calls.program} {os.fsdecode(calls.folder)} fork-bomb 200 {STRANGER} & wait"
    agent = tracing(Path(os.fsdecode(calls.folder)), output, ["sh", "-c", line], stdout=subprocess.DEVNULL)
    _until(lambda: len(_running(calls)) > 150)
    agent.send_signal(number)
    assert agent.wait(SECONDS) == 128 + number
    assert _running(calls) == []
    assert calls.path("fork-bomb") in {access.path for access in decode_trace(output.read_bytes()).accesses}


def test_orphans_are_collected_beside_a_child_of_the_agent_s(calls: FileCalls) -> None:
    """A zombie that is somebody else's to collect stays, and hides no other."""
    with Family() as family:
        mine = subprocess.Popen(["true"])
        os.waitid(os.P_PID, mine.pid, os.WEXITED | os.WNOWAIT)
        shell = family.spawn(Command(["sh", "-c", "for i in 1 2 3; do (sleep 0.1 & ) ; done"], env=ENVIRONMENT))
        assert shell.wait(timeout=SECONDS) == 0
        collected = 0
        deadline = time.monotonic() + SECONDS
        while collected < 3:
            assert time.monotonic() < deadline
            collected += family.reap()
        assert mine.wait(timeout=SECONDS) == 0


@given(
    st.binary(max_size=15).filter(lambda name: b"\0" not in name),
    st.integers(1, 1 << 22), st.integers(0, 1 << 22), st.sampled_from(b"RSDZTtXI"), st.integers(1, 9999),
)  # fmt: skip
def test_a_line_of_the_process_table_is_read(name: bytes, number: int, parent: int, state: int, threads: int) -> None:
    """Whatever the program is called: a name may hold blanks, brackets and line ends."""
    line = b"%d (%s) %c %d" % (number, name, state, parent) + b" 0" * 15 + b" %d 0 1 2\n" % threads
    process = parse_stat(line)
    assert process == (number, b"%c" % state, parent, threads)
    assert process.lives == (state not in b"ZX" or threads > 1)


def _running(calls: FileCalls) -> list[int]:
    """The living processes that run the program."""
    return [
        process.pid
        for process in psutil.process_iter(["exe", "status"])
        if process.info["exe"] == calls.program and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def _lives(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _ignores(process: int, number: int) -> bool:
    for line in _text(f"/proc/{process}/status").splitlines():
        if line.startswith(b"SigIgn:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def _text(path: Any) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
