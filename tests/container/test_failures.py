"""A run that makes no image says why, also with --quiet: which step, what it said, what is worse, where the log is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container import slimming
from tests.container.slimming import Derive, command, docker, exists, said, slim, state

pytestmark = pytest.mark.usefixtures("nothing_left")

LINES = 2000
TALK = f"""
i=0
while test $i -lt {LINES}; do i=$((i+1)); echo "line $i of what the test says"; done
"""
ALL = [f"line {number} of what the test says" for number in range(1, LINES + 1)]
SHOWN = 15
# Looked for where the slim image has less in a directory: there is nothing to bring back, and it fails there alone.
COUNT = "set -- /srv/*; test $# = 3 || { echo only $#; exit 7; }"


def shown(stderr: str, path: Path) -> list[str]:
    """The lines of a log that are shown before the place of all of it."""
    lines = stderr.splitlines()
    end = lines.index(f"    full log: {path}")
    return [line.strip() for line in lines[end - SHOWN : end]]


@pytest.fixture
def state_directory(tmp_path: Path) -> Path:
    """A directory that the containers of a run share, and that anybody may write to."""
    path = slimming.directory(tmp_path / "state")
    path.chmod(0o777)
    return path


def test_a_step_that_fails_in_the_image_itself(small: str, tag: str, tmp_path: Path) -> None:
    """The step, its command, its status and its last lines on standard error; all that it said in its log."""
    out = tmp_path / "out"
    script = f"{TALK} echo and why >&2; exit 7"
    ended = slim(small, tag, out, "--no-start", "--quiet", "--", "/bin/sh", "-c", script)
    assert (ended.returncode, ended.stdout, exists(tag)) == (1, "", False)
    assert ended.stderr.startswith("✗ command: exit status 7: /bin/sh -c ")
    log = out / "logs/full-command.log"
    assert log.read_text().splitlines() == [*ALL, "and why"]
    assert shown(ended.stderr, log) == [*ALL[-SHOWN + 1 :], "and why"]
    assert ALL[-SHOWN] not in ended.stderr.splitlines()
    assert f"command failed in the unchanged image {small}, so no slim image was made" in said(ended)
    assert "hint: " in ended.stderr
    assert state(out) == "failed"


def test_each_step_that_fails_has_its_own(small: str, tag: str, tmp_path: Path) -> None:
    """Several of them, beside one that passes; one ends as if its container had been killed, and is a step still."""
    out = tmp_path / "out"
    also = ("--also", "/bin/sh -c 'echo one; exit 3'", "--also", "/bin/sh -c 'echo two'")
    ended = slim(small, tag, out, "--no-start", *also, "--", "/bin/sh", "-c", "echo three; kill -9 $$")
    assert ended.returncode == 1
    lines = ended.stderr.splitlines()
    wrong = [line for line in lines if line.startswith("✗ ") and "exit status" in line]
    assert len(wrong) == 2 and "exit status 3" in wrong[0], wrong
    assert "exit status 137" in wrong[1], wrong
    logs = {path.name: path.read_text() for path in (out / "logs").iterdir()}
    assert sorted(logs.values()) == ["one\n", "three\n", "two\n"]


def test_a_step_that_fails_in_the_slim_image(small: str, tag: str, tmp_path: Path, state_directory: Path) -> None:
    """What is worse, the last lines, all of them in a log, and each file that was looked for in vain."""
    out = tmp_path / "out"
    script = f"{TALK} if test -e /state/ran; then cat /srv/later /srv/unneeded; else touch /state/ran; fi"
    report = tmp_path / "junit.xml"
    options = ("--no-start", "--no-repair", "--quiet", "-v", f"{state_directory}:/state", "--junit", str(report))
    ended = slim(small, tag, out, *options, "--", "/bin/sh", "-c", script)
    assert (ended.returncode, ended.stdout, exists(tag)) == (1, "", False)
    assert ended.stderr.startswith("✗ worse: command: passed before, failed now (exit status 1: /bin/sh -c ")
    log = out / "logs/slim-command.log"
    found = log.read_text().splitlines()
    assert (found[:LINES], len(found)) == (ALL, LINES + 2)
    assert shown(ended.stderr, log) == found[-SHOWN:]
    assert "/srv/later" in found[-2] and "/srv/unneeded" in found[-1]
    lines = ended.stderr.splitlines()
    start = lines.index("removed, but needed:")
    assert lines[start + 1 : start + 3] == ["    /srv/later  (command)", "    /srv/unneeded  (command)"]
    assert "--keep PATH" in ended.stderr and "--keep-failed" in ended.stderr
    assert state(out) == "failed"
    assert (out / "logs/full-command.log").read_text().splitlines() == ALL
    assert '<testsuite name="command (full image)" tests="1" failures="0"' in report.read_text()
    assert '<testsuite name="command (slim image)" tests="1" failures="1"' in report.read_text()


def test_what_is_worse_is_named_item_by_item(derive: Derive, tag: str, tmp_path: Path) -> None:
    """A check of many tools: the one that answers no more, by its name, and none that does."""
    image = derive(
        "COPY counting steady /bin/",
        {"counting": f"#!/bin/sh\n{COUNT}\necho counting 1.0\n", "steady": "#!/bin/sh\necho steady 1.0\n"},
    )
    profile = tmp_path / "tools.toml"
    profile.write_text(
        'name = "tools"\n[[check]]\nkind = "tools"\nneeded = ["counting --version", "steady --version"]\n'
    )
    out = tmp_path / "out"
    ended = slim(
        image,
        tag,
        out,
        "--no-start",
        "--search-runs",
        "0",
        "--quiet",
        "--profile",
        str(profile),
        "--",
        "cat",
        "/srv/needed",
    )
    assert (ended.returncode, exists(tag)) == (1, False), ended.stderr
    worse = [line for line in ended.stderr.splitlines() if line.startswith("✗ worse: ")]
    assert any("counting: passed before, failed now" in line for line in worse), ended.stderr
    assert not any("steady" in line or "command" in line for line in worse), worse


@pytest.fixture
def kept() -> Iterator[list[str]]:
    """Names of images that a failed run leaves, to be removed."""
    names: list[str] = []
    yield names
    slimming.remove(*names)


def test_an_image_that_failed_can_be_kept_to_look_into(small: str, tag: str, tmp_path: Path, kept: list[str]) -> None:
    """Under the name that the hint says, and nowhere else: the same steps fail in it."""
    before = set(docker("images", "--format", "{{.Repository}}:{{.Tag}}", "slimagent-failed").split())
    script = f"cat /srv/needed > /dev/null; {COUNT}"
    ended = slim(
        small, tag, tmp_path / "out", "--no-start", "--search-runs", "0", "--keep-failed", "--", "/bin/sh", "-c", script
    )
    after = set(docker("images", "--format", "{{.Repository}}:{{.Tag}}", "slimagent-failed").split())
    kept += [name for name in after - before if name in ended.stderr]
    assert (ended.returncode, exists(tag), len(kept)) == (1, False, 1), ended.stderr
    assert f"docker rmi {kept[0]}" in said(ended)
    now = slimming.started(kept[0], script)
    assert (now.returncode, now.stdout) == (7, "only 1\n")


def test_a_program_that_could_not_gain_its_rights_is_named(derive: Derive, tag: str, tmp_path: Path) -> None:
    """One line with the program and the options that help; with those options it has its rights."""
    image = derive(
        "USER root\nRUN cd /bin && ./busybox cp busybox busybox-asroot && ./busybox chmod 4755 busybox-asroot\n"
        "USER somebody"
    )
    smoke = ("--", "busybox-asroot", "ping", "-c", "1", "127.0.0.1")  # a raw socket: somebody may not, root may
    ended = slim(image, tag, tmp_path / "out", "--no-start", "--quiet", *smoke)
    assert (ended.returncode, exists(tag)) == (1, False), ended.stderr
    assert ended.stderr.startswith("✗ command: exit status 1: busybox-asroot ping")
    assert "permission denied" in ended.stderr
    first = ended.stderr.splitlines()[0]
    assert "the step executed /bin/busybox-asroot;" in first
    assert "`--run-option=--cap-add=SYS_ADMIN --run-option=--cap-add=SYS_PTRACE`" in first
    options = ("--run-option=--cap-add=SYS_ADMIN", "--run-option=--cap-add=SYS_PTRACE")
    ended = slim(image, tag, tmp_path / "out", "--no-start", "--quiet", *options, *smoke)
    assert ended.returncode == 0, ended.stderr


def test_a_container_that_is_killed_is_no_failed_step(small: str, tag: str, tmp_path: Path) -> None:
    """I8: as the kernel does for want of memory: status 4, and what to do about it."""
    out = tmp_path / "out"
    words = command(small, "-t", tag, "--out", str(out), "--no-start", "--", "/bin/sh", "-c", "echo here >&2; sleep 30")
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("here" in line for line in process.stderr)
        docker("kill", *docker("ps", "-q", "--filter", f"name=-{process.pid}-").split())
        rest = process.stderr.read()
    assert process.returncode == 4, rest
    assert "ended with status 137" in rest and "memory" in rest
    assert state(out) == "failed"
