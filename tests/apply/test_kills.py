"""Killed at random moments, the same command ends as one run would have: the benchmark of it, for a few kills each."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import environment

KILLS = Path(__file__).resolve().parents[2] / "benchmarks" / "kills.py"
LIMIT = 300  # seconds


@pytest.mark.parametrize("form", ["in-place", "tar", "to", "oci", "repair"])
def test_a_kill_at_any_moment_leaves_nothing_half_done(tmp_path: Path, form: str) -> None:
    """K1, K2, K3: before or after, never between; the same command completes it, and leaves nothing beside it."""
    command = [sys.executable, KILLS, "--forms", form, "--kills", "8", "--seed", "13"]
    options = {"env": environment() | {"TMPDIR": str(tmp_path)}, "timeout": LIMIT, "check": False}
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if "cannot trace here" in done.stderr:
        pytest.skip(done.stderr)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    found = re.match(rf"{form} +([0-9]+) kills, +([0-9]+) at work, +([0-9]+) right,", done.stdout)
    assert found is not None
    kills, met, right = map(int, found.groups())
    assert met > 0
    assert kills == right
