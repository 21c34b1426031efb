"""`slimagent start` for real: the agent becomes the image's own process, and a watcher beside it writes a diary.

Here that process is not the first one of a container, so that the watcher has to be ended.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import LIMIT, SLIMAGENT, assert_error, environment, slimagent, wait_until

from slimagent.linux import kernel
from slimagent.linux.command import Command
from slimagent.model.result import Outcome
from slimagent.model.started import Reached, Started, Until, decode, has_reached
from slimagent.model.trace import How
from slimagent.trace.seccomp.backend import Seccomp
from slimagent.workflows import starting

pytestmark = pytest.mark.skipif(Seccomp.unavailable() is not None, reason=f"seccomp: {Seccomp.unavailable()}")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NOBODY = pwd.getpwnam("nobody")
_MARK = "START_TEST_MARK"
RESERVED = 0b11 << 31  # signals 32 and 33 are the C library's own: signal.valid_signals() does not have them
PYTHON = (sys.executable, "-I", "-S", "-c")


class Place:
    """Where images are described, and the processes that were started here, which an environment variable marks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.diary = folder / "started.jsonl"
        self.mark = secrets.token_hex(8)

    def start(
        self, *entrypoint: str | Path, options: tuple[str, ...] = (), env: dict[str, str] | None = None, **config: Any
    ) -> subprocess.Popen[bytes]:
        """`slimagent start` of an image with this configuration."""
        image = {"Architecture": "amd64", "Os": "linux", "Config": {"Entrypoint": list(map(str, entrypoint)), **config}}
        described = self.folder / "image.json"
        described.write_text(json.dumps([image]))
        self.diary.unlink(missing_ok=True)
        return subprocess.Popen(
            [*SLIMAGENT, "start", "--image-config", str(described), "-o", str(self.diary), *options],
            env={**environment(), **(env or {}), _MARK: self.mark},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ended(self, process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
        """The status of the process that the agent became, and what it said."""
        status = process.wait(LIMIT)
        self.end_all()  # they have its streams
        out, error = process.communicate(timeout=LIMIT)
        return status, out.decode(), error.decode()

    def run(self, *entrypoint: str | Path, **more: Any) -> tuple[int, str, str]:
        """To its end."""
        return self.ended(self.start(*entrypoint, **more))

    def seen(self) -> Started:
        return decode(self.diary.read_bytes(), "diary")

    def reached(self) -> Reached:
        """What it came to, as soon as that is written."""
        wait_until(lambda: self.diary.exists() and has_reached(self.diary.read_bytes()), "it has come to something")
        state = self.seen().reached
        assert state is not None
        return state

    def running(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and self._is_ours(process):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _is_ours(self, process: psutil.Process) -> bool:
        """By its environment, or, of an agent, which closes its own to all that have no SYS_PTRACE, by its words."""
        return str(self.folder) in " ".join(process.cmdline()) or process.environ().get(_MARK) == self.mark

    def end_all(self) -> None:
        while left := self.running():
            for process in left:
                try:
                    process.kill()
                except psutil.Error:
                    continue


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    here = Place(tmp_path.resolve())
    yield here
    here.end_all()


def used(seen: Started, path: Path | str) -> tuple[How, tuple[int, ...]]:
    return seen.accesses.get(os.fsencode(path), (How(0), ()))


def a_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_what_it_opens_is_in_the_diary_and_time_is_what_it_comes_to(place: Place) -> None:
    """With the command's words after the entry point's, found or not, of children too."""
    (place.folder / "needed").write_text("x")
    script = f'cat {place.folder}/needed; test -e {place.folder}/no; echo "$@"; exec sleep 60'
    process = place.start("/bin/sh", "-c", script, "sh", Cmd=["a b", "c"], options=("--settle", "0.5"))
    state = place.reached()
    seen = place.seen()
    assert (state.what, state.ports, seen.waited_for, seen.backend) == (Until.TIME, (), Until.TIME, "seccomp")
    assert used(seen, place.folder / "needed") == (How.OPENED, (0,))
    assert used(seen, place.folder / "no")[0] & How.LOOKED_UP
    assert used(seen, "/bin/sh")[0] & How.EXECUTED
    assert (seen.losses, seen.unwatched, seen.health) == ((), "", None)
    assert process.poll() is None
    process.kill()
    assert place.ended(process)[:2] == (-signal.SIGKILL, "xa b c\n")


def test_the_agent_s_own_files_are_not_in_the_diary(place: Place) -> None:
    """It watches the image's process from its first step on, and not itself."""
    place.run("/bin/true")
    assert not [path for path in place.seen().accesses if path.endswith(b".py") or b"site-packages" in path]


def test_a_port_is_waited_for(place: Place) -> None:
    """A server of the image: the one that answers, and one that does not."""
    port, other = a_free_port(), a_free_port()
    code = f"import http.server as h; h.HTTPServer(('127.0.0.1', {port}), h.SimpleHTTPRequestHandler).serve_forever()"
    place.start(sys.executable, "-c", code, ExposedPorts={f"{port}/tcp": {}, f"{other}/tcp": {}, "53/udp": {}})
    state = place.reached()
    assert (state.what, dict(state.ports)) == (Until.PORT, {port: True, other: False})
    assert place.seen().waited_for is Until.PORT


def test_a_health_check_is_waited_for_and_its_files_are_a_step_of_their_own(place: Place) -> None:
    """It fails at first; the last word counts."""
    up = place.folder / "up"
    place.start(
        "/bin/sh", "-c", f"sleep 1; : > {up}; exec sleep 60", Healthcheck={"Test": ["CMD", "test", "-e", str(up)]}
    )
    assert place.reached().what is Until.HEALTHY
    seen = place.seen()
    assert seen.health == (Outcome.PASSED, "")
    assert b'["health","failed"' in place.diary.read_bytes()
    assert used(seen, up) == (How.LOOKED_UP | How.OPENED, (0, 1))


def test_a_health_check_that_never_passes(place: Place) -> None:
    """Its last words are there, and the start is said to have come to nothing but time."""
    place.start(
        "/bin/sleep", "60", options=("--seconds", "2"),
        Healthcheck={"Test": ["CMD-SHELL", "echo not yet >&2; exit 3"]},
    )  # fmt: skip
    assert place.reached().what is Until.TIME
    assert place.seen().health == (Outcome.FAILED, "exit status 3\nnot yet")


def test_the_end_is_waited_for(place: Place) -> None:
    """As long as was said, whatever else there is."""
    place.start("/bin/sleep", "60", options=("--until", "exit", "--seconds", "2.5"))
    state = place.reached()
    assert state.what is Until.TIME
    assert state.seconds >= 2.5


def test_an_image_that_ends_by_itself_leaves_no_word_of_what_it_came_to(place: Place) -> None:
    """Its status is the container's, and what it touched is there."""
    process = place.start("/bin/sh", "-c", "cat /etc/passwd > /dev/null; exit 7")
    assert process.wait(LIMIT) == 7
    seen = place.seen()
    assert seen.reached is None
    assert used(seen, "/etc/passwd") == (How.OPENED, (0,))


@pytest.mark.parametrize(("mode", "status"), [(None, 127), (0o644, 126), (0o755, 126)])
def test_what_cannot_be_executed_has_the_status_that_engines_give_it(
    place: Place, mode: int | None, status: int
) -> None:
    """Not there; not executable; and of no known format."""
    program = place.folder / "program"
    if mode is not None:
        program.write_text("neither a script nor a program\n")
        program.chmod(mode)
    ended, out, error = place.run(program)
    assert (ended, out) == (status, "")
    assert error.startswith(f"slimagent: cannot start {program}: ")
    assert len(error.splitlines()) == 1
    assert used(place.seen(), program)[0] & (How.EXECUTED | How.LOOKED_UP)


def test_a_working_directory_that_is_not_there_is_named(place: Place) -> None:
    """It is not the program that is missing."""
    status, _, error = place.run("/bin/true", WorkingDir=str(place.folder / "no"))
    assert status == 127
    assert error == f"slimagent: cannot start /bin/true in {place.folder}/no: No such file or directory\n"


def test_relative_words_are_seen_from_the_working_directory(place: Place) -> None:
    """The program and what it opens."""
    (place.folder / "sub").mkdir()
    script = place.folder / "sub/entry.sh"
    script.write_text("#!/bin/sh\npwd\ncat word\n")
    script.chmod(0o755)
    (place.folder / "sub/word").write_text("here\n")
    assert place.run("./entry.sh", WorkingDir=str(place.folder / "sub"))[:2] == (0, f"{place.folder}/sub\nhere\n")
    seen = place.seen()
    assert used(seen, script)[0] & How.EXECUTED
    assert used(seen, place.folder / "sub/word")[0] & How.OPENED


def test_a_program_is_found_on_the_container_s_path(place: Place) -> None:
    """As execvp(3) does, in the directories of PATH; what was looked for before is in the diary."""
    script = place.folder / "image-program"
    script.write_text("#!/bin/sh\necho found\n")
    script.chmod(0o755)
    path = f"/nowhere:{place.folder}:/usr/bin:/bin"
    assert place.run("image-program", env={"PATH": path})[:2] == (0, "found\n")
    assert used(place.seen(), "/nowhere/image-program")[0]
    assert used(place.seen(), script)[0] & How.EXECUTED


def masks(status: str) -> dict[str, int]:
    """Which signals are held back, ignored and caught, as /proc/PID/status says it."""
    lines = (line.split(":\t") for line in status.splitlines() if line.startswith(("SigBlk", "SigIgn", "SigCgt")))
    return {name: int(mask, 16) for name, mask in lines}


def test_the_process_is_as_an_engine_would_have_started_it(place: Place) -> None:
    """Signals are what they are by default, no descriptor is the agent's, and the environment says nothing of it."""
    listing = place.run("/bin/ls", "/proc/self/fd")
    assert listing == (0, "0\n1\n2\n3\n", "")  # the last one is of the listing itself
    found = masks(place.run("/bin/cat", "/proc/self/status")[1])
    given = subprocess.run(["/bin/cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    inherited = masks(given)["SigIgn"] & RESERVED  # who started the tests may ignore them, and nobody can undo it
    assert found == {"SigBlk": 0, "SigIgn": inherited, "SigCgt": 0}
    plain = {"LC_ALL": "", "LANG": "C", "SLIMAGENT_ERROR": "", "ADDED": "by the engine"}
    given = {**{name: value for name, value in environment().items() if not name.startswith("LC_")}, **plain}
    lines = place.run(*("/usr/bin/env", "-0"), env=given)[1].split("\0")
    there = dict(line.split("=", 1) for line in lines if line)
    assert there["ADDED"] == "by the engine"
    assert not [name for name in there if name.startswith("SLIMAGENT_")]
    assert "LC_CTYPE" not in there or "LC_CTYPE" in environment()


def test_limits_are_the_container_s(place: Place) -> None:
    """Nothing of the agent's own is inherited, and no session is made."""
    script = "import resource as r, os; print([r.getrlimit(n) for n in range(16)], os.getsid(0), os.getpid())"
    status, out, _ = place.run(*PYTHON, script)
    plain = subprocess.run([*PYTHON, script], capture_output=True, text=True, check=True).stdout
    assert status == 0
    assert out.split()[:-1] == plain.split()[:-1]


@needs_root
@pytest.mark.parametrize(
    ("config", "home"),
    [
        ({"User": "nobody"}, NOBODY.pw_dir),
        ({"User": "54321"}, "/"),
        ({"User": "nobody", "Env": ["HOME=/set"]}, "/set"),
        ({}, "/set"),
    ],
)
def test_the_user_is_the_image_s_with_a_home_of_its_own(place: Place, config: dict[str, Any], home: str) -> None:
    """HOME is that user's unless the image sets it, USER is not set at all, and /dev/stdout can be opened anew."""
    given = "/set" if home == "/set" else pwd.getpwuid(0).pw_dir
    script = 'echo "$(id -u) $HOME $USER" > /dev/stdout; echo said > /dev/stderr'
    env = {"HOME": given, "USER": "", "PATH": "/usr/bin:/bin"}
    place.folder.chmod(0o755)
    status, out, error = place.run("/bin/sh", "-c", script, env=env, **config)
    number = {"nobody": NOBODY.pw_uid, "54321": 54321}.get(config.get("User", ""), 0)
    assert (status, out, error) == (0, f"{number} {home} \n", "said\n")
    assert place.seen().losses == ()


def test_what_it_opened_last_is_there_however_soon_its_watcher_is_killed(place: Place) -> None:
    """The end of a container is that of its first process, and kills the watcher in the same moment.

    Here the process does it: it opens a file and kills its child. A call goes on only after it was written down.
    """
    script = (
        "import os; (watcher,) = map(int, open('/proc/self/task/%d/children' % os.getpid()).read().split());"
        "os.close(os.open({last!r}, os.O_RDONLY)); os.kill(watcher, 9)"
    )
    for attempt in range(20):
        last = place.folder / f"last-{attempt}"
        last.write_text("")
        assert place.run(*PYTHON, script.format(last=str(last)))[0] == 0
        assert used(place.seen(), last) == (How.OPENED, (0,)), f"attempt {attempt}"


def test_a_signal_to_everybody_is_not_for_the_watcher(place: Place) -> None:
    """As an init sends it to all processes before the end: what it does then is seen, and its calls do not fail."""
    script = (
        "import os, time; (watcher,) = map(int, open('/proc/self/task/%d/children' % os.getpid()).read().split());"
        "[(os.kill(watcher, number), time.sleep(0.1)) for number in (1, 2, 3, 10, 12, 14, 15, 20)];"
        "open('/etc/passwd').close(); os._exit(5)"
    )
    process = place.start(*PYTHON, script)
    assert process.wait(LIMIT) == 5
    assert used(place.seen(), "/etc/passwd")[0] & How.OPENED


def test_where_nothing_can_be_watched_it_starts_all_the_same(place: Place) -> None:
    """The kernel has room for one listener: beside another watcher the diary says why it saw nothing."""
    described = place.folder / "image.json"
    config = {"Entrypoint": ["/bin/sh", "-c", "cat /etc/passwd > /dev/null; exec sleep 60"]}
    described.write_text(json.dumps({"Architecture": "amd64", "Os": "linux", "Config": config}))
    options = ("--image-config", str(described), "-o", str(place.diary), "--settle", "0.5")
    with Seccomp() as watcher:
        watcher.step("outer")
        watcher.spawn(Command([*SLIMAGENT, "start", *options], env={**environment(), _MARK: place.mark}))
        state = place.reached()
        place.end_all()
    seen = place.seen()
    assert (state.what, seen.backend, seen.accesses, seen.blind_spots) == (Until.TIME, "", {}, ())
    assert "another supervisor already watches" in seen.unwatched


def test_what_cannot_be_started_at_all_is_said_before(place: Place) -> None:
    """By a line and a hint; nothing is written then."""
    described = place.folder / "image.json"

    def asked(**config: Any) -> subprocess.CompletedProcess[str]:
        described.write_text(json.dumps({"Architecture": "amd64", "Os": "linux", "Config": config}))
        return slimagent("start", "--image-config", described, "-o", place.diary)

    assert_error(asked(), 2, "neither ENTRYPOINT nor CMD")
    assert_error(asked(Cmd=["/bin/true"], User="no-such-user"), 2, "no-such-user")
    assert not place.diary.exists()
    place.diary.write_text("somebody's own")
    assert_error(asked(Cmd=["/bin/true"]), 4, str(place.diary), "File exists")
    assert place.diary.read_text() == "somebody's own"


def test_ports_that_answer(place: Place) -> None:
    """Each is asked at any address of this machine; the ones that answer are printed."""
    silent = a_free_port()
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
        done = slimagent("ports", "--seconds", "1", str(port), str(silent))
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{port}\n", "")
        assert starting.ask((port,), 0.0) == (port,)
    done = slimagent("ports", "--seconds", "0.2", str(silent))
    assert (done.returncode, done.stdout) == (1, "\n")
    assert slimagent("ports", "65536").returncode == 2


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_a_server_of_ipv6_alone_answers() -> None:
    """As some listen."""
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 address ::1")
    with server:
        assert starting.answering(server.getsockname()[1])


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SIGINT", signal.SIGINT), ("QUIT", signal.SIGQUIT), ("sigusr1", signal.SIGUSR1), ("9", 9),
        ("", signal.SIGTERM),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3), ("RTMAX-1", signal.SIGRTMAX - 1), ("SIGRTMIN", signal.SIGRTMIN),
        ("SIGNONE", signal.SIGTERM), ("SIGRTMIN+99", signal.SIGTERM), ("0", signal.SIGTERM), ("999", signal.SIGTERM),
    ],
)  # fmt: skip
def test_stop_signals_as_images_name_them(name: str, number: int) -> None:
    """With SIG or without, as numbers, and the real-time ones that systemd is stopped with."""
    assert starting.signal_number(name) == number


def test_a_program_s_name_is_text_whatever_its_bytes(place: Place) -> None:
    """It is in losses, which are written as JSON."""
    program = os.fsencode(place.folder) + b"/caf\xe9"
    os.symlink("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as process:
        wait_until(lambda: kernel.program(process.pid).startswith("caf"), "it has executed")
        assert kernel.program(process.pid) == "caf\\xe9"
        process.kill()
