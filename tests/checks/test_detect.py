"""What is found installed, from names alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from checks_context import make_venv
from command_line import assert_error, environment, slimagent

from slimagent import checks
from slimagent.checks import detect
from slimagent.checks.python import prefixes
from slimagent.model.profile import CheckSpec
from slimagent.profiles import read as profile
from slimagent.profiles import shipped as profiles


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test makes is there: no usual place of this machine is looked at."""
    monkeypatch.setattr(prefixes, "DIRECTORIES", ())
    monkeypatch.setattr(prefixes, "DATA", ())
    for name in ("_R_LIBRARIES", "_GPU_DEVICES", "_GPU_DIRECTORIES", "_NOTEBOOK_PLACES"):
        monkeypatch.setattr(detect, name, ())
    monkeypatch.setattr(detect, "RSTUDIO_DIRECTORIES", ())


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """The directory of packages of an empty virtual environment at `env`."""
    return make_venv(tmp_path / "env")


def found(directory: Path, **env: str) -> dict[str, str]:
    """The profiles found with a PATH that leads to that directory alone, with their reasons."""
    return dict(detect.detect({"PATH": str(directory), **env}).profiles)


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o755)
    return path


def test_an_empty_path_has_nothing(tmp_path: Path) -> None:
    """Without programs nothing is found, and a directory that is not there is no error."""
    assert detect.detect({"PATH": str(tmp_path)}) == ((), ())
    assert detect.detect({"PATH": "/no/such/directory"}) == ((), ())


def test_a_python_without_distributions_is_nothing_to_check(packages: Path, tmp_path: Path) -> None:
    """An interpreter alone is not named; what it was made from may have some."""
    assert str(tmp_path) not in found(tmp_path / "env" / "bin").get("python", "")


def test_a_python_with_distributions_brings_its_profile(packages: Path, tmp_path: Path) -> None:
    """Distributions are counted by their metadata; the reason names the environment."""
    for name in ("one-1.dist-info", "two-2.dist-info", "three.egg-info", "one"):
        (packages / name).mkdir()
    assert found(tmp_path / "env" / "bin")["python"].startswith(f"venv {tmp_path}/env (3 distributions)")


def test_a_link_to_an_interpreter_leads_to_its_environment(packages: Path, tmp_path: Path) -> None:
    """A link on PATH, to a link, to an environment's interpreter: the environment is the one that counts."""
    (packages / "one-1.dist-info").mkdir()
    (packages / "one").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "between").symlink_to(tmp_path / "env" / "bin" / "python3")
    (tmp_path / "bin" / "python3").symlink_to("../between")
    assert f"{tmp_path}/env (1 distributions)" in found(tmp_path / "bin")["python"]


def test_a_launcher_is_left_to_the_check(tmp_path: Path) -> None:
    """A launcher whose environment cannot be told from its place is named; a loop of links ends."""
    launcher = program(tmp_path / "bin" / "python3")
    assert found(launcher.parent) == {"python": f"python is {launcher}"}
    launcher.unlink()
    launcher.symlink_to("python3")
    assert found(launcher.parent) == {}


def test_jupyter_lab_brings_its_profile_and_names_its_kernels(packages: Path, tmp_path: Path) -> None:
    """`jupyter-lab` on PATH is what the jupyter profile needs; `jupyter` alone is not."""
    bin_directory = tmp_path / "env" / "bin"
    program(bin_directory / "jupyter")
    assert "jupyter" not in found(bin_directory)
    program(bin_directory / "jupyter-lab")
    for name in ("python3", "ir"):
        (tmp_path / "env" / "share" / "jupyter" / "kernels" / name).mkdir(parents=True)
    assert found(bin_directory)["jupyter"] == f"{bin_directory}/jupyter-lab, kernels ir, python3"


