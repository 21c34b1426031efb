"""What commands say of a run's directory in which something else than a document lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import assert_error, slimagent

OUT, HISTORY = "out", "history.jsonl"


@pytest.mark.parametrize(
    "command",
    [
        ("report", OUT),
        ("explain", OUT, "/etc/passwd"),
        ("compare", OUT, OUT),
        ("sbom", OUT),
        ("history", "show", "--file", HISTORY),
        ("history", "add", OUT, "--file", HISTORY),
    ],
    ids=" ".join,
)
@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["fifo", "zero"])
def test_a_pipe_or_a_device_is_no_document(command: tuple[str, ...], kind: str, tmp_path: Path) -> None:
    """Nobody waits for a FIFO, and nothing reads a device without an end."""
    (tmp_path / OUT).mkdir()
    for path in (tmp_path / OUT / "plan.json", tmp_path / HISTORY):
        if kind == "fifo":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero")
    done = slimagent(*command, cwd=tmp_path)
    assert_error(done, 2, "not a regular file")
    assert (HISTORY if "history" in command else f"{OUT}/plan.json") in done.stderr
