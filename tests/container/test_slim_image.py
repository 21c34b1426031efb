"""`slimagent image`, whole, on a small image of busybox; and nothing is left behind, however it ends."""

from __future__ import annotations

import json
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.container.conftest import BUNDLE

DOCUMENTS = {"image.json", "trace.json", "plan.json", "receipt.json", "summary.json", "verification.json", "summary.md"}


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout


def command(*arguments: str, agent: Path = BUNDLE) -> list[str]:
    return [sys.executable, "-m", "slimagent", "image", "--agent", str(agent), *arguments]


@pytest.fixture
def tag() -> Iterator[str]:
    """A name for a slim image, which is free again afterwards."""
    tag = f"slimagent-test-slim:{secrets.token_hex(4)}"
    yield tag
    subprocess.run(["docker", "rmi", "-f", tag], check=False, capture_output=True)


def ours() -> set[str]:
    """What a run makes on the way: containers, pending images, volumes that nothing uses."""
    containers = {
        name for name in docker("ps", "-a", "--format", "{{.Names}}").split() if name.startswith("slimagent-")
    }
    return {
        *containers,
        *docker("images", "-q", "slimagent-pending").split(),
        *docker("volume", "ls", "-q", "-f", "dangling=true").split(),
    }


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """After each test there is no container, volume, pending image or folder of work more than before."""
    request.getfixturevalue("small")
    before = ours()
    yield
    assert ours() <= before
    assert not list(tmp_path.rglob(".work-*"))


def slim(image: str, tag: str, out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command at level `file`: what nobody owns goes as well if nothing needs it."""
    words = command(image, "-t", tag, "--level", "file", "--out", str(out), *arguments)
    return subprocess.run(words, capture_output=True, text=True, check=False)


def exists(tag: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", tag], capture_output=True).returncode == 0


def listed(tag: str, folder: str) -> list[str]:
    return docker("run", "--rm", "--network=none", "--entrypoint", "/bin/ls", tag, folder).split()


def test_a_slim_image_works_as_the_original(small: str, tag: str, tmp_path: Path) -> None:
    """It starts by its own ENTRYPOINT and CMD as its own user; configuration and volume are the original's."""
    out = tmp_path / "out"
    ended = slim(small, tag, out, "--", "cat", "/srv/needed")
    assert ended.returncode == 0, ended.stderr
    assert docker("run", "--rm", "--network=none", tag) == "seed\nhello world\n"
    assert docker("run", "--rm", "--network=none", tag, "id -u") == "1000\n"
    assert listed(tag, "/srv") == ["needed"]  # the health check's file, and what the test read
    first, second = (json.loads(docker("image", "inspect", each))[0] for each in (small, tag))
    assert second["Config"] == first["Config"]
    assert {key: second[key] for key in ("Architecture", "Os", "Created")} == {
        key: first[key] for key in ("Architecture", "Os", "Created")
    }
    assert {path.name for path in out.iterdir()} == DOCUMENTS
    assert ended.stdout.startswith(f"### {tag}: ")
    assert (out / "summary.md").read_text() == ended.stdout
    assert "ADD file" in docker("history", "--no-trunc", tag)
    assert "in a container of" in ended.stderr


def test_what_was_missed_is_brought_back_once(small: str, tag: str, tmp_path: Path) -> None:
    """A test that asks for another file the second time: the first slim image lacks it, the second one does not."""
    state = tmp_path / "state"
    state.mkdir(mode=0o777)
    state.chmod(0o777)
    line = "if test -e /state/ran; then cat /srv/later; else touch /state/ran; fi"
    words = ("--json", "-v", f"{state}:/state", "--also", line, "--", "cat", "/srv/needed")
    ended = slim(small, tag, tmp_path / "out", *words)
    assert ended.returncode == 0, ended.stderr
    assert "repair: 1 files were missed" in ended.stderr
    told = json.loads(ended.stdout)
    assert (told["tag"], told["repaired"], told["missed"]) == (tag, 1, 0)
    assert told["bytes_after"] < told["bytes_before"]
    assert "| files brought back after a first verification |  | 1 |" in (tmp_path / "out/summary.md").read_text()
    assert listed(tag, "/srv") == ["later", "needed"]


def test_without_repair_a_slim_image_that_fails_is_no_image(small: str, tag: str, tmp_path: Path) -> None:
    """Status 1, no tag, and the documents that say why."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    line = "if test -e /state/ran; then cat /srv/later; else touch /state/ran; fi"
    out = tmp_path / "out"
    ended = slim(small, tag, out, "--no-repair", "-v", f"{state}:/state", "--also", line)
    assert ended.returncode == 1
    assert f"the slim image does not pass what {small} passes, so there is no {tag}" in ended.stderr
    assert not exists(tag)
    found = json.loads((out / "verification.json").read_text())
    assert [each["path"] for each in found["missed"]] == ["/srv/later"]


def test_what_no_file_can_repair_is_no_image(small: str, tag: str, tmp_path: Path) -> None:
    """A check that only passes once."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    ended = slim(
        small, tag, tmp_path / "out", "-v", f"{state}:/state", "--also", "test ! -e /state/x && touch /state/x"
    )
    assert ended.returncode == 1
    assert not exists(tag)


