"""`slimagent dockerfile` with both builders of Docker, on a small image; the agent is a bundle."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.container.conftest import BUNDLE, lacking
from tests.container.slimming import Derive

pytestmark = pytest.mark.container
TAG = "slimagent-test-builders"


def with_build_kit(folder: Path) -> str:
    """A docker whose BuildKit works: from 23 on it needs the plugin buildx, before it has it."""
    (folder / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    for path in os.environ["PATH"].split(":"):
        program = os.path.join(path, "docker")
        if os.access(program, os.X_OK) and build(program, "1", folder, "probe").returncode == 0:
            subprocess.run([program, "rmi", "-f", f"{TAG}:probe"], capture_output=True, check=False)
            return program
    lacking("no docker here has BuildKit")
    return ""


def build(program: str, kit: str, context: Path, tag: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DOCKER_BUILDKIT": kit, "BUILDKIT_PROGRESS": "plain"}
    words = [program, "build", "--network=none", "-t", f"{TAG}:{tag}", *([] if kit == "1" else ["--force-rm"])]
    return subprocess.run([*words, str(context)], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(params=["legacy", "BuildKit"])
def builder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A docker and its DOCKER_BUILDKIT; the images that it names go afterwards."""
    if shutil.which("docker") is None:
        lacking("no docker")
    yield (with_build_kit(tmp_path), "1") if request.param == "BuildKit" else ("docker", "0")
    subprocess.run(["docker", "rmi", "-f", f"{TAG}:slim"], capture_output=True, check=False)


def context(folder: Path, image: str, *arguments: str) -> Path:
    """A build context with the bundle and the Dockerfile in it."""
    made = folder / "context"
    shutil.copytree(BUNDLE, made / "agent")
    words = [sys.executable, "-m", "slimagent", "dockerfile", image, "--level", "file", *arguments]
    written = subprocess.run(words, cwd=made, capture_output=True, text=True, check=False)
    assert written.returncode == 0, written.stderr
    (made / "Dockerfile").write_text(written.stdout)
    return made


def configuration(image: str) -> dict[str, Any]:
    inspected = subprocess.run(["docker", "image", "inspect", image], check=True, capture_output=True).stdout
    config = json.loads(inspected)[0]["Config"]
    unsaid = {"Image", "ArgsEscaped"}  # the legacy builder names its stage, BuildKit says something for Windows
    return {key: value for key, value in config.items() if value and key not in unsaid}


def said(*words: str) -> str:
    return subprocess.run(
        ["docker", "run", "--rm", "--network=none", *words], check=True, capture_output=True, text=True
    ).stdout


def test_a_small_image_is_slimmed_and_restored(small: str, builder: tuple[str, str], tmp_path: Path) -> None:
    """Its configuration is the original's, it starts by its own command as its own user, and the agent is gone."""
    done = build(*builder, context(tmp_path, small, "--", "cat", "/srv/needed"), "slim")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    slim = f"{TAG}:slim"
    assert configuration(slim) == configuration(small)
    assert said(slim).endswith("hello world\n")
    assert said(slim, "id -u") == "1000\n"
    assert said("--entrypoint", "/bin/ls", slim, "/srv").split() == ["needed"]
    assert "agent" not in said("--entrypoint", "/bin/ls", slim, "-a", "/")


@pytest.mark.parametrize("is_link", [False, True])
def test_the_image_s_own_slimagent_directory_stays(
    derive: Derive, builder: tuple[str, str], tmp_path: Path, is_link: bool
) -> None:
    """What an image has there is not taken for the agent's: no module of it runs as root, and its files stay."""
    (library,) = (BUNDLE / "python/lib").glob("python3.*")
    theirs = "/srv/theirs" if is_link else "/.slimagent"
    module = f"{theirs}/{library.relative_to(BUNDLE)}/site-packages/hashlib.py"
    lines = f"COPY evil.py {module}\nCOPY mine {theirs}/bin/mine\n"
    if is_link:
        lines += f'USER root\nRUN ["/bin/busybox", "ln", "-s", "{theirs}", "/.slimagent"]\nUSER somebody\n'
    image = derive(lines, {"evil.py": "raise SystemExit('the module of the image runs')\n", "mine": "mine\n"})
    done = build(*builder, context(tmp_path, image, "--", "cat", "/.slimagent/bin/mine"), "slim")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert said("--entrypoint", "/bin/cat", f"{TAG}:slim", "/.slimagent/bin/mine") == "mine\n"
    shown = said("--entrypoint", "/bin/ls", f"{TAG}:slim", "-a", "/").split()
    assert [name for name in shown if "slimagent" in name] == [".slimagent"]


def test_a_failed_verification_fails_the_build(small: str, builder: tuple[str, str], tmp_path: Path) -> None:
    """A command that passes once only: what it left behind is on no file system of the image."""
    shell = "test ! -e /dev/shm/again && touch /dev/shm/again"
    done = build(*builder, context(tmp_path, small, "--", "sh", "-c", shell), "slim")
    assert done.returncode != 0
    assert "1 worse than before" in done.stdout + done.stderr
