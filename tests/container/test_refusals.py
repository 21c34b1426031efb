"""What cannot end well is refused before anything runs: no agent is made for it, and no file is written."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.container import slimming
from tests.container.slimming import NO_AGENT, Derive, docker, exists, identity, said, slim

pytestmark = pytest.mark.usefixtures("nothing_left")

FOREIGN = "slimagent did not make it"


def refused(image: str, tag: str, out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command with an agent that is not there: whatever is refused before is so without one."""
    ended = slim(image, tag, out, *arguments, "--", "true", agent=NO_AGENT)
    assert str(NO_AGENT) not in ended.stderr
    assert ended.stdout == ""
    assert not out.exists()
    assert "hint:" in ended.stderr
    return ended


@pytest.fixture
def images() -> Iterator[list[str]]:
    """The IDs of images that lose their names in a test, to be removed after it."""
    made: list[str] = []
    yield made
    slimming.remove(*made)


@pytest.fixture
def foreign(small: str, tag: str, images: list[str]) -> str:
    """A name that is taken by an image that slimagent did not make, with nothing in it."""
    subprocess.run(["docker", "import", "-", tag], input=bytes(10240), capture_output=True, check=True)
    images.append(identity(tag))
    return tag


@pytest.mark.parametrize("name", ["Bad Name!", "app:UPPER:x", "Upper:tag", "", "name:", "-t", "app@sha256:" + 64 * "0"])
def test_a_tag_that_cannot_be_one(small: str, tmp_path: Path, name: str) -> None:
    """I8: status 2 before anything has run, and the tag in the message."""
    ended = refused(small, name, tmp_path / "out")
    assert ended.returncode == 2
    assert name in ended.stderr


def test_the_image_does_not_lose_its_name(small: str, tag: str, tmp_path: Path) -> None:
    """Not by the same tag, nor by the same name written otherwise, nor by another name of the same image."""
    docker("tag", small, tag)
    for image, wanted, why in (
        (small, small, "it would lose its name"),
        (small, f"docker.io/library/{small}", "it would lose its name"),
        (small, tag, f"{tag} is another name of {small}"),
        (identity(small), tag, "is another name of sha256:"),
    ):
        ended = refused(image, wanted, tmp_path / "out")
        assert (ended.returncode, why in said(ended), "--overwrite" in ended.stderr) == (3, True, True), ended.stderr
    assert identity(small) == identity(tag)


def test_an_image_that_is_not_ours_keeps_its_name(small: str, foreign: str, tmp_path: Path) -> None:
    """Status 3, what to type instead, and the image is what it was."""
    before = identity(foreign)
    ended = refused(small, foreign, tmp_path / "out")
    assert ended.returncode == 3
    assert FOREIGN in said(ended) and "--overwrite" in ended.stderr
    assert identity(foreign) == before


def test_a_tag_is_taken_if_that_is_wanted_and_taken_again_if_it_is_ours(
    derive: Derive, small: str, foreign: str, images: list[str], tmp_path: Path
) -> None:
    """--overwrite for a foreign image and for the slim one of another image; no option when IMAGE was built anew.

    An image that somebody built FROM a slim one is theirs.
    """
    out, words = tmp_path / "out", ("--no-start", "--quiet", "--", "cat", "/srv/needed")
    ended = slim(small, foreign, out, "--overwrite", *words)
    assert ended.returncode == 0, ended.stderr
    assert identity(foreign) not in images
    images.append(identity(foreign))
    image = derive("LABEL built=once")
    ended = refused(image, foreign, tmp_path / "other")
    assert (ended.returncode, f"{foreign} is the slim image of {small}, not of {image}" in said(ended)) == (3, True)
    for lines, options in (("LABEL built=once", ("--overwrite",)), ("LABEL built=again", ())):
        derive(lines, tag=image)
        ended = slim(image, foreign, out, *options, *words)
        assert ended.returncode == 0, ended.stderr
        labels = docker("image", "inspect", "-f", "{{.Config.Labels.built}}", foreign)
        assert labels.strip() == lines.partition("=")[2]
        images += [identity(foreign), identity(image)]
    slimming.build(foreign, slimming.directory(tmp_path / "context"), f"FROM {foreign}\nLABEL more=theirs\n")
    ended = refused(small, foreign, tmp_path / "other")
    assert (ended.returncode, FOREIGN in said(ended)) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no-such-image:1",), "no such image here: no-such-image:1"),
        (("No Image",), "no such image here: 'No Image'"),
        (("IMAGE", "--user", "no-such"), "no such user in slimagent-test-small:"),
        (("IMAGE", "--user", "somebody:no-such"), "no such group in slimagent-test-small:"),
        (("IMAGE", "--network", "no-such-network"), "network no-such-network not found"),
        (("IMAGE", "--run-option=--no-such"), "unknown flag: --no-such"),
        (("IMAGE", "--run-option=--memory=x"), 'invalid argument "x" for "-m, --memory" flag'),
        (("IMAGE", "--run-option=--workdir=relative"), "the working directory 'relative' is invalid"),
        (("IMAGE", "--run-option=--name=mine"), "slimagent finds its containers by their names"),
        (("IMAGE", "-v", "/nope:bad:ro:x"), "/nope:bad:ro:x"),
        (("IMAGE", "-v", "/tmp:/x:no-such-mode"), "invalid mode: no-such-mode"),
        (
            ("IMAGE", "--run-option=--mount=type=bind,source=/no/such/place,target=/x"),
            "bind source path does not exist",
        ),
    ],
)
def test_what_the_engine_refuses_is_said_in_its_own_words(
    small: str, tag: str, tmp_path: Path, arguments: Sequence[str], message: str
) -> None:
    """I8: status 2, the engine's sentence, and which option it is about; nothing of ours has run yet."""
    image, *options = [small if each == "IMAGE" else each for each in arguments]
    ended = refused(image, tag, tmp_path / "out", *options)
    assert message in said(ended)
    assert ended.returncode == 2
    assert "--help" not in ended.stderr
    assert not exists(tag)
    for option in ("--network", "--run-option"):
        if any(each.startswith(option) for each in options):
            assert option in ended.stderr or "leave it out" in ended.stderr


def test_no_message_runs_on_the_terminal(small: str, tmp_path: Path) -> None:
    """What is not printable in a name is shown as an escape."""
    ended = refused(small, "x\x1b]0;mine\x07", tmp_path / "out")
    assert "\x1b" not in ended.stderr and "\\x1b" in ended.stderr


@pytest.mark.parametrize("place", ["/.slimagent", "/.slimagent-out"])
def test_a_link_where_our_directories_are_mounted(tag: str, derive: Derive, tmp_path: Path, place: str) -> None:
    """I9: what it points to would be hidden by the mount, and missing in the slim image, with status 0."""
    image = derive(f'USER root\nRUN ["/bin/busybox", "ln", "-s", "/data", "{place}"]\nUSER somebody')
    ended = refused(image, tag, tmp_path / "out")
    assert ended.returncode == 3
    assert f"has something at {place}, where slimagent mounts" in ended.stderr
