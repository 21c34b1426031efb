"""The benchmark of repair, without an engine: what it takes away is really gone, and it says what came of it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from plan_images import evidence_for, write

from slimagent.model.plan import Plan
from slimagent.model.profile import KeepRule, Rules
from slimagent.model.reason import Verdict
from slimagent.model.trace import Trace
from slimagent.plan.decide import decide
from slimagent.plan.evidence import Evidence
from slimagent.profiles.read import load

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "repair.py"


def script() -> ModuleType:
    """`benchmarks/repair.py` as a module; benchmarks are no package."""
    spec = importlib.util.spec_from_file_location("repair", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["repair"] = module
    spec.loader.exec_module(module)
    return module


repair = script()
USED = [f"/srv/{number}/used" for number in range(12)]
KEPT = tuple(KeepRule(pattern=path, why="a rule that outweighs the benchmark") for path in USED[:3])


class Planner:
    """Plans without a container. Three of the used files stay even if the trace does not have them."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence, self.plans = evidence, 0

    def plan(self, trace: Trace, lost: frozenset[bytes]) -> Plan:
        self.plans += 1
        cruft = load("lost.toml", lambda _: repair.profile(lost).decode()).rules.cruft
        rules = Rules(budget=0, cruft=cruft, keep=KEPT)
        return decide(replace(self.evidence, trace=trace, rules=rules), "file")


@pytest.fixture
def planner(tmp_path: Path) -> Planner:
    for path in USED:
        write(tmp_path, path)
    return Planner(evidence_for(tmp_path, USED))


@pytest.mark.parametrize("seed", range(4))
def test_what_is_chosen_is_used_and_no_longer_planned(planner: Planner, seed: int) -> None:
    """As many as asked for, the same with the same seed, and none that the plan keeps without the trace."""
    asked = SimpleNamespace(seed=seed, files=5)
    found = repair.chosen(planner, planner.evidence.trace, asked)
    assert len(found) == 5 and found <= {path.encode() for path in USED[3:]}
    assert found == repair.chosen(planner, planner.evidence.trace, asked)
    plan = planner.plan(repair.without(planner.evidence.trace, found), found)
    gone = {each.path for each in plan.entries if plan.reasons[each.reason].verdict is Verdict.DROP}
    assert gone & {path.encode() for path in USED} == found


def test_too_few_files_are_said(planner: Planner) -> None:
    """Nine can go, three stay."""
    with pytest.raises(repair.NoneFoundError, match="only 9 of 12 used files"):
        repair.chosen(planner, planner.evidence.trace, SimpleNamespace(seed=1, files=10))


def test_it_says_what_was_not_named_and_why_no_image_was_made() -> None:
    """A line for each round, for each file that no round names, and the sum."""
    missed, used = ([{"path": path, "steps": ["r"]}] for path in ("/a", "/b"))
    each = {"number": 1, "steps": ["r"], "missed": missed, "used": used, "files": 3, "bytes": 1_500_000}
    summary = {"repairs": [each], "error": {"message": "worse"}}
    assert repair.named(summary) == {b"/a", b"/b"}
    asked = SimpleNamespace(image="lab:x", seed=7)
    assert [*repair.told(summary, frozenset({b"/a", b"/b", b"/c"}), asked, 61.0, 1)] == [
        "round 1: 1 missed, 1 used in the full image, 3 files back (1.5 MB); r",
        "not made: worse",
        "not named: /c",
        "lab:x seed 7: 2 of 3 named, 1 rounds, 61 s, status 1",
    ]


def test_a_run_that_was_interrupted_has_no_summary(tmp_path: Path) -> None:
    """Its record says how it ended; a summary that an earlier run left under another tag does not count."""
    assert repair.summarised(tmp_path, "t:1") is None
    assert "has no run.json" in repair.ending(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"state": "failed", "reason": "interrupted"}))
    assert repair.ending(tmp_path) == "failed, interrupted"
    (tmp_path / "summary.json").write_text(json.dumps({"tag": "t:0"}))
    assert repair.summarised(tmp_path, "t:1") is None
    assert repair.summarised(tmp_path, "t:0") == {"tag": "t:0"}


@pytest.mark.usefixtures("engine")
def test_an_image_that_is_not_there_is_no_traceback(tmp_path: Path) -> None:
    """Status 1, and the lines say what is wrong."""
    words = [sys.executable, str(SCRIPT), "lab:none-of-this-name", "--test", "true", "--out", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert "no image and no summary" in done.stdout
