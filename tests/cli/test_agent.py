"""The agent that commands make when they need one: said before, once, and not to be mistaken for a run of the image."""

from __future__ import annotations

from pathlib import Path

import pytest

from slimagent.cli.agent import agent_bundle
from slimagent.cli.console import Console
from slimagent.image import agent
from slimagent.workflows import bundler
from slimagent.workflows.exercise import Reporter


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a making that is quick: it has the phases of the real one."""

    def make(directory: str, reporter: Reporter) -> bundler.Made:
        with reporter.phase("run under trace"), reporter.phase("plan", "files") as progress:
            progress(1)
        Path(directory).mkdir()
        made = agent.Bundle(
            directory=directory, slimagent="0", architecture="x", loader="ld.so", python="3", glibc="2", size=1
        )
        Path(directory, "bundle.json").write_bytes(agent.record(made, {}, {}))
        return bundler.Made(bundle=made, parts={}, before=1, has_strip=False)

    monkeypatch.delenv("SLIMAGENT_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(bundler, "make", make)
    return tmp_path


def test_it_is_said_before_it_is_made(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its directory; its phases are not shown. The next command finds it."""
    made = agent_bundle(None, Console(is_alone=True))
    first, last = capsys.readouterr().err.splitlines()
    assert first == (
        f"slimagent: make the agent for containers once, in {made.directory}: nothing of an image is run for this"
    )
    assert last.startswith("slimagent: make the agent, once  ")
    assert agent_bundle(None, Console(is_alone=True)) == made
    assert capsys.readouterr().err == ""


def test_quiet_says_nothing(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The agent is made all the same."""
    assert Path(agent_bundle(None, Console(quiet=True)).directory).is_relative_to(cache)
    assert capsys.readouterr().err == ""
