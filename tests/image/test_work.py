"""Jobs in threads of their own, and what is removed where only root may."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slimagent.image.work import REMOVE, Job


def test_a_job_gives_what_it_came_to() -> None:
    """Its value, or what it raised; however long it takes."""
    with ThreadPoolExecutor() as pool:
        assert Job(pool.submit(lambda: time.sleep(0.5) or 7)).result() == 7
        with pytest.raises(ZeroDivisionError):
            Job(pool.submit(lambda: 1 // 0)).result()
        with pytest.raises(TimeoutError):  # the job's own
            Job(pool.submit(_times_out)).result()


def _times_out() -> None:
    raise TimeoutError


def test_the_program_that_removes_as_root_removes_what_it_is_given(tmp_path: Path) -> None:
    """It runs in a container, with the agent's Python, and a link's target stays."""
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "file").touch()
    subprocess.run([sys.executable, "-c", REMOVE, *(tmp_path / each for each in ("tree", "link", "file"))], check=True)
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]
