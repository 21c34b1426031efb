"""Two shards on their own, as docs/fleet.md says in a shell: one slim image from both traces, proved by each shard."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.container.conftest import BUNDLE, lacking
from tests.container.slimming import ROOT

pytestmark = pytest.mark.container


def script(image: str, slim: str) -> str:
    """The shell's part of the page: what each shard does, is done by two of them."""
    (block,) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/fleet.md").read_text(), re.DOTALL)
    lines = []
    for line in block.replace("docker run --rm", "docker run --rm --network=none").replace("\\\n", "").splitlines():
        if line.endswith("# each shard"):
            line = re.sub(r"\b1\b(?! #)", "$shard", line.removesuffix("# each shard").rstrip())
            line = f"for shard in 1 2; do {line}; done"
        lines.append(line)
    test = "/bin/sh -ec 'cat /srv/$0 >/dev/null' $(test $shard = 1 && echo needed || echo later)"
    text = "\n".join(lines).replace("TEST $shard", test).replace(" export ", " export --level file --budget 0 ")
    return "set -e\n" + re.sub(r"\bIMAGE\b", image, re.sub(r"\bSLIM\b", slim, text))


def test_two_shards_make_one_image(small: str, tmp_path: Path) -> None:
    """It has what either of them needed and nothing else; a shard that misses something says so."""
    if shutil.which("skopeo") is None:
        lacking("no skopeo")
    slim = f"slimagent-test-fleet:{secrets.token_hex(4)}"
    (tmp_path / "agent").symlink_to(BUNDLE)
    (tmp_path / "out").mkdir()
    try:
        done = subprocess.run(
            ["bash", "-c", script(small, slim)], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        there = subprocess.run(
            ["docker", "run", "--rm", "--network=none", "--entrypoint=/bin/ls", slim, "/srv"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert there.stdout.split() == ["later", "needed"]
        proofs = [json.loads((tmp_path / f"out/verification-{shard}.json").read_text()) for shard in (1, 2)]
        assert [proof["missed"] for proof in proofs] == [[], []]
        plan = json.loads((tmp_path / "out/plan.json").read_text())
        assert len(plan["traces"]) == 2
    finally:
        subprocess.run(["docker", "rmi", "-f", slim], check=False, capture_output=True)
