"""entrypoint.sh: finds a Python, keeps itself out of the image, and becomes slimagent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from slimagent import __version__, documents

ROOT = Path(__file__).resolve().parents[2]
DEPENDENCIES = (
    "click",
    "packaging",
    "orjson",
    "psutil",
    "rich",
    "elftools",
    "websocket",
    "pygments",
    "markdown_it",
    "mdurl",
    "tomli",
)


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    """An agent directory as `make agent` lays it out, with this environment's own dependencies, no bytecode in it."""
    library = tmp_path / "agent" / "lib"
    library.mkdir(parents=True)
    packages = Path(sysconfig.get_path("platlib"))
    no_byte_code = shutil.ignore_patterns("__pycache__")
    for name in DEPENDENCIES:
        if (packages / name).is_dir():
            shutil.copytree(packages / name, library / name, ignore=no_byte_code)
    shutil.copytree(ROOT / "slimagent", library / "slimagent", ignore=no_byte_code)
    shutil.copytree(ROOT / "profiles", library / "slimagent" / "profiles", dirs_exist_ok=True)
    shutil.copy2(ROOT / "entrypoint.sh", library.parent)
    return library.parent


def start(agent: Path, *arguments: str, path: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run entrypoint.sh with this very Python first in PATH."""
    env = {"PATH": path or f"{os.path.dirname(sys.executable)}:/usr/bin:/bin", "HOME": str(agent)}
    return subprocess.run(
        [str(agent / "entrypoint.sh"), *arguments], capture_output=True, text=True, env=env, cwd=cwd, check=False
    )


def test_it_becomes_slimagent_and_writes_no_byte_code(agent: Path) -> None:
    """Arguments go on to slimagent, and the agent's directory is as it was before."""
    before = sorted(agent.rglob("*"))
    done = start(agent, "--version")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"slimagent, version {__version__}"
    assert sorted(agent.rglob("*")) == before


def test_the_agent_is_neither_evidence_nor_in_the_commands_environment(agent: Path, tmp_path: Path) -> None:
    """The trace knows no path of the agent's, and the command is not told of it."""
    (tmp_path / "scope").mkdir()
    trace = tmp_path / "trace.json"
    done = start(
        agent,
        *("trace", "--quiet", "--scope", str(tmp_path), "-o", str(trace), "--"),
        *("sh", "-c", f"env; test -e {tmp_path}/scope; test -e {agent}/lib/slimagent"),
    )
    assert done.returncode == 0, done.stderr
    assert "SLIMAGENT" not in done.stdout
    recorded = documents.decode_trace(trace.read_bytes())
    paths = {each.path for each in recorded.accesses}
    assert os.fsencode(tmp_path / "scope") in paths
    assert not [path for path in paths if path.startswith(os.fsencode(agent))]


def test_a_module_beside_the_command_is_not_imported(agent: Path, tmp_path: Path) -> None:
    """A `click.py` in the working directory, or in the image's own site-packages, does not come into the agent."""
    (tmp_path / "click.py").write_text("raise SystemExit('the wrong click')\n")
    done = start(agent, "--version", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_without_a_python_it_says_what_is_missing(agent: Path, tmp_path: Path) -> None:
    """With no Python that can load the agent, status 4, one line and a hint."""
    for name in os.listdir(agent / "lib"):
        if name == "click":
            shutil.rmtree(agent / "lib" / name)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "dirname"):
        (tools / name).symlink_to(f"/bin/{name}" if os.path.exists(f"/bin/{name}") else f"/usr/bin/{name}")
    done = start(agent, "--version", path=str(tools))
    assert done.returncode == 4
    first, second = done.stderr.splitlines()
    assert first.startswith("slimagent: no Python of 3.10 or later")
    assert second.startswith("  hint: ")


@pytest.mark.skipif(os.geteuid() != 0, reason="what others may write is no danger but for root")
@pytest.mark.parametrize("writable", ["python", "bin", "ls"])
def test_root_runs_no_program_that_others_may_write(agent: Path, tmp_path: Path, writable: str) -> None:
    """I3: neither as the Python that comes first in PATH, nor to find out whether it may be run."""
    directory = tmp_path / "bin"
    directory.mkdir()
    mark = tmp_path / "mark"
    for name in ("python3", "ls", "readlink", "id"):
        (directory / name).write_text(f"#!/bin/sh\necho run by $(/usr/bin/id -u) >> {mark}\nexit 1\n")
        (directory / name).chmod(0o755)
    if writable == "python":
        os.chown(directory / "python3", 1234, 1234)
    else:
        directory.chmod(0o777)
    if writable == "ls":
        (directory / "python3").unlink()
    done = start(agent, "--version", path=f"{directory}:{os.path.dirname(sys.executable)}:/usr/bin:/bin")
    assert (done.returncode, done.stdout.strip()) == (0, f"slimagent, version {__version__}"), done.stderr
    assert not mark.exists()