def test_a_test_that_fails_in_the_original_ends_it(small: str, tag: str, tmp_path: Path) -> None:
    """The agent's own message, and its exit status."""
    ended = slim(small, tag, tmp_path / "out", "--", "cat", "/srv/nothing")
    assert ended.returncode == 1
    assert "a traced step failed on the full image" in ended.stderr
    assert not exists(tag)


def test_a_profile_of_ones_own_is_taken_along(small: str, tag: str, tmp_path: Path) -> None:
    """With the file that it extends, which lies beside it."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more/base.toml").write_text('name = "b"\n[[keep]]\npath = "/srv/later"\nwhy = "asked for"\n')
    profile = tmp_path / "mine.toml"
    profile.write_text(
        'name = "mine"\nextends = ["./more/base.toml"]\n[[check]]\nkind = "command"\nargv = ["cat", "/srv/needed"]\n'
    )
    ended = slim(small, tag, tmp_path / "out", "--profile", str(profile))
    assert ended.returncode == 0, ended.stderr
    assert listed(tag, "/srv") == ["later", "needed"]


@pytest.mark.parametrize(
    ("number", "when"),
    [
        (signal.SIGINT, "look at the image"),
        (signal.SIGINT, "scan the image"),
        (signal.SIGINT, "going on"),
        (signal.SIGTERM, "going on"),
        (signal.SIGINT, "trace, plan and export"),
        (signal.SIGHUP, "load"),
        (signal.SIGINT, "verify in a container"),
    ],
)
def test_an_interruption_leaves_nothing(
    small: str, tag: str, tmp_path: Path, number: signal.Signals, when: str
) -> None:
    """At any time: before the container runs, while it does, while the image is loaded, while it is proved."""
    words = command(small, "-t", tag, "--out", str(tmp_path / "out"), "--", "sh", "-c", "echo going on >&2; sleep 3")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if when in line:
                process.send_signal(number)
                break
        rest = process.stderr.read()
        status = process.wait(timeout=120)
    if when == "verify in a container" and status == 0:
        return  # it was done by then
    assert status == 128 + number, rest
    assert not exists(tag)
    assert "Traceback" not in rest


def test_interrupted_again_and_again(small: str, tag: str, tmp_path: Path) -> None:
    """Whoever presses Ctrl-C three times still finds nothing left."""
    words = command(small, "-t", tag, "--out", str(tmp_path / "out"), "--", "sh", "-c", "echo going on >&2; sleep 30")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "going on" in line)
        timers = [threading.Timer(delay, process.send_signal, [signal.SIGINT]) for delay in (0, 0.2, 0.4)]
        for timer in timers:
            timer.start()
        process.stderr.read()
        # the last one may come when all is done and Python has taken its handlers down: a shell sees no difference
        assert process.wait(timeout=120) in (128 + signal.SIGINT, -signal.SIGINT)
        for timer in timers:
            timer.join()


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (("no-such-image:1",), "there is no image no-such-image:1 here", 2),
        (("IMAGE", "--network", "no-such-network"), "network no-such-network not found", 1),
        (("IMAGE", "--profile", "no-such"), "there is no profile 'no-such'", 2),
        (("IMAGE", "--user", "no-such"), "there is no user 'no-such' here", 2),
        (("IMAGE", "--keep", "relative"), "not an absolute path", 2),
        (("IMAGE", "--agent", "/"), "is no agent bundle", 4),
    ],
)
def test_what_cannot_be_is_said_at_once(
    small: str, tag: str, tmp_path: Path, arguments: Sequence[str], message: str, status: int
) -> None:
    """One line of what, and the exit status that fits."""
    given = [small if each == "IMAGE" else each for each in arguments]
    ended = slim(given[0], tag, tmp_path / "out", *given[1:], "--", "cat", "/srv/needed")
    assert message in re.sub(r"\s+", " ", ended.stderr)
    assert ended.returncode == status
    assert not exists(tag)
