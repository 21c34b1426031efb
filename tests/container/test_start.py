"""`slimagent start` as the first process of a real container: what insists on that place, and what ends everything."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import wait_until

from slimagent.image import agent
from slimagent.model.result import Outcome
from slimagent.model.started import Reached, Started, Until, decode, has_reached
from slimagent.model.trace import How
from tests.container.conftest import BUNDLE

pytestmark = pytest.mark.container
LIMIT = 60  # seconds


class Place:
    """Containers of the small image that the agent starts as it is described, with the diary at /out."""

    def __init__(self, image: str, out: Path, name: str) -> None:
        self.image, self.out, self.name = image, out, name
        self.diary = out / "started.jsonl"
        out.mkdir()

    def words(self, script: str, *options: str, **config: Any) -> list[str]:
        """A `docker run` of the small image's configuration with this script, and what `config` says instead."""
        asked = subprocess.run(["docker", "image", "inspect", self.image], check=True, capture_output=True)
        (described,) = json.loads(asked.stdout)
        described["Config"] |= {"Entrypoint": ["/bin/sh", "-c"], "Cmd": [script], "ExposedPorts": None, **config}
        (self.out / "image.json").write_text(json.dumps([described]))
        mounts = ("-v", f"{BUNDLE}:/agent:ro", "-v", f"{self.out}:/out")
        start = ("start", "--image-config", "/out/image.json", "-o", "/out/started.jsonl", *options)
        program, *before = agent.bundle(str(BUNDLE)).entry("/agent")  # as `slimagent image` starts it: by no shell
        return [
            "docker",
            "run",
            f"--name={self.name}",
            "--network=none",
            "--user=0",
            *mounts,
            f"--entrypoint={program}",
            self.image,
            *before,
            *start,
        ]

    def run(self, script: str, *options: str, **config: Any) -> subprocess.CompletedProcess[str]:
        """To its end."""
        words = self.words(script, *options, **config)
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False)
        subprocess.run(["docker", "rm", "-f", self.name], check=True, capture_output=True)
        return done

    def reached(self, **config: Any) -> Reached:
        """What it has come to. The container runs on."""
        words = self.words("", "--settle", "1", **config)
        subprocess.run([words[0], words[1], "-d", *words[2:]], check=True, capture_output=True)
        wait_until(lambda: self.diary.exists() and has_reached(self.diary.read_bytes()), "it has come to something")
        state = self.seen().reached
        assert state is not None
        return state

    def seen(self) -> Started:
        return decode(self.diary.read_bytes(), "diary")


@pytest.fixture
def place(small: str, tmp_path: Path) -> Iterator[Place]:
    here = Place(small, tmp_path / "out", f"slimagent-test-{secrets.token_hex(4)}")
    yield here
    subprocess.run(["docker", "rm", "-f", here.name], check=False, capture_output=True)


def how(seen: Started, path: str) -> How:
    return seen.accesses.get(path.encode(), (How(0), ()))[0]


def test_an_entry_point_that_insists_on_being_the_first_process(place: Place) -> None:
    """As s6-overlay's /init does. It runs as the image's user, in its directory, with its environment."""
    done = place.run(
        '[ $$ = 1 ] || exit 100; echo "$(id -u) $PWD $HOME $GREETING"; cat /srv/needed > /dev/null; exit 7'
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "1000 /tmp / hello world\n", "")
    seen = place.seen()
    assert (seen.reached, seen.losses, seen.unwatched) == (None, (), "")
    assert how(seen, "/srv/needed") & How.OPENED
    assert how(seen, "/bin/sh") & How.EXECUTED
    assert not [path for path in seen.accesses if path.startswith((b"/agent", b"/out"))]


STATE = (
    "busybox env | busybox sort; pwd; busybox cat /proc/self/limits; umask; id; busybox ls /proc/$$/fd; ulimit -a;"
    " busybox grep -E '^(Uid|Gid|Groups|Sig[BIC]|Cap|NS)' /proc/$$/status; busybox cut -d' ' -f 4-8,19 /proc/$$/stat;"
    " busybox stat -L -c '%u %a' /dev/stdout /dev/stderr; busybox cat /proc/$$/oom_score_adj; echo $$"
)


@pytest.mark.parametrize("user", ["somebody", "root", "1234:5", "somebody:root"])
def test_it_is_started_just_as_the_engine_starts_it(place: Place, user: str) -> None:
    """User, environment, limits, signals, capabilities, descriptors, session, directory: as by `docker run`."""
    options = ("--rm", "--network=none", "--hostname=here", f"--user={user}", "--entrypoint=/bin/sh")
    plain = subprocess.run(
        ["docker", "run", *options, place.image, "-c", STATE], capture_output=True, text=True, check=True
    )
    words = place.words(STATE, User=user)
    ours = subprocess.run([*words[:2], "--hostname=here", *words[2:]], capture_output=True, text=True, check=False)
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, 0)


def test_all_that_it_touched_is_there_after_it_has_killed_everybody(place: Place) -> None:
    """An init does so at the end: first SIGTERM to all, a last look at some files, then SIGKILL. Ten times."""
    script = (
        "cat /srv/needed > /dev/null; kill -TERM -1; cat /srv/later > /dev/null || exit 101;"
        " test -e /srv/unneeded; kill -KILL -1; exit 5"
    )
    for _ in range(10):
        assert place.run(script, User="").returncode == 5
        seen = place.seen()
        assert how(seen, "/srv/needed") & How.OPENED
        assert how(seen, "/srv/later") & How.OPENED
        assert how(seen, "/srv/unneeded") & How.LOOKED_UP
        assert (seen.reached, seen.losses) == (None, ())
        place.diary.unlink()


@pytest.mark.parametrize(
    ("command", "stops"),
    [(("/bin/sleep", "60"), False), (("/bin/sh", "-c", "trap 'exit 3' INT; sleep 60 & wait; :"), True)],
)
def test_what_the_first_process_does_with_its_stop_signal(place: Place, command: tuple[str, ...], stops: bool) -> None:
    """Without a handler it ignores SIGINT, which this image is stopped with, and would only be waited for in vain."""
    state = place.reached(Entrypoint=command, Cmd=None, Healthcheck=None)
    assert (state.what, state.stops) == (Until.TIME, stops)
    subprocess.run(["docker", "stop", "-t", "20" if stops else "0", place.name], check=True, capture_output=True)
    done = subprocess.run(["docker", "wait", place.name], check=True, capture_output=True)
    assert done.stdout == (b"3\n" if stops else b"137\n")


def test_its_health_check_is_run_as_its_user(place: Place) -> None:
    """And its files are of the second step, whoever looked them up."""
    check = {"Test": ["CMD-SHELL", "test $(id -u) = 1000 && cat /srv/later > /dev/null"]}
    assert place.reached(Cmd=["sleep 60"], Healthcheck=check).what is Until.HEALTHY
    seen = place.seen()
    assert seen.health == (Outcome.PASSED, "")
    assert seen.accesses[b"/srv/later"] == (How.OPENED, (1,))


def test_a_program_that_is_not_there(place: Place) -> None:
    """The status that an engine has for it, and one line."""
    done = place.run("", Entrypoint=["/no/such"], Cmd=None)
    assert done.returncode == 127
    assert done.stderr == "slimagent: cannot start /no/such: No such file or directory\n"
