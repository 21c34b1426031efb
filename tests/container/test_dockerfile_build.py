"""`slimagent dockerfile` with a real build: the legacy builder, its default seccomp profile, no network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slimagent import documents
from tests.container.conftest import AGENT, Image

pytestmark = pytest.mark.container
TAG, DOCUMENTS, FAILED = "slimagent-test-built:slim", "slimagent-test-built:documents", "slimagent-test-built:failed"


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build context with the agent in it."""
    folder = tmp_path_factory.mktemp("context")
    shutil.copytree(AGENT, folder / "agent", symlinks=True)
    return folder


def write_dockerfile(context: Path, image: Image, *arguments: str) -> None:
    command = [sys.executable, "-m", "slimagent", "dockerfile", image.name, *arguments]
    done = subprocess.run(command, cwd=context, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (context / "Dockerfile").write_text(done.stdout)


def build(context: Path, tag: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["docker", "build", "--network=none", "--force-rm", *options, "-t", tag, str(context)]
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)


def remove_stages(stdout: str) -> None:
    """Remove the images that the legacy builder left of its stages: those that it made and nobody named."""
    for each in reversed(re.findall(r"^ ---> ([0-9a-f]{12})$", stdout, re.MULTILINE)):
        tags = ["docker", "image", "inspect", "-f", "{{len .RepoTags}}", each]
        if subprocess.run(tags, capture_output=True, text=True, check=False).stdout.strip() == "0":
            subprocess.run(["docker", "image", "rm", each], capture_output=True, check=False)


@pytest.fixture(scope="module")
def built(image: Image, context: Path) -> Iterator[str]:
    """The image that a build makes."""
    write_dockerfile(context, image, "--user", image.user, "--", *image.command.split())
    done = build(context, TAG)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    yield done.stdout
    image.remove(TAG)
    remove_stages(done.stdout)


def configuration(name: str) -> dict[str, Any]:
    inspected = subprocess.run(["docker", "image", "inspect", name], check=True, capture_output=True).stdout
    config = json.loads(inspected)[0]["Config"]
    assert isinstance(config, dict)
    return {key: value for key, value in config.items() if value and key != "Image"}


def test_the_result_has_the_configuration_and_passes_the_test(image: Image, built: str) -> None:
    """Slimmed, proved in the build, and again from outside, by the image's user."""
    assert "with the dropped files gone" in built
    assert re.search(r"^worse than before +0$", built, re.MULTILINE)
    assert configuration(TAG) == configuration(image.name)
    sizes = [
        int(subprocess.run(["docker", "image", "inspect", "-f", "{{.Size}}", name], capture_output=True).stdout)
        for name in (image.name, TAG)
    ]
    assert sizes[1] < sizes[0] * 0.7
    command, *arguments = image.command.split()
    done = image.run(*arguments, user=image.user, entrypoint=command, image=TAG)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_of_the_agent_is_in_the_result(built: str) -> None:
    """Neither its folder, nor an empty one of that name, nor anything else that the image did not have."""
    container = subprocess.run(["docker", "create", TAG], check=True, capture_output=True, text=True).stdout.strip()
    try:
        export = subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE)
        names = subprocess.run(["tar", "-t"], stdin=export.stdout, check=True, capture_output=True).stdout
        assert export.wait() == 0
    finally:
        subprocess.run(["docker", "rm", container], check=True, capture_output=True)
    assert b"usr/" in names
    assert [name for name in names.split(b"\n") if b"slimagent" in name] == [b"etc/dpkg/dpkg.cfg.d/slimagent"]
    assert built


def test_the_documents_come_out_of_a_stage(image: Image, context: Path, built: str, tmp_path: Path) -> None:
    """Trace, plan, receipt and verification, whole; the builder has their stage from before."""
    assert build(context, DOCUMENTS, "--target", "documents").returncode == 0
    create = ["docker", "create", DOCUMENTS, "none"]
    container = subprocess.run(create, check=True, capture_output=True, text=True).stdout.strip()
    try:
        subprocess.run(["docker", "cp", f"{container}:/", str(tmp_path / "out")], check=True, capture_output=True)
    finally:
        subprocess.run(["docker", "rm", container], check=True, capture_output=True)
        image.remove(DOCUMENTS)
    out = tmp_path / "out"
    trace = documents.decode_trace((out / "trace.json").read_bytes())
    assert (trace.runs[0].user, trace.losses) == (image.user, ())
    verification = documents.decode_verification((out / "verification.json").read_bytes())
    assert (verification.how, verification.passed) == ("in-place", True)
    receipt = documents.decode_receipt((out / "receipt.json").read_bytes())
    assert receipt.dropped > 1000
    assert f"{receipt.dropped:,} paths dropped" in built
    assert not list(out.glob("*.journal"))


def test_a_failed_verification_fails_the_build(image: Image, context: Path) -> None:
    """A command that passes once only: what it left behind is on no file system of the image."""
    shell = "[ ! -e /dev/shm/again ] && touch /dev/shm/again"
    write_dockerfile(context, image, "--level", "cruft", "--user", "root", "--", "sh", "-c", shell)
    done = build(context, FAILED)
    remove_stages(done.stdout)
    assert done.returncode != 0
    assert "1 worse than before" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
    assert subprocess.run(["docker", "image", "inspect", FAILED], capture_output=True, check=False).returncode != 0
