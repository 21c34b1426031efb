"""Real containers of a real image: named in SLIMAGENT_TEST_IMAGE, with SLIMAGENT_TEST_COMMAND as its smoke test.

The image needs SLIMAGENT_TEST_USER (jovyan if unset) as an ordinary user, and `make agent` is to have been run.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from slimagent.elf import needs as elf
from slimagent.image.engine import Engine
from tests.container import slimming

AGENT = slimming.ROOT / "build" / "agent"
BUNDLE = slimming.BUNDLE
LARGE = b"x" * 1_000_000
LIMIT = 60  # seconds


@dataclass(frozen=True)
class Image:
    """An image under test; every container of it is a default one, without network or added capabilities."""

    name: str
    command: str
    user: str

    def run(
        self, *arguments: str, user: str = "root", mounts: Sequence[str] = (), entrypoint: str = "", image: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a container to its end."""
        volumes = [part for mount in mounts for part in ("-v", mount)]
        start = ["--entrypoint", entrypoint] if entrypoint else []
        command = ["docker", "run", "--rm", "--network=none", "--user", user, *volumes, *start, image or self.name]
        return subprocess.run([*command, *arguments], capture_output=True, text=True, errors="replace", check=False)

    def agent(self, out: Path, *arguments: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        """Run the agent in a container, its output folder mounted at /out."""
        mounts = (f"{AGENT}:/agent:ro", f"{out}:/out")
        return self.run(*arguments, user=user, mounts=mounts, entrypoint="/agent/entrypoint.sh")

    def load(self, tar: Path, tag: str) -> None:
        """Import an exported root file system as an image with this image's environment, user and working folder."""
        form = "{{range .Config.Env}}ENV {{println .}}{{end}}USER {{.Config.User}}\nWORKDIR {{.Config.WorkingDir}}"
        inspect = ["docker", "image", "inspect", "-f", form, self.name]
        lines = subprocess.run(inspect, check=True, capture_output=True, text=True).stdout.splitlines()
        changes = [part for line in lines if line.strip() for part in ("-c", line)]
        subprocess.run(["docker", "import", *changes, str(tar), tag], check=True, capture_output=True)

    def remove(self, tag: str) -> None:
        """Remove a tag that a test made."""
        subprocess.run(["docker", "image", "rm", "-f", tag], check=False, capture_output=True)


@pytest.fixture(scope="session")
def image() -> Image:
    """The image to test on, or a skip that says what is missing (under SLIMAGENT_TEST_STRICT a failure)."""
    missing = _missing()
    if missing:
        (pytest.fail if os.environ.get("SLIMAGENT_TEST_STRICT") else pytest.skip)(missing)
    return Image(
        name=os.environ["SLIMAGENT_TEST_IMAGE"],
        command=os.environ["SLIMAGENT_TEST_COMMAND"],
        user=os.environ.get("SLIMAGENT_TEST_USER", "jovyan"),
    )


def _missing() -> str:
    for variable in ("SLIMAGENT_TEST_IMAGE", "SLIMAGENT_TEST_COMMAND"):
        if not os.environ.get(variable):
            return f"{variable} is not set"
    if not (AGENT / "entrypoint.sh").exists():
        return "no build/agent; run `make agent`"
    try:
        docker = subprocess.run(["docker", "image", "inspect", os.environ["SLIMAGENT_TEST_IMAGE"]], capture_output=True)
    except FileNotFoundError:
        return "no docker"
    return "" if docker.returncode == 0 else docker.stderr.decode().strip()


def lacking(why: str) -> None:
    (pytest.fail if os.environ.get("SLIMAGENT_TEST_STRICT") else pytest.skip)(why)


def interpreted(program: Path) -> bool:
    """Whether a program needs a dynamic loader."""
    data = program.read_bytes()
    found = elf.needs(lambda offset, size: data[offset : offset + size])
    return found is None or found.interpreter != b""


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Busybox, an account, needed and unneeded files, a declared volume with something in it; a full configuration."""
    busybox = shutil.which("busybox")
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        lacking("no Docker engine")
    if busybox is None or interpreted(Path(busybox)):
        lacking("no static busybox (Debian: busybox-static)")
    if not (BUNDLE / "bundle.json").exists():
        lacking("no build/bundle; run `make bundle`")
    context = tmp_path_factory.mktemp("small")
    root = context / "root"
    for folder in ("bin", "etc", "srv", "data", "tmp"):
        (root / folder).mkdir(parents=True)
    shutil.copy(str(busybox), root / "bin/busybox")
    for name in ("sh", "cat", "test", "touch", "sleep", "ls", "id", "true"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nsomebody:x:1000:1000::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nsomebody:x:1000:\n")
    for name in ("needed", "unneeded", "later"):
        (root / "srv" / name).write_bytes(LARGE)
    (root / "data/seed").write_text("seed\n")
    (root / "tmp").chmod(0o1777)
    with tarfile.open(context / "root.tar", "w") as archive:
        archive.add(root, ".", filter=_as_root)
    (context / "Dockerfile").write_text(
        "FROM scratch\nADD root.tar /\nENV GREETING='hello world' LANG=C.UTF-8\nUSER somebody\nWORKDIR /tmp\n"
        "EXPOSE 80\n"
        'VOLUME /data\nLABEL a.b="c d"\nHEALTHCHECK CMD test -e /srv/needed\nSTOPSIGNAL SIGINT\n'
        'ENTRYPOINT ["/bin/sh", "-c"]\nCMD ["cat /data/seed; echo $GREETING"]\n'
    )
    tag = f"slimagent-test-small:{secrets.token_hex(4)}"
    subprocess.run(
        ["docker", "build", "-q", "--network=none", "-t", tag, str(context)],
        check=True, capture_output=True, env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )  # fmt: skip
    yield tag
    subprocess.run(["docker", "rmi", "-f", tag], check=False, capture_output=True)


@pytest.fixture
def tag(engine: Engine) -> Iterator[str]:
    """A name for a slim image, which is free again afterwards."""
    tag = f"slimagent-test-slim:{secrets.token_hex(4)}"
    yield tag
    subprocess.run(["docker", "rmi", "-f", tag], check=False, capture_output=True)


@pytest.fixture
def nothing_left(small: str, tmp_path: Path) -> Iterator[None]:
    """A test leaves behind no container, no volume, no pending image and no working directory.

    Other tests may run beside these. tests/image/test_leftovers.py leaves something on purpose, for a moment.
    """
    before, volumes = slimming.ours(), slimming.Volumes()
    yield
    until = time.monotonic() + LIMIT
    while slimming.ours() - before and time.monotonic() < until:
        time.sleep(0.2)
    assert slimming.ours() <= before
    assert volumes.left() == set()
    assert not list(tmp_path.rglob(".work-*"))


@pytest.fixture(scope="module")
def derive(small: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[slimming.Derive]:
    """Build an image from the small one: `derive(lines of a Dockerfile, {name: a file beside it})`."""
    made = []

    def derived(lines: str, files: Mapping[str, str | bytes] = {}, tag: str = "") -> str:
        made.append(tag or f"slimagent-test-derived:{secrets.token_hex(4)}")
        context = tmp_path_factory.mktemp("derived")
        slimming.write_files(context, files)
        slimming.build(made[-1], context, f"FROM {small}\n{lines}\n")
        return made[-1]

    yield derived
    slimming.remove(*made)


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    return member
