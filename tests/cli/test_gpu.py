"""GPU code on the command line: what a plan says of it, as a user asks and reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import slimagent
from fat_binaries import build_gpu_library
from plan_images import access, trace_for

from slimagent.documents import encode_trace
from slimagent.inventory.scan import scan
from slimagent.text.sizes import size

LIBRARY = "/srv/app/libk.so"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """The trace of an image in which a library with GPU code was opened; the image is in `root` beside it."""
    root = tmp_path / "root"
    build_gpu_library(root, LIBRARY, ("sm_80", "sm_90", "ptx_90"), ("sm_80", "sm_90"))
    file = tmp_path / "trace.json"
    file.write_bytes(encode_trace(trace_for(scan(str(root).encode()), [access(LIBRARY)])))
    return file


def planned(trace: Path, *arguments: str) -> tuple[Path, list[str]]:
    """A plan with these options, and what the command printed."""
    plan = trace.with_name("plan.json")
    done = slimagent("plan", "--root", trace.with_name("root"), trace, "-o", plan, *arguments)
    assert done.returncode == 0, done.stderr
    return plan, done.stdout.splitlines()


def test_a_plan_takes_code_for_other_gpus_out(trace: Path) -> None:
    """And its summary says so; `explain` shows the library's code by form and architecture."""
    plan, said = planned(trace, "--gpu-arch", "h100")
    saves = size(json.loads(plan.read_bytes())["gpu"]["files"][0][1])
    at = said.index(f"GPU code goes from 1 kept file, {saves}: sm_90 loads none of it")
    assert said[at + 1 : at + 3] == ["  files      goes  because", f"      1  {saves}  no package owns it"]
    explained = slimagent("explain", plan, LIBRARY).stdout.splitlines()
    assert [line for line in explained if not line.startswith(("  size", "  symbols"))] == [
        "/srv/app/libk.so  keep",
        "  level     package",
        f"  GPU code  {saves} goes, for sm_90: no package owns it",
        "    GPU code      for        size  pieces  stays",
        "    machine code  sm_80  262.1 kB       2  no",
        "    machine code  sm_90  262.1 kB       2  yes",
        "    PTX           sm_90  131.1 kB       1  no",
        "  - opened in smoke",
    ]
    (row,) = json.loads(slimagent("explain", plan, "--json", LIBRARY).stdout)
    assert row["gpu_code"][0] == {"form": "cubin", "architecture": "sm_80", "size": 262144, "pieces": 2, "stays": 0}


def test_without_a_name_nothing_is_said(trace: Path) -> None:
    """Nor in JSON, but for what is empty."""
    plan, said = planned(trace)
    assert not any("GPU" in line for line in said)
    (row,) = json.loads(slimagent("explain", plan, "--json", LIBRARY).stdout)
    assert (row["gpu"], row["gpu_code"]) == ("", [])


def test_a_profile_names_gpus_and_an_option_others(trace: Path) -> None:
    """The option counts; a pattern that fits nothing is noted."""
    profile = trace.with_name("mine.toml")
    profile.write_text('[gpu]\narchitectures = ["sm_80", "sm_90"]\nptx = "keep"\n')
    both = json.loads(planned(trace, "--profile", str(profile))[0].read_bytes())["gpu"]
    assert (both["target"], both["ptx"], both["files"]) == ("sm_80,sm_90", True, [])
    plan, said = planned(trace, "--profile", str(profile), "--gpu-arch", "none", "--gpu-code-of", "python:nvidia-*")
    assert json.loads(plan.read_bytes())["gpu"]["target"] == "none"
    assert "note: --gpu-code-of python:nvidia-* matches nothing in the image" in said
