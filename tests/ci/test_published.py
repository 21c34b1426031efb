"""What the action for GitHub publishes of a run: its last script alone, with directories of any content."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"bytes_before": 20, "bytes_after": None}


def published(place: Path, summary: dict[str, object], before: str | None) -> tuple[list[str], str]:
    """The outputs and the summary of a job whose slimagent left these sizes. `before` is the record in OUT at first."""
    (place / "out").mkdir()
    (place / "out/run.json").write_text("new")
    (place / "out/summary.json").write_text(json.dumps(summary))
    (place / "out/summary.md").write_text("words\n")
    if before is not None:
        (place / "slimagent-before.json").write_text(before)
    (step,) = (
        each
        for each in YAML(typ="safe").load((ROOT / "action.yml").read_text())["runs"]["steps"]
        if each.get("id") == "result"
    )
    files = {each: str(place / each) for each in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for each in files.values():
        Path(each).touch()
    env = {**os.environ, **files, "OUT": str(place / "out"), "RUNNER_TEMP": str(place)}
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]]
    subprocess.run(command, env=env, check=True, capture_output=True)
    return (place / "GITHUB_OUTPUT").read_text().splitlines(), (place / "GITHUB_STEP_SUMMARY").read_text()


@pytest.mark.parametrize("before", [None, "old"])
def test_a_run_is_published(tmp_path: Path, before: str | None) -> None:
    """Into a new directory, and over an earlier run. A size that is unknown is empty."""
    assert published(tmp_path, SIZES, before) == (["wrote=true", "size-before=20", "size-after="], "words\n")


def test_a_directory_that_the_run_did_not_write_is_not_published(tmp_path: Path) -> None:
    """It was committed, or another run left it; slimagent was refused before it wrote."""
    assert published(tmp_path, SIZES, "new") == ([], "")


@pytest.mark.parametrize("size", ["1\nsize-after=9\nx=y", True, 1.5, [1]])
def test_a_size_is_a_number(tmp_path: Path, size: object) -> None:
    """Whatever else stands there becomes no output, and no further line."""
    outputs, _ = published(tmp_path, {"bytes_before": size, "bytes_after": 3}, None)
    assert outputs == ["wrote=true", "size-before=", "size-after=3"]
