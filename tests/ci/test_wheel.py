"""The wheel by itself: everything that slimagent reads is in it, and pipx runs it without a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from slimagent import __version__

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place), str(ROOT)]
    subprocess.run(build, check=True)
    (made,) = place.glob("*.whl")
    return made


def test_what_slimagent_reads_is_in_it(wheel: Path) -> None:
    """Every tracked file of the package, the profiles, and the agent's entrypoint; no tests."""
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "slimagent"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert names.issuperset(filter(None, tracked.split("\0")))
    profiles = {f"slimagent/profiles/{each.name}" for each in (ROOT / "profiles").glob("*.toml")}
    assert names.issuperset({*profiles, "slimagent/entrypoint.sh"})
    assert not [name for name in names if name.startswith("tests/")]


def test_pipx_runs_it(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, in a directory without a checkout; a command that reads profiles, too."""
    venv.create(tmp_path / "pipx", with_pip=True)
    programs = tmp_path / "pipx/bin"
    subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", "pipx"], check=True)
    env = {**os.environ, "PIPX_HOME": str(tmp_path / "home"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    run = [programs / "pipx", "run", "--spec", str(wheel), "slimagent"]
    for words, said in ((("--version",), f"slimagent, version {__version__}\n"), (("profiles",), "rocker-ml")):
        done = subprocess.run([*run, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
