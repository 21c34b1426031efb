"""The action for GitHub: its steps run as a runner runs them, against a real engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.container.slimming import BUNDLE, ROOT, exists, remove

pytestmark = pytest.mark.container


@dataclass
class Runner:
    """Runs the steps of the action that run a script, one after another, in a workspace."""

    place: Path
    inputs: dict[str, str]

    def __post_init__(self) -> None:
        for name in ("temp", "workspace"):
            (self.place / name).mkdir(exist_ok=True)
        self.files = {each: self.place / each for each in ("GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")}
        self.outputs: dict[str, str] = {}
        self.said = ""

    def run(self) -> list[int]:
        """The exit statuses of the steps. A step without a condition is left out once one has failed."""
        action = YAML(typ="safe").load((ROOT / "action.yml").read_text())
        known = {name: str(each.get("default", "")) for name, each in action["inputs"].items()} | self.inputs
        statuses: list[int] = []
        for step in action["runs"]["steps"]:
            if "run" in step and (not any(statuses) or "cancelled()" in str(step.get("if", ""))):
                statuses.append(self._step(step, known))
        return statuses

    def _step(self, step: dict[str, Any], known: dict[str, str]) -> int:
        assert step["shell"] == "bash"
        script = self.place / "step.sh"
        script.write_text(step["run"])
        for file in self.files.values():
            file.touch()
        path = os.pathsep.join((*reversed(self.files["GITHUB_PATH"].read_text().split()), os.environ["PATH"]))
        given = {name: _filled(str(value), known) for name, value in step.get("env", {}).items()}
        ours = {name: str(file) for name, file in self.files.items()}
        env = {**os.environ, **ours, **given, "PATH": path, "RUNNER_TEMP": str(self.place / "temp")}
        env |= {"GITHUB_ACTION_PATH": str(ROOT), "GITHUB_ACTIONS": "true"}
        command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)]  # as the runner does
        done = subprocess.run(
            command, env=env, cwd=self.place / "workspace", capture_output=True, text=True, check=False
        )
        self.said += done.stdout + done.stderr
        self.outputs |= dict(line.split("=", 1) for line in self.files["GITHUB_OUTPUT"].read_text().splitlines())
        return done.returncode


def _filled(text: str, known: dict[str, str]) -> str:
    return re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda found: known[found[1]], text)


@pytest.fixture
def tag() -> Iterator[str]:
    """A name for the slim image."""
    name = "slimagent-test-action:slim"
    yield name
    remove(name)


def test_the_steps_of_the_action(small: str, tag: str, tmp_path: Path) -> None:
    """Installed from the repository, slimmed, gated, reported; then a gate that fails, with its annotation."""
    (tmp_path / "temp").mkdir()
    shutil.copytree(BUNDLE, tmp_path / "temp/slimagent-agent", symlinks=True)  # as the cache would bring it
    inputs = {"image": small, "tag": tag, "test": "cat /srv/needed >/dev/null; echo two  spaces", "level": "file"}
    runner = Runner(tmp_path, {**inputs, "gate": "size < 1 GB\nworse = 0\n", "options": "--no-repair\n-e\nA=b c"})
    assert runner.run() == [0, 0, 0], runner.said
    assert exists(tag)
    assert int(runner.outputs["size-after"]) < int(runner.outputs["size-before"])
    assert len(runner.outputs["key"]) == 16
    out = tmp_path / "workspace/slimagent-out"
    assert tag in runner.files["GITHUB_STEP_SUMMARY"].read_text()
    assert "<html" in (out / "report.html").read_text()[:2000]
    assert "testsuites" in (out / "junit.xml").read_text()
    again = Runner(tmp_path, {**inputs, "gate": "size < 1 kB"})
    assert again.run() == [0, 1, 0]
    assert "::error title=slimagent gate" in again.said
