"""Watching with CAP_SYS_ADMIN in a real image, on its overlay: nothing passes the filter, and attaching sees all."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.container.conftest import AGENT, Image

pytestmark = pytest.mark.container

SECONDS = 60
IMPORTS = "import ctypes, json, multiprocessing, sqlite3, ssl, xml.etree.ElementTree"


def started(image: Image, out: Path, *arguments: str) -> list[str]:
    """How `docker run` starts the agent as root with the capability."""
    return [
        "docker", "run", "--rm", "--network=none", "--cap-add=SYS_ADMIN", "--user=root", "-v", f"{AGENT}:/agent:ro",
        "-v", f"{out}:/out", *arguments, "--entrypoint=/agent/entrypoint.sh", image.name,
    ]  # fmt: skip


def losses(trace: dict[str, Any]) -> list[Any]:
    """Those of all runs of a trace."""
    return [loss for run in trace["runs"] for loss in run["losses"]]


def test_a_smoke_test_goes_past_no_filter(image: Image, tmp_path: Path) -> None:
    """All that fanotify sees of the image's own smoke test was called for: no loss, and the loader is evidence."""
    command = ["trace", "--backend=seccomp+fanotify", "--user", image.user, "-o", "/out/trace.json", "--"]
    done = subprocess.run(
        [*started(image, tmp_path), *command, "/bin/sh", "-c", image.command], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    trace = json.loads((tmp_path / "trace.json").read_text())
    assert losses(trace) == []
    assert [run["blind_spots"] for run in trace["runs"]] == [["other-processes"]]
    assert "/ld-linux" in json.dumps(trace["accesses"])


def test_attached_it_sees_what_docker_exec_does(image: Image, tmp_path: Path) -> None:
    """The work is done by a process that the engine starts; SIGTERM ends the watch, and the trace is written."""
    name = f"slimagent-test-{secrets.token_hex(4)}"
    command = ["trace", "--attach", "--until-signal", "--backend=fanotify", "-o", "/out/trace.json"]
    with subprocess.Popen([*started(image, tmp_path, "--name", name), *command], stderr=subprocess.PIPE) as agent:
        try:
            _wait_until_it_watches(agent)
            work = ["docker", "exec", "--user", image.user, name, "python3", "-B", "-c", IMPORTS]
            subprocess.run(work, check=True, capture_output=True, timeout=SECONDS)
            subprocess.run(["docker", "kill", "--signal=TERM", name], check=True, capture_output=True)
            assert agent.wait(timeout=SECONDS) in (0, 143), agent.stderr and agent.stderr.read()
        finally:
            subprocess.run(["docker", "rm", "-f", name], check=False, capture_output=True)
    trace = json.loads((tmp_path / "trace.json").read_text())
    paths = json.dumps(trace["accesses"])
    assert "/xml/etree/" in paths
    assert "sqlite3" in paths
    assert [loss["kind"] for loss in losses(trace) if loss["kind"] != "already-running"] == []
    assert {spot for run in trace["runs"] for spot in run["blind_spots"]} == {"lookups", "who", "tests"}


def _wait_until_it_watches(agent: subprocess.Popen[bytes]) -> None:
    """Until the agent says so: its descriptors are closed to everybody, root in the container too."""
    assert agent.stderr is not None
    said = []
    for line in agent.stderr:
        said.append(line)
        if b"watching every process" in line:
            return
    pytest.fail(f"the agent does not watch: {said}")
