"""A traced command behaves as if nobody watched: streams, exit status and signals are its own."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import SLIMAGENT, environment, tracing, wait_until

from slimagent.documents import decode_trace
from slimagent.errors import UsageError
from slimagent.linux.command import shell_status
from slimagent.linux.signals import foreground
from slimagent.model.result import Outcome
from slimagent.model.trace import Trace
from slimagent.trace.seccomp.backend import Seccomp
from slimagent.trace.select import choose

COUNTING = """
trap 'echo x >> got' {name}
echo > ready
while [ ! -e stop ]; do sleep 0.05; done
exit 5
"""
SETTLE = 0.4  # seconds: time enough for a second signal to come, if one is to come


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The scope, and the folder in which commands run."""
    scope = tmp_path / "scope"
    scope.mkdir()
    return scope


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "trace.json"


def traced(output: Path) -> Trace:
    return decode_trace(output.read_bytes())


def test_streams_pass_untouched(folder: Path, output: Path) -> None:
    """Standard input, output and error are the command's own, byte for byte; we add nothing."""
    data = bytes(range(256)) * 1000
    process = tracing(
        folder, output, ["sh", "-c", "cat; printf 'oops\\n' >&2"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, error = process.communicate(data, timeout=60)
    assert (process.returncode, out, error) == (0, data, b"oops\n")


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -KILL $$", 137), ("kill -TERM $$", 143)],
)
def test_the_exit_status_is_the_command_s(folder: Path, output: Path, script: str, status: int) -> None:
    """As a shell gives it: 128 and the signal's number where one ended it. The trace is written all the same."""
    assert tracing(folder, output, ["sh", "-c", script]).wait(60) == status
    (step,) = traced(output).steps
    assert (step.status, step.outcome) == (status, Outcome.FAILED if status else Outcome.PASSED)


def test_a_command_has_no_signals_blocked(folder: Path, output: Path) -> None:
    """What we hold back from ourselves is not held back from the command."""
    process = tracing(folder, output, ["grep", "SigBlk", "/proc/self/status"], stdout=subprocess.PIPE)
    out, _ = process.communicate(timeout=60)
    assert int(out.split()[1], 16) == 0


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"])
def test_a_signal_to_us_reaches_the_command_once(folder: Path, output: Path, name: str) -> None:
    """A signal that somebody sends to the agent alone goes on to the command, which decides what it means."""
    process = tracing(folder, output, ["sh", "-c", COUNTING.format(name=name)], cwd=folder)
    wait_until((folder / "ready").exists, "the command runs")
    process.send_signal(signal.Signals[f"SIG{name}"])
    wait_until((folder / "got").exists, "the signal arrives")
    time.sleep(SETTLE)
    assert (folder / "got").read_text() == "x\n"
    assert process.poll() is None
    (folder / "stop").touch()
    assert process.wait(60) == 5
    assert traced(output).steps[0].status == 5


def test_a_command_may_ignore_that_it_should_end(folder: Path, output: Path) -> None:
    """The agent does not end before its command."""
    script = "trap '' TERM; echo > ready; while [ ! -e stop ]; do sleep 0.05; done; exit 9"
    process = tracing(folder, output, ["sh", "-c", script], cwd=folder)
    wait_until((folder / "ready").exists, "the command runs")
    process.terminate()
    time.sleep(SETTLE)
    assert process.poll() is None
    (folder / "stop").touch()
    assert process.wait(60) == 9


def test_a_command_that_ends_by_our_signal_leaves_a_trace(folder: Path, output: Path) -> None:
    """SIGTERM to the agent ends the command; status 143, and the trace holds what was seen until then."""
    process = tracing(folder, output, ["sh", "-c", "cat seen; echo > ready; exec sleep 60"], cwd=folder)
    wait_until((folder / "ready").exists, "the command runs")
    process.terminate()
    assert process.wait(60) == 143
    assert os.fsencode(folder / "seen") in {access.path for access in traced(output).accesses}


# On a terminal


class Terminal:
    """A process on a pseudo terminal of its own, whose foreground process group it leads."""

    def __init__(self, arguments: list[str], cwd: Path) -> None:
        self.process, self.descriptor = pty.fork()
        if self.process == 0:
            os.chdir(cwd)
            os.execve(arguments[0], arguments, environment())  # noqa: S606 no shell is wanted
        self.shown = b""

    def type(self, keys: bytes) -> None:
        os.write(self.descriptor, keys)

    def wait(self) -> int:
        """The exit status, when the terminal is closed by all."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if not select.select([self.descriptor], [], [], 1.0)[0]:
                continue
            try:
                self.shown += os.read(self.descriptor, 4096)
            except OSError:  # EIO: the other side is closed
                break
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


@pytest.fixture
def terminal(folder: Path, output: Path) -> Iterator[list[Terminal]]:
    """Where a test puts its terminal, for it to be closed at the end."""
    made: list[Terminal] = []
    yield made
    for each in made:
        os.close(each.descriptor)


def on_terminal(made: list[Terminal], folder: Path, output: Path, script: str) -> Terminal:
    arguments = ["trace", "--scope", str(folder), "-o", str(output), "--", "sh", "-c", script]
    made.append(Terminal([*SLIMAGENT, *arguments], folder))
    return made[0]


def test_ctrl_c_reaches_the_command_exactly_once(terminal: list[Terminal], folder: Path, output: Path) -> None:
    """The terminal has sent it to the whole foreground group: we do not send it again, and still write the trace."""
    run = on_terminal(terminal, folder, output, COUNTING.format(name="INT"))
    wait_until((folder / "ready").exists, "the command runs")
    run.type(b"\x03")
    wait_until((folder / "got").exists, "Ctrl-C arrives")
    time.sleep(SETTLE)
    assert (folder / "got").read_text() == "x\n"
    (folder / "stop").touch()
    assert run.wait() == 5
    assert traced(output).steps[0].status == 5


def test_ctrl_c_that_ends_the_command_leaves_a_trace(terminal: list[Terminal], folder: Path, output: Path) -> None:
    """Status 130 as in a shell, no traceback, and the trace is there."""
    run = on_terminal(terminal, folder, output, "cat seen; echo > ready; exec sleep 60")
    wait_until((folder / "ready").exists, "the command runs")
    run.type(b"\x03")
    assert run.wait() == 130
    assert b"Traceback" not in run.shown
    assert os.fsencode(folder / "seen") in {access.path for access in traced(output).accesses}


def test_the_command_has_the_terminal(terminal: list[Terminal], folder: Path, output: Path) -> None:
    """It sees a terminal on all three streams, and reads what is typed."""
    run = on_terminal(terminal, folder, output, "test -t 0 -a -t 1 -a -t 2 || exit 8; read word; echo got-$word")
    run.type(b"hello\n")
    assert run.wait() == 0
    assert b"got-hello" in run.shown


# The waiting itself


def test_a_signal_that_came_with_the_end_does_not_end_us() -> None:
    """What killed the command and is still pending for us is taken, not left to strike when we unblock it."""
    with foreground() as front:
        process = subprocess.Popen(["sh", "-c", "exit 3"])
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        assert front.wait(process, lambda: None) == 3
    assert front.asked_to_end


def test_signals_are_ours_again_afterwards() -> None:
    """The mask of before comes back."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with foreground() as front:
        assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert not front.asked_to_end


def test_a_return_code_as_a_shell_gives_it() -> None:
    """Negative codes are signals."""
    assert [shell_status(code) for code in (0, 7, -9, -15)] == [0, 7, 137, 143]


# The choice of a backend


def test_the_backend_of_a_name_or_the_best() -> None:
    """`auto` takes what works here; an unknown name is refused with those known."""
    if (reason := Seccomp.unavailable()) is not None:
        pytest.skip(reason)
    best = choose()
    assert (best.name, [name for name, _ in best.passed_over]) == ("seccomp", ["fanotify", "inotify"])
    assert isinstance(best.watcher(), Seccomp)
    assert choose("seccomp").passed_over == ()
    with pytest.raises(UsageError, match="no such backend: 'psychic'") as refusal:
        choose("psychic")
    assert "seccomp" in refusal.value.hint
