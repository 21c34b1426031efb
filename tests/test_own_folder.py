"""Which directory is the agent's: what it may leave out of the image, and remove with --remove-agent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import environment, slimagent

from slimagent.apply.own_folder import require_removable
from slimagent.errors import RefusedError
from slimagent.session import own_folder

ROOT = Path(__file__).resolve().parent.parent
ASKS = "from slimagent.session import own_files, own_folder; print(own_folder()); print(*own_files(), sep='\\n')"


def asked(library: Path, home: Path | str) -> list[str]:
    """What the package in `library` takes for its directory, with SLIMAGENT_HOME, and for its files."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", ASKS],
        env=environment() | {"SLIMAGENT_HOME": str(home), "PYTHONPATH": str(library)},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def agent(home: Path, place: str) -> Path:
    """An agent with its package at `place`. Returns the folder that holds it."""
    shutil.copytree(ROOT / "slimagent", home / place / "slimagent", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "entrypoint.sh", home)
    return home / place


@pytest.mark.parametrize("place", ["lib", "python/lib/python3.11/site-packages", "."])
def test_the_agents_directory_is_where_its_code_lies(tmp_path: Path, place: str) -> None:
    """R3: of a bundle, of `make agent`, of a checkout: what the variable says is so."""
    home = tmp_path.resolve() / "agent"
    assert asked(agent(home, place), home)[:2] == [repr(os.fsencode(home))] * 2


@pytest.mark.parametrize("said", ["data", ".", "agent/lib", "agent/lib/slimagent", "/", "venv"])
def test_what_a_variable_names_is_not_the_agents(tmp_path: Path, said: str) -> None:
    """R3: another directory, one above it, one in it, one that only has the code: neither left out nor removed."""
    folder = tmp_path.resolve()
    library = agent(folder / "agent", "lib")
    (folder / "data").mkdir()
    (folder / "data/entrypoint.sh").write_text("# Starts slimagent in any container\n")
    if said == "venv":
        library = agent(folder / "venv", "lib")
        (folder / "venv/entrypoint.sh").write_text("echo mine\n")
    first, *files = asked(library, folder / said if said != "/" else "/")
    assert first == "None"
    assert files[0] == repr(os.fsencode(library / "slimagent"))


def test_remove_agent_leaves_what_a_variable_names(tmp_path: Path) -> None:
    """R3: without an agent's entrypoint there is nothing to remove, and it says so before anything is done."""
    precious = tmp_path / "data"
    precious.mkdir()
    (precious / "entrypoint.sh").write_text("# Starts slimagent in any container\n")
    (tmp_path / "plan.json").touch()
    done = slimagent(
        *("apply", tmp_path / "plan.json", "--in-place", "--force", "--remove-agent"),
        env=environment() | {"SLIMAGENT_HOME": str(precious)},
    )
    assert (done.returncode, "no entrypoint.sh of an agent started" in done.stderr) == (2, True)
    assert (precious / "entrypoint.sh").exists()


def test_what_else_lies_in_the_agents_directory_is_not_removed(tmp_path: Path) -> None:
    """R3: somebody's file there is a refusal; the plan and the journal that we were given are not."""
    home = tmp_path.resolve() / "agent"
    agent(home, "lib")
    plan = home / "plan.json"
    plan.touch()
    require_removable(os.fsencode(home), [os.fsencode(plan)])
    (home / "notes").touch()
    with pytest.raises(RefusedError, match="notes"):
        require_removable(os.fsencode(home), [os.fsencode(plan)])


def test_a_checkout_is_not_removed() -> None:
    """R3: this one holds tests, and more that no agent has."""
    with pytest.raises(RefusedError, match="what is not the agent's"):
        require_removable(os.fsencode(ROOT), [])
    assert own_folder() is None
