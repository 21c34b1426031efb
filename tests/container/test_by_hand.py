"""The agent's commands by hand, each in a container of its own: volumes, mounts, and what a test leaves behind."""

from __future__ import annotations

import json
import secrets
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slimagent.documents import decode_plan, decode_trace
from tests.container.conftest import BUNDLE, LARGE

FILE_LEVEL = ("--level", "file", "--budget", "0")
LIMIT = 60  # seconds


class Container:
    """Containers of the small image, with the agent at /agent and a directory for documents at /out."""

    def __init__(self, image: str, out: Path) -> None:
        self.image, self.out = image, out
        out.mkdir()
        described = subprocess.run(["docker", "image", "inspect", image], check=True, capture_output=True)
        (out / "image.json").write_bytes(described.stdout)

    def words(self, *mounts: str) -> list[str]:
        ours = (f"{BUNDLE}:/agent:ro", f"{self.out}:/out")
        volumes = [part for mount in (*ours, *mounts) for part in ("-v", mount)]
        return ["--network=none", "--user=0", *volumes, "--entrypoint=/agent/entrypoint.sh", self.image]

    def agent(self, *arguments: str, mounts: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """A command of the agent in a new container."""
        words = ["docker", "run", "--rm", *self.words(*mounts), *arguments]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    def trace(self, script: str, *options: str, mounts: tuple[str, ...] = ()) -> None:
        arguments = ("trace", "--quiet", *options, "-o", "/out/trace.json", "--", "/bin/sh", "-ec", script)
        done = self.agent(*arguments, mounts=mounts)
        assert done.returncode == 0, done.stderr

    def plan(self, *options: str) -> dict[str, str]:
        """Plan in a new container. Returns the reason of each path that stays."""
        done = self.agent("plan", "--quiet", *FILE_LEVEL, *options, "/out/trace.json", "-o", "/out/plan.json")
        assert done.returncode == 0, done.stderr
        plan = decode_plan((self.out / "plan.json").read_bytes())
        kept = ((each.path.decode(), plan.reasons[each.reason]) for each in plan.entries)
        return {path: reason.kind for path, reason in kept if reason.verdict.value == "keep"}

    def apply(self, tag: str, *options: str) -> None:
        """Export in a new container, as an image that is loaded under the name `tag`."""
        layout = f"/out/{secrets.token_hex(4)}"
        arguments = ("--oci", layout, "--compression", "none", "--tag", tag, "--image-config", "/out/image.json")
        done = self.agent("apply", "--quiet", *arguments, *options, "/out/plan.json")
        assert done.returncode == 0, done.stderr
        tar = subprocess.run(
            ["tar", "-C", str(self.out / layout[5:]), "-cf", "-", "."], check=True, capture_output=True
        )
        subprocess.run(["docker", "load"], input=tar.stdout, check=True, capture_output=True)


@pytest.fixture
def container(small: str, tmp_path: Path) -> Container:
    """For containers of the small image."""
    return Container(small, tmp_path / "out")


@pytest.fixture
def tag() -> Iterator[str]:
    """A name for a slim image, which is free again afterwards."""
    tag = f"slimagent-test-hand:{secrets.token_hex(4)}"
    yield tag
    subprocess.run(["docker", "rmi", "-f", tag], check=False, capture_output=True)


def output(tag: str, *command: str) -> str:
    words = ["docker", "run", "--rm", "--network=none", tag, *command]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


CONFIG = ("--image-config", "/out/image.json")


@pytest.mark.parametrize(("traced", "planned"), [(CONFIG, CONFIG), (CONFIG, ()), ((), CONFIG)])
def test_a_declared_volume_is_the_same_to_all_commands(
    container: Container, tag: str, traced: tuple[str, ...], planned: tuple[str, ...]
) -> None:
    """Whoever has the configuration: the volume's contents are in the slim image, which starts as the full one does."""
    container.trace("cat /data/seed", *traced)
    kept = container.plan(*planned, "--keep-command", "/bin/sh -c cat")
    assert kept["/data/seed"] == "opened"
    assert "/srv/unneeded" not in kept
    container.apply(tag)
    assert output(tag) == "seed\nhello world\n"
    assert "unneeded" not in output(tag, "ls /srv")


def test_the_image_s_own_file_behind_a_mounted_one_stays(container: Container, tag: str, tmp_path: Path) -> None:
    """Traced with a file and a directory mounted over the image's: the image has its own at those places."""
    mine = tmp_path / "mine"
    (mine / "deep").mkdir(parents=True)
    (mine / "file").write_text("mine\n")
    places = (f"{mine}/file:/srv/needed:ro", f"{mine}:/data:ro", f"{mine}:/opt/not/in/the/image")
    script = "cat /srv/needed /data/file /opt/not/in/the/image/file"
    container.trace(script, *CONFIG, "--mounted", "/data", mounts=places)
    trace = decode_trace((container.out / "trace.json").read_bytes())
    assert {b"/srv/needed", b"/data", b"/opt/not/in/the/image"} <= set(trace.mounts)
    kept = container.plan("--keep-command", "/bin/cat", "--keep-command", "/bin/sh")
    assert (kept["/srv/needed"], kept["/data/seed"]) == ("opened", "hidden")
    assert not [path for path in kept if path.startswith(("/opt", "/srv/unneeded"))]
    container.apply(tag)
    assert output(tag, "cat /data/seed; ls /srv") == "seed\nneeded\n"


def test_only_a_mount_can_be_named_as_one(container: Container) -> None:
    """A mistyped place would hide nothing."""
    done = container.agent("trace", "--mounted", "/srv", "-o", "/out/trace.json", "--", "/bin/cat", "/data/seed")
    assert (done.returncode, "--mounted /srv: nothing is mounted there" in done.stderr) == (2, True)


def test_attached_to_an_image_with_a_volume(container: Container, tag: str) -> None:
    """What `docker exec` reads and removes is kept by a plan made in a new container."""
    name = f"slimagent-test-{secrets.token_hex(4)}"
    command = ("trace", "--attach", "--until-signal", *CONFIG, "-o", "/out/trace.json")
    words = ["docker", "run", "--rm", "--name", name, "--cap-add=SYS_ADMIN", *container.words(), *command]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as agent:
        try:
            assert agent.stderr is not None
            deadline = time.monotonic() + LIMIT
            while "watching every process" not in agent.stderr.readline():
                assert time.monotonic() < deadline
            script = "cat /data/seed; /bin/busybox rm /srv/later"
            subprocess.run(["docker", "exec", name, "/bin/sh", "-ec", script], check=True, capture_output=True)
            subprocess.run(["docker", "kill", "--signal=TERM", name], check=True, capture_output=True)
            assert agent.wait(timeout=LIMIT) in (0, 143)
        finally:
            subprocess.run(["docker", "rm", "-f", name], check=False, capture_output=True)
    kept = container.plan(*CONFIG)
    assert (kept["/data/seed"], kept["/srv/later"]) == ("opened", "changed")
    container.apply(tag)
    assert output(tag) == "seed\nhello world\n"


def test_what_the_test_left_is_not_exported_by_run(container: Container) -> None:
    """Refused in the container that was traced; from its trace, a new container exports the image's own files."""
    script = "echo more >> /srv/needed; /bin/busybox mv /srv/later /srv/moved"
    options = ("--quiet", *FILE_LEVEL, "--out", "/out", "--verify", "none")
    done = container.agent("run", *options, "--", "/bin/sh", "-ec", script)
    assert done.returncode == 3, done.stderr
    assert "/srv/needed (modified)" in done.stderr
    listed = (container.out / "changed.txt").read_text().splitlines()
    assert listed == ["removed\t/srv/later", "modified\t/srv/needed"]
    assert not (container.out / "rootfs.tar").exists()
    kept = container.plan()
    assert {"/srv/needed", "/srv/later"} <= kept.keys()
    assert "/srv/moved" not in kept
    done = container.agent("apply", "--quiet", "/out/plan.json", "--tar", "/out/rootfs.tar")
    assert done.returncode == 0, done.stderr
    with tarfile.open(container.out / "rootfs.tar") as tar:
        sizes = {member.name: member.size for member in tar if member.name.startswith("srv/")}
    assert sizes == {"srv/needed": len(LARGE), "srv/later": len(LARGE)}


def test_verify_in_a_container_of_another_image_says_so(container: Container, image_of_busybox: str) -> None:
    """Status 3: neither what stays is there, nor a word of removing what goes."""
    container.trace("cat /srv/needed")
    container.plan()
    container.image = image_of_busybox
    done = container.agent("verify", "/out/plan.json", "/out/trace.json", "-o", "/out/v.json", "--", "/bin/cat", "/x")
    assert done.returncode == 3, done.stderr
    assert "not the image that the plan was made for" in done.stderr
    assert "in-place" not in done.stderr


@pytest.fixture
def image_of_busybox(small: str, tmp_path: Path) -> Iterator[str]:
    """An image that has only the programs of the small one."""
    tag = f"slimagent-test-other:{secrets.token_hex(4)}"
    copies = "".join(f"COPY --from={small} {path} {path}\n" for path in ("/bin/sh", "/bin/cat"))
    (tmp_path / "Dockerfile").write_text(f"FROM scratch\n{copies}")
    words = ["docker", "build", "-q", "--network=none", "-t", tag, "-f", str(tmp_path / "Dockerfile"), str(tmp_path)]
    subprocess.run(
        words, check=True, capture_output=True, env={"DOCKER_BUILDKIT": "0", "PATH": "/usr/bin:/usr/local/bin"}
    )
    yield tag
    subprocess.run(["docker", "rmi", "-f", tag], check=False, capture_output=True)


def test_new_containers_of_one_image_are_one_image(container: Container) -> None:
    """What is seen before a run is the same in each, so that a trace fits any of them."""
    befores = set()
    for _ in range(2):
        container.trace("true", *CONFIG)
        befores.add(json.loads((container.out / "trace.json").read_text())["before"])
    assert len(befores) == 1
