"""What is found installed, from names alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from checks_context import make_venv

from slimagent.checks.detect import installed


@pytest.fixture
def environment(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """An empty virtual environment: its folder of packages, and a PATH that leads to it alone."""
    return make_venv(tmp_path / "env"), {"PATH": str(tmp_path / "env" / "bin")}


def test_an_empty_path_has_nothing(tmp_path: Path) -> None:
    """Without programs nothing is found, and a folder that is not there is no error."""
    assert installed({"PATH": str(tmp_path)}) == ()
    assert installed({"PATH": "/no/such/folder"}) == ()


def test_a_python_without_distributions_is_nothing_to_check(environment: tuple[Path, dict[str, str]]) -> None:
    """An interpreter alone brings no profile."""
    assert installed(environment[1]) == ()


def test_a_python_with_distributions_brings_its_profile(environment: tuple[Path, dict[str, str]]) -> None:
    """Distributions are counted by their metadata; the reason names the interpreter."""
    packages, env = environment
    for name in ("one-1.dist-info", "two-2.dist-info", "three.egg-info", "one"):
        (packages / name).mkdir()
    assert installed(env) == (("python", f"{env['PATH']}/python3 has 3 distributions"),)


def test_a_link_to_an_interpreter_leads_to_its_environment(
    environment: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    """A link on PATH, to a link, to an environment's interpreter: the environment is the one that counts."""
    (environment[0] / "one-1.dist-info").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "between").symlink_to(os.path.join(environment[1]["PATH"], "python3"))
    (tmp_path / "bin" / "python3").symlink_to("../between")
    assert installed({"PATH": str(tmp_path / "bin")}) == (("python", f"{tmp_path}/bin/python3 has 1 distributions"),)


def test_jupyter_lab_brings_its_profile(tmp_path: Path) -> None:
    """`jupyter-lab` on PATH is what the jupyter profile needs; `jupyter` alone is not."""
    (tmp_path / "jupyter").touch(0o755)
    assert installed({"PATH": str(tmp_path)}) == ()
    (tmp_path / "jupyter-lab").touch(0o755)
    assert installed({"PATH": str(tmp_path)}) == (("jupyter", f"jupyter-lab is {tmp_path}/jupyter-lab"),)


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    """A launcher whose environment cannot be told from its place is named, and left to the check."""
    program = tmp_path / "bin" / "python3"
    program.parent.mkdir()
    program.touch(0o755)
    assert installed({"PATH": str(program.parent)}) == (("python", f"python is {program}"),)
    program.unlink()
    program.symlink_to("python3")
    assert installed({"PATH": str(program.parent)}) == ()
