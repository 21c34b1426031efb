"""A Jupyter image tested from the host: requests, `docker exec`, more containers, and a browser that calculates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slimagent import documents
from tests.container.conftest import Image
from tests.container.slimming import ROOT, command, exists, ours, remove

pytestmark = [pytest.mark.container, pytest.mark.timeout(1200)]
SUITE = ROOT / "tests/support/hosted_jupyter.py"
STATIC = b"/opt/venv/share/jupyter/lab/static/"


@pytest.fixture
def tag() -> Iterator[str]:
    yield "slimagent-test-hosted:slim"
    remove("slimagent-test-hosted:slim")


def test_a_browser_and_requests_pass_on_the_slim_image(image: Image, tag: str, tmp_path: Path) -> None:
    """Nothing ran inside: what stays is what the tests on the host reached, the pages of JupyterLab among it."""
    out = tmp_path / "out"
    pytest_words = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(SUITE))
    words = command(
        image.name, "-t", tag, "--level", "file", "--out", str(out), "--from-host", "--network=host", "--no-start",
        "--", *pytest_words,
    )  # fmt: skip
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "HOSTED_IMAGE": image.name}
    )
    assert done.returncode == 0, done.stderr[-8000:]
    assert exists(tag)
    trace = documents.decode_trace((out / "trace.json").read_bytes())
    by_tests = {each.path for each in trace.accesses if [trace.steps[at].name for at in each.steps] == ["host-tests"]}
    pages = {path for path in by_tests if path.startswith(STATIC) and path.endswith(b".js")}
    assert len(pages) > 10
    there = subprocess.run(
        ["docker", "run", "--rm", "--network=none", "--entrypoint=/bin/sh", tag, "-c", f"ls {STATIC.decode()}"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert {os.path.basename(path).decode() for path in pages} <= set(there)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["bytes_after"] < 0.6 * summary["bytes_before"]
    assert ours() == set()
