"""A test or an image that means to deceive: what one container writes, no other one takes for its own."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.container.slimming import command, contents, docker, exists, identity, slim

pytestmark = pytest.mark.usefixtures("nothing_left")

# As root, in the directory that the agent of this container writes to.
FORGE = """
cd /.slimagent-out/out || exit 1
mkdir -p layout/blobs/sha256 ready
echo x > go
echo '{}' > plan.json
echo '{}' > receipt.json
echo x > layout/manifest.json
echo x > ready/000-0000000000000000000000000000000000000000000000000000000000000000
echo stolen > logs/notes.txt
cat /srv/needed > /dev/null
"""


def test_what_a_test_writes_into_the_agents_directory_makes_no_image(small: str, tag: str, tmp_path: Path) -> None:
    """No export begins early, no layer of it is loaded, and no file of somebody's is written over."""
    out = tmp_path / "out"
    (out / "logs").mkdir(parents=True)
    (out / "logs/full-notes.txt").write_text("mine")
    words = ("--user", "root", "--no-start", "--", "/bin/busybox", "sh", "-c", _with_programs(FORGE))
    ended = slim(small, tag, out, *words)
    assert ended.returncode == 0, ended.stderr
    assert (out / "logs/full-notes.txt").read_text() == "mine"
    full, made = contents(small), contents(tag)
    assert all(made[path] == full[path] for path in made if path.startswith("srv/"))


def test_an_error_that_the_agent_did_not_write_is_refused(small: str, tag: str, tmp_path: Path) -> None:
    """In one line, and no traceback."""
    words = ("--user", "root", "--no-start", "--", "/bin/sh", "-c", "echo [ > /.slimagent-out/out/error.json")
    ended = slim(small, tag, tmp_path / "out", *words)
    assert ended.returncode == 3, ended.stderr
    assert "error.json that slimagent did not write" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not exists(tag)


def test_the_image_is_the_one_that_was_looked_at(small: str, tag: str, tmp_path: Path) -> None:
    """Its name may be given to another image meanwhile."""
    name = f"{tag}-cur"
    docker("tag", small, name)
    words = command(name, "-t", tag, "--out", str(tmp_path / "out"), "--no-start", "--", "cat", "/srv/needed")
    try:
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            next(line for line in process.stdout if "look at the image" in line)
            docker("rmi", name)
            process.stdout.read()
            assert process.wait(timeout=300) == 0
    finally:
        subprocess.run(["docker", "rmi", "-f", name], capture_output=True, check=False)
    label = docker("image", "inspect", "-f", '{{index .Config.Labels "io.slimagent.source.id"}}', tag)
    assert label.strip() == identity(small)


def test_a_tag_that_is_taken_meanwhile_stays(small: str, tag: str, tmp_path: Path) -> None:
    """It would be somebody's only name for an image."""
    words = command(small, "-t", tag, "--out", str(tmp_path / "out"), "--no-start", "--", "/bin/sh", "-c", "sleep 3")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "look at the image" in line)
        time.sleep(0.5)
        docker("tag", small, tag)
        said = process.stdout.read()
        assert process.wait(timeout=300) == 3, said
    assert "was given to another image while this one was made" in said
    assert identity(tag) == identity(small)


def _with_programs(script: str) -> str:
    """The script with busybox for what the small image has no link for."""
    return script.replace("mkdir ", "/bin/busybox mkdir ")