def test_servers_and_languages_bring_their_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R with the number of its packages, RStudio Server on PATH or where it lies, code-server with its directory."""
    for name in ("Rscript", "code-server"):
        program(tmp_path / "bin" / name)
    (tmp_path / "library" / "stats").mkdir(parents=True)
    monkeypatch.setattr(detect, "_R_LIBRARIES", (str(tmp_path / "library"),))
    monkeypatch.setattr(detect, "RSTUDIO_DIRECTORIES", ("/none", str(program(tmp_path / "rstudio" / "rserver").parent)))
    assert found(tmp_path / "bin", CODE_EXTENSIONSDIR="/opt/ext") == {
        "r": f"{tmp_path}/bin/Rscript (1 package)",
        "rstudio": f"{tmp_path}/rstudio/rserver",
        "code-server": f"{tmp_path}/bin/code-server, extensions in /opt/ext",
    }


def test_what_is_for_graphics_processors_brings_their_profile(packages: Path, tmp_path: Path) -> None:
    """Whether one is here or not: the check finds out, and what it cannot exercise stays."""
    assert "gpu" not in found(tmp_path / "env" / "bin")
    (packages / "nvidia").mkdir()
    assert found(tmp_path / "env" / "bin")["gpu"] == str(packages / "nvidia")


def checks_found(directory: Path, **env: str) -> dict[str, CheckSpec]:
    return {spec.kind: spec for spec in detect.detect({"PATH": str(directory), **env}).checks}


def test_tools_on_path_are_needed(tmp_path: Path) -> None:
    """What people type is named; a compiler is not, because to call one is to ask for compiling."""
    for name in ("git", "rclone", "gcc", "make"):
        program(tmp_path / name)
    assert checks_found(tmp_path)["tools"].parameters == {"needed": ("git", "rclone")}


def test_notebooks_are_found_where_makers_put_them(tmp_path: Path) -> None:
    """In the home directory and below, not in packages; directories in directories are one."""
    for path in ("home/a.ipynb", "home/x/b.ipynb", "home/site-packages/p/c.ipynb", "home/.hidden/d.ipynb"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    specs = checks_found(tmp_path / "none", HOME=str(tmp_path / "home"))
    assert specs["notebooks"].parameters == {"folders": (str(tmp_path / "home"),)}
    assert "permissions" in specs


def test_where_nothing_is_installed_the_base_rules_remain(tmp_path: Path) -> None:
    """With nothing in PATH, `auto` has no checks, all base rules, and says that it found nothing."""
    for search in (str(tmp_path), str(tmp_path / "none"), ""):
        found = profiles.detect({"PATH": search})
        assert found.name == "auto"
        assert found.checks == ()
        assert found.rules.keep == profiles.load("base").rules.keep
        assert "nothing" in found.description


def test_auto_is_what_is_found(packages: Path, tmp_path: Path) -> None:
    """The checks of the profiles that fit and those that name what is there; each can be run."""
    (packages / "one-1.dist-info").mkdir()
    (packages / "one").mkdir()
    program(tmp_path / "env" / "bin" / "git")
    auto = profiles.detect({"PATH": str(tmp_path / "env" / "bin")})
    assert [spec.kind for spec in auto.checks] == ["python-imports", "tools", "permissions"]
    for spec in auto.checks:
        checks.validate(spec)


@pytest.mark.parametrize("name", profiles.known())
def test_every_check_of_a_shipped_profile_can_be_run(name: str) -> None:
    """Its kind is known, and so is each parameter."""
    for spec in profiles.load(name).checks:
        checks.validate(spec)


def test_the_command_writes_a_profile_to_go_on_with(tmp_path: Path) -> None:
    """What it writes is read again, and has the checks that `auto` has."""
    path = tmp_path / "mine.toml"
    done = slimagent("detect", "-o", path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    auto = profiles.load(str(path))
    shown = slimagent("detect")
    assert shown.returncode == 0
    assert all(spec.name in shown.stdout for spec in auto.checks)
    assert profile.load(str(path), lambda name: path.read_text() if name == str(path) else "").checks
    assert_error(slimagent("detect", "-o", tmp_path / "none" / "x.toml"), 4, "none does not exist")


def test_nothing_known_is_said(tmp_path: Path) -> None:
    """An image with nothing that we know is no error."""
    env = {**environment(), "PATH": str(tmp_path), "HOME": str(tmp_path)}
    done = slimagent("detect", env=env)
    assert done.returncode == 0, done.stderr
    assert os.linesep in done.stdout
