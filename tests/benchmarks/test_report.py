"""The benchmark of the report's page, run small and without a browser."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "report.py"


def test_it_measures_the_page_of_a_synthetic_image(tmp_path: Path) -> None:
    """A tree, a plan, a page: its size is printed, and nothing is left."""
    command = [sys.executable, str(SCRIPT), "--files", "2000", "--in", str(tmp_path), "--no-browser"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^size +0\.\d\d MB$", done.stdout, re.MULTILINE), done.stdout
    assert list(tmp_path.iterdir()) == []
