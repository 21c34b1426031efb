"""Options for tests on the host: what cannot be meant is said before anything starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import assert_error

from slimagent.cli.hosts import _probe


@pytest.mark.parametrize(
    ("text", "probe"),
    [
        ("/", ("GET", None, "/")),
        ("/a?b=c:d/", ("GET", None, "/a?b=c:d/")),
        ("GET:/health", ("GET", None, "/health")),
        ("HEAD:8080/x", ("HEAD", 8080, "/x")),
        (":80/x", ("GET", 80, "/x")),
        ("80/x", ("GET", 80, "/x")),
    ],
)
def test_probes(text: str, probe: tuple[str, int | None, str]) -> None:
    """A method, a port and a path; only the path is needed."""
    assert _probe(text) == probe


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--from-host"], "--from-host: nothing to run"),
        (["--http", "health"], "--http health: not a request"),
        (["--http", "get:/x"], "--http get:/x"),
        (["--http", "/x", "--", "true"], "--http excludes a COMMAND"),
        (["--compose", "a.yml", "--", "true"], "--compose needs --from-host"),
        (["--from-host", "--compose", "/nosuch.yml", "--", "true"], "--compose /nosuch.yml: no such file"),
    ],
)
def test_what_cannot_be_meant(words: list[str], named: str, tmp_path: Path) -> None:
    """One line says what, one what to do."""
    command = [sys.executable, "-m", "slimagent", "image", "nosuch:image", "-t", "x:y", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert_error(done, 2, named)
    assert not list(tmp_path.iterdir())
