"""How far a proof reaches, for a small image: estimated from its trace, and tried with a step held out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from schemas import problems

from slimagent.documents import decode_plan
from slimagent.model.reason import Verdict
from tests.container.slimming import Derive, exists, slim, state

pytestmark = pytest.mark.usefixtures("nothing_left")

TESTS = 'for name in a.png b.svg c.pdf; do ( [ -e "/.slimagent/test/$name" ]; cat "/srv/$name" /srv/all ); done'


def slimagent(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "slimagent", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_each_test_and_step_is_left_out_in_a_container(derive: Derive, tag: str, tmp_path: Path) -> None:
    """What three tests and a step read alone would go without them; the image is not run for that."""
    out = tmp_path / "out"
    files = dict.fromkeys(("a.png", "b.svg", "c.pdf", "all", "also.md"), b"x" * 3_000_000)
    image = derive(f"COPY {' '.join(files)} /srv/", files)
    ended = slim(image, tag, out, "--also", "cat /srv/also.md", "--", "sh", "-c", TESTS)
    assert ended.returncode == 0, ended.stderr
    done = slimagent("reach", out, "--level", "file", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert problems("reach", found) == []
    assert json.loads((out / "reach.json").read_text()) == found
    (level,) = found["levels"]
    lost = {found["units"][each["unit"]]["name"]: each["examples"] for each in level["left_out"]}
    assert lost == {
        **{name: [f"/srv/{name}"] for name in ("a.png", "b.svg", "c.pdf")},
        "cat /srv/also.md": ["/srv/also.md"],
    }
    assert [each["size"] for each in level["left_out"]] == [3_000_000] * 4
    assert found["unused"] == []
    shown = slimagent("report", out)
    assert "too few for an estimate" in " ".join(shown.stdout.split())


def test_a_script_that_marks_its_tests_passes_on_the_slim_image_too(derive: Derive, tag: str, tmp_path: Path) -> None:
    """It stops at the first error; the function that marks is where it was in the trace."""
    out = tmp_path / "out"
    script = (
        'set -eu; . "$SLIMAGENT_RUNNERS/slimagent_test.sh"; slimagent_test one cat /srv/one; slimagent_test none true'
    )
    image = derive("COPY one /srv/", {"one": b"x" * 3_000_000})
    ended = slim(image, tag, out, "--by-test", "--", "sh", "-c", script)
    assert ended.returncode == 0, ended.stderr
    assert exists(tag)
    told = slimagent("explain", out, "/srv/one")
    assert "opened in command by one" in told.stdout


def test_a_step_that_is_held_out_is_tried_without_being_evidence(derive: Derive, tag: str, tmp_path: Path) -> None:
    """It fails on an image that was planned without it, the others do not, and nothing is tagged."""
    out, line = tmp_path / "out", "cat /srv/also.md"
    image = derive("COPY also.md /srv/", {"also.md": b"x" * 3_000_000})
    ended = slim(image, tag, out, "--also", line, "--hold-out", line, "--", "cat", "/srv/needed")
    assert ended.returncode == 1, ended.stderr
    assert f"{line}, held out: 1 of 1 result is worse" in ended.stdout
    assert "it misses 1 removed file, e.g. /srv/also.md" in ended.stdout
    assert "worse, though not held out" not in ended.stdout
    assert not exists(tag)
    assert state(out) == "complete"
    told = json.loads((out / "summary.json").read_text())
    assert [each["name"] for each in told["worse"]] == [line]
    assert told["repairs"] == []


def test_a_step_that_nobody_has_is_refused_before_anything_runs(small: str, tag: str, tmp_path: Path) -> None:
    """The message says which steps there are."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    line = ("-v", f"{state}:/state", "--", "touch", "/state/ran")
    ended = slim(small, tag, tmp_path / "out", "--hold-out", "comand", *line)
    assert ended.returncode == 2
    assert "no step is called 'comand'" in ended.stderr
    assert "command" in ended.stderr.splitlines()[-1]
    assert not exists(tag)
    assert list(state.iterdir()) == []


def test_what_repair_brought_back_is_not_lost(small: str, tag: str, tmp_path: Path) -> None:
    """A file that the trace never saw stays in every plan, because the run's rounds of repair are read, too."""
    state, out = tmp_path / "state", tmp_path / "out"
    state.mkdir(mode=0o777)
    state.chmod(0o777)
    line = "if test -e /state/ran; then cat /srv/later; else touch /state/ran; fi"
    ended = slim(small, tag, out, "-v", f"{state}:/state", "--also", line, "--", "cat", "/srv/needed")
    assert ended.returncode == 0, ended.stderr
    done = slimagent("reach", out, "--level", "file", "--json")
    assert done.returncode == 0, done.stderr
    plan = decode_plan((out / "plan.json").read_bytes())
    kept = sum(plan.reasons[entry.reason].verdict is Verdict.KEEP for entry in plan.entries)
    assert json.loads(done.stdout)["levels"][0]["kept"] == kept
