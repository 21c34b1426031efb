"""Files of packages as their registry publishes them, fetched once into build/npm; for tests only."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

PLACE = Path(__file__).parents[2] / "build" / "npm"
# axe-core (Deque, MPL-2.0) looks for what keeps people with disabilities out of a page.
AXE = (
    "axe-core",
    "4.14.1",
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
)


def axe() -> str:
    """axe-core's script."""
    return published(*AXE, "package/axe.min.js").decode()


def published(name: str, version: str, integrity: str, file: str) -> bytes:
    """A file of a package whose archive has this digest (Subresource Integrity). Skips without npm or a network."""
    archive = PLACE / f"{name}-{version}.tgz"
    if not archive.exists():
        _fetch(f"{name}@{version}")
    kind, _, digest = integrity.partition("-")
    assert base64.b64encode(hashlib.new(kind, archive.read_bytes()).digest()).decode() == digest, archive
    with tarfile.open(archive) as opened:
        member = opened.extractfile(file)
        assert member is not None
        return member.read()


def _fetch(package: str) -> None:
    PLACE.mkdir(parents=True, exist_ok=True)
    why = "no npm"
    if shutil.which("npm"):
        command = ["npm", "pack", "--silent", package]
        done = subprocess.run(command, cwd=PLACE, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        why = f"npm cannot fetch {package}: {done.stderr[-300:]}"
    (pytest.fail if os.environ.get("SLIMAGENT_TEST_STRICT") else pytest.skip)(why)
