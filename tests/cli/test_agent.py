"""The agent that commands make when they need one: said before, once, never replaced, and not mistaken for a run."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from slimagent.cli.agent import agent_bundle
from slimagent.cli.console import Console
from slimagent.workflows import agent_cache, bundler

# A making that is quick, with the phases of the real one: it lays out one file and a record.
QUICK = """
import os, time
from slimagent.image import agent
from slimagent.workflows import bundler

class Making:
    def __init__(self, source, work, reporter):
        self.reporter, self.slim = reporter, os.path.join(work, "slim")

    def make(self, target):
        with self.reporter.phase("run under trace"), self.reporter.phase("plan", "files") as progress:
            progress(1)
        time.sleep(float(os.environ.get("TEST_SECONDS", "0")))
        os.mkdir(self.slim)
        with open(os.path.join(self.slim, "part"), "w") as file:
            file.write("12345678")
        made = agent.Bundle(
            directory=target, slimagent="0", architecture="x", loader="ld.so", python="3", glibc="2", size=8
        )
        with open(os.path.join(self.slim, "bundle.json"), "wb") as file:
            file.write(agent.record(made, {}, {}))
        return bundler.Made(bundle=made, parts={}, before=1, has_strip=False)

bundler._Making = Making
"""
LOCKLESS = """
import errno, fcntl
def flock(descriptor, operation):
    raise OSError(errno.ENOLCK, "no locks available")
fcntl.flock = flock
"""
ASK = """
import os
from slimagent.cli.agent import agent_bundle
from slimagent.cli.console import Console
made = agent_bundle(None, Console(is_alone=True))
print(made.directory, os.stat(made.directory).st_ino)
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a making that is quick."""
    monkeypatch.delenv("SLIMAGENT_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(bundler, "_Making", bundler._Making)  # put back what the next line replaces
    exec(QUICK, {})  # noqa: S102  # the text above
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


def started(script: str, seconds: float) -> subprocess.Popen[str]:
    """A command that needs the agent, in a process of its own. Making one takes it so long."""
    env = {**os.environ, "TEST_SECONDS": str(seconds)}
    return subprocess.Popen(
        [sys.executable, "-c", script], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def told(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out, err


def test_of_commands_at_once_one_makes_it_and_the_others_wait(cache: Path) -> None:
    """They say that they wait, and all get the same directory."""
    answers = [told(each) for each in [started(QUICK + ASK, 1.5) for _ in range(3)]]
    assert len({out for out, _ in answers}) == 1
    assert sum("make the agent for containers once" in err for _, err in answers) == 1
    assert sum("wait for the agent that another command makes" in err for _, err in answers) == 2


def test_without_locks_the_first_that_is_finished_is_kept(cache: Path) -> None:
    """The slow command gets the quick one's, in whose containers it may be mounted, and leaves nothing beside it."""
    slow = started(QUICK + LOCKLESS + ASK, 3)
    quick, _ = told(started(QUICK + LOCKLESS + ASK, 0))
    assert slow.poll() is None  # it is at work all the while
    assert told(slow)[0] == quick
    names = os.listdir(cache / "slimagent")
    assert sorted(names) == sorted((Path(quick.split()[0]).name, f"{Path(quick.split()[0]).name}.lock"))


@pytest.mark.parametrize("damage", ["record", "part"])
def test_a_damaged_one_stays_where_it_is(cache: Path, damage: str) -> None:
    """A container may have it mounted. The new one gets another name, and is found from then on."""
    first = agent_bundle(None, Console(quiet=True))
    broken = Path(first.directory, "bundle.json" if damage == "record" else "part")
    broken.unlink()
    left = sorted(os.listdir(first.directory))
    second = agent_bundle(None, Console(quiet=True))
    assert second.directory == f"{first.directory}-2"
    assert sorted(os.listdir(first.directory)) == left
    assert agent_bundle(None, Console(quiet=True)) == second


def test_what_comes_while_one_is_made_is_not_replaced(cache: Path, tmp_path: Path) -> None:
    """Only `slimagent bundle DIR` replaces an earlier bundle: that is what its user asks for."""
    target = tmp_path / "agent"
    nobody = agent_cache._Hidden()
    bundler.make(str(target), nobody)
    kept = target.stat().st_ino
    bundler.make(str(target), nobody, replace=False)
    assert target.stat().st_ino == kept
    bundler.make(str(target), nobody)
    assert target.stat().st_ino != kept


def test_a_state_of_any_part_has_a_name_of_its_own(cache: Path) -> None:
    """Also of a dependency: an agent with another version of it is another agent."""
    source = agent_cache.host()
    first = agent_cache._state(source)
    place, path = source.packages[0]
    changed = cache / "changed"
    changed.write_bytes(Path(path).read_bytes() + b"\n")
    assert agent_cache._state(replace(source, packages=((place, str(changed)), *source.packages[1:]))) != first
    assert agent_cache._state(replace(source, strip=str(changed))) != first
