"""`slimagent check IMAGE` and `slimagent detect IMAGE`: asked from outside, answered by an agent in a container."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.container.slimming import BUNDLE, Derive, ours

pytestmark = pytest.mark.container
PROFILE = """
name = "ours"
[[check]]
kind = "command"
name = "it is there"
shell = "test -e /srv/needed"
[[check]]
kind = "command"
name = "who"
shell = "test $(id -un) = somebody"
"""


@pytest.fixture
def profile(tmp_path: Path) -> str:
    """A file on this machine."""
    path = tmp_path / "ours.toml"
    path.write_text(PROFILE)
    return str(path)


def ask(*words: str) -> subprocess.CompletedProcess[str]:
    """The command, with the agent of these tests."""
    command = [sys.executable, "-m", "slimagent", *words, "--agent", str(BUNDLE)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_checks_before_and_after(small: str, derive: Derive, profile: str, tmp_path: Path) -> None:
    """As the image's user; the results and the report are written here, and serve as a baseline for another image."""
    before, report = str(tmp_path / "before.json"), str(tmp_path / "report.xml")
    done = ask("check", small, "--profile", profile, "-o", before, "--junit", report)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 checks passed" in done.stdout
    assert json.loads(Path(before).read_text())["schema"] == "slimagent/checks"
    assert 'tests="2" failures="0"' in Path(report).read_text()
    changed = derive('USER root\nRUN ["/bin/busybox", "rm", "/srv/needed"]\nUSER somebody')
    assert ask("check", changed, "--profile", profile).returncode == 1
    worse = ask("check", changed, "--profile", profile, "--baseline", before, "--json")
    assert worse.returncode == 1
    outcomes = {each["name"]: each["outcome"] for each in json.loads(worse.stdout)["results"]}
    assert outcomes == {"it is there": "failed", "who": "passed"}
    assert ask("check", changed, "--profile", profile, "--only", "who", "--quiet").stdout == ""
    as_root = ask("check", small, "--profile", profile, "--user", "root", "--only", "who")
    assert as_root.returncode == 1
    Path(profile).write_text(f'user = "somebody"{PROFILE}')  # what is asked for counts more than the profile
    assert ask("check", small, "--profile", profile, "--user", "root", "--only", "who").returncode == 1
    assert ours() == set()


def test_settings_of_the_container(small: str, tmp_path: Path) -> None:
    """Mounts and variables are those of `docker run`."""
    tmp_path.chmod(0o755)
    path = tmp_path / "mounted.toml"
    path.write_text(
        'name = "m"\n[[check]]\nkind = "command"\nname = "both"\n'
        'shell = "test \\"$A\\" = b && test -e /mine/mounted.toml"\n'
    )
    done = ask("check", small, "--profile", str(path), "-e", "A=b", "-v", f"{tmp_path}:/mine:ro")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_installed(derive: Derive, tmp_path: Path) -> None:
    """In words, as JSON, and as a profile that `check` takes; a file of somebody else is left alone."""
    image = derive('USER root\nRUN ["/bin/busybox", "ln", "-s", "busybox", "/bin/tar"]\nUSER somebody')
    assert "command-line tools: tar" in ask("detect", image).stdout
    output = tmp_path / "profile.toml"
    done = ask("detect", image, "-o", str(output), "--json")
    assert json.loads(done.stdout)["checks"]
    assert f"wrote {output}" in done.stderr
    checked = ask("check", image, "--profile", str(output))
    assert "command-line tools" in checked.stdout
    output.write_text("mine")
    assert ask("detect", image, "-o", str(output)).returncode == 3
    assert output.read_text() == "mine"


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("words", [("check", "nosuch:image"), ("detect", "nosuch:image")])
def test_an_image_that_is_not_here(words: tuple[str, ...]) -> None:
    """Is said, with what to do."""
    done = ask(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no such image here: nosuch:image" in done.stderr


@pytest.mark.parametrize("words", [("check", "--network=host"), ("detect", "--run-option=--init")])
def test_settings_without_an_image(words: tuple[str, ...]) -> None:
    """Mean nothing, and are said."""
    command = [sys.executable, "-m", "slimagent", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{words[1].partition('=')[0]} is only used with IMAGE" in done.stderr


def test_the_default_agent_of_an_image_that_has_none(small: str) -> None:
    """A directory that does not hold an agent is refused before anything starts."""
    command = [sys.executable, "-m", "slimagent", "check", small, "--agent", "/nonexistent-agent"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "/nonexistent-agent is not an agent" in done.stderr
