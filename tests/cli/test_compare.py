"""`slimagent compare`: the program as a user starts it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import assert_error, slimagent
from document_values import RECEIPT, TRACE
from run_documents import Pack, plan_with, verification
from schemas import problems

from slimagent.documents import encode_plan, encode_receipt, encode_trace, encode_verification
from slimagent.image.run_record import Record
from slimagent.linux.files import digest
from slimagent.model.plan import Plan
from slimagent.model.result import Outcome

A = plan_with([Pack("dpkg:vim", 5000, 5000, "9.0"), Pack("python:six", 100, 100)])
B = plan_with([Pack("dpkg:vim", 5000, 0, "9.0"), Pack("python:six", 100, 100)], level="file")


def run(directory: Path, plan: Plan, outcome: Outcome = Outcome.PASSED, tag: str = "slim:1") -> Path:
    """The output directory of a run."""
    directory.mkdir()
    data = encode_plan(plan)
    (directory / "plan.json").write_bytes(data)
    proof = verification({"command": outcome}, plan=digest(data))
    (directory / "verification.json").write_bytes(encode_verification(proof))
    (directory / "receipt.json").write_bytes(encode_receipt(replace(RECEIPT, plan=digest(data))))
    record = Record(image="app:1", tag=tag, version="0", started="2026-08-01T10:00:00Z", state="complete")
    (directory / "run.json").write_bytes(record.encoded())
    return directory


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    return run(tmp_path / "a", A, tag="slim:a"), run(tmp_path / "b", B, Outcome.FAILED, tag="slim:b")


def test_two_directories_are_compared(two: tuple[Path, Path]) -> None:
    """What differs in what was asked, the sums, the checks, the changes with their reasons, the answer last."""
    done = slimagent("compare", *two, cwd=two[0].parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2:] == [
        "",
        "level: package in A; file in B",
        "",
        "stays     packages A  B  size A       B  difference",
        "dpkg               1  0  5.0 kB     0 B     -5.0 kB",
        "python             1  1   100 B   100 B         0 B",
        "together           2  1  5.1 kB   100 B     -5.0 kB",
        "image              2  2  5.1 kB  5.1 kB         0 B",
        "what stays is counted after stripping, the image before it",
        "",
        "check      A       B",
        "  command  passed  failed",
        "",
        "   -5.0 kB  went     dpkg:vim 9.0",
        "            no test used it, nothing that stays requires it, no rule keeps it",
        "1 went (-5.0 kB)",
        "1 check that passed in A did not pass in B",
        "B keeps 5.0 kB less than A (98.0 %): 100 B instead of 5.1 kB",
    ]
    assert done.stdout.splitlines()[0].endswith("app:1 -> slim:a, level package, verified")


def test_plans_alone_are_compared(two: tuple[Path, Path]) -> None:
    """Without the documents beside them."""
    done = slimagent("compare", two[0] / "plan.json", two[1] / "plan.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert "not verified" in done.stdout and "check" not in done.stdout


def test_json_is_a_document(two: tuple[Path, Path]) -> None:
    """With a schema; --format json is the same."""
    done = slimagent("compare", *two, "--json")
    found = json.loads(done.stdout)
    assert problems("comparison", found) == []
    assert [each["name"] for each in found["moved"]] == ["vim"]
    assert found["checks"] == [{"name": "command", "a": "passed", "b": "failed"}]
    assert slimagent("compare", *two, "--format", "json").stdout == done.stdout


def test_markdown_is_a_comment(two: tuple[Path, Path]) -> None:
    """Its first line is the answer."""
    done = slimagent("compare", *two, "--format", "markdown")
    assert done.returncode == 0
    assert done.stdout.startswith("### B keeps 5.0 kB less than A (98.0 %)")
    assert "| command | passed | failed |".replace("command", "`command`") in done.stdout


def test_a_run_is_the_same_as_itself(two: tuple[Path, Path]) -> None:
    """Which is the whole answer."""
    done = slimagent("compare", two[0], two[0])
    assert done.stdout.splitlines()[-1] == "A and B keep the same"


def test_what_is_no_run_says_how_to_make_one(two: tuple[Path, Path], tmp_path: Path) -> None:
    """The command to type, with the name that was given."""
    assert_error(slimagent("compare", two[0], "none here"), 2, "does not exist", "slimagent image IMAGE", "'none here'")
    assert_error(slimagent("compare", two[0], "nowhere"), 2, "is a run, and nowhere is no directory here", "two images")
    (tmp_path / "empty").mkdir()
    assert_error(
        slimagent("compare", tmp_path / "empty", two[1]), 2, "has no document of a run", "make one: slimagent image"
    )
    trace = tmp_path / "trace.json"
    trace.write_bytes(encode_trace(TRACE))
    assert_error(slimagent("compare", trace, two[1]), 2, "slimagent/trace", "slimagent plan", "-o plan.json")
    (tmp_path / "text").write_text("hello")
    assert_error(slimagent("compare", tmp_path / "text", two[1]), 2, "not a whole JSON document")


def test_documents_of_different_runs_are_not_mixed(two: tuple[Path, Path]) -> None:
    """A receipt of another plan was not made by this run."""
    (two[0] / "plan.json").write_bytes(encode_plan(B))
    assert_error(slimagent("compare", *two), 2, "receipt.json belongs to another plan", "plan.json")


def test_forms_that_exclude_each_other_are_refused(two: tuple[Path, Path]) -> None:
    """As in other commands."""
    assert_error(slimagent("compare", *two, "--json", "--format", "markdown"), 2, "--json and --format markdown")


@pytest.mark.parametrize("text", ["", "[]", "null", '{"schema": "other", "image": "x"}', '{"schema": "slimagent/run"}'])
def test_a_record_that_is_not_ours_gives_no_names(two: tuple[Path, Path], text: str) -> None:
    """The plan is what counts."""
    (two[0] / "run.json").write_text(text)
    done = slimagent("compare", *two)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].endswith("a  level package, verified")


def test_a_run_and_an_image_are_not_compared(two: tuple[Path, Path]) -> None:
    """In either order; nor are the options of images for runs."""
    for names in ((two[0], "app:1"), ("app:1", two[0])):
        assert_error(slimagent("compare", *names), 2, "is a run, and app:1 is no directory here", "compare app:1 app:2")
    assert_error(slimagent("compare", *two, "--engine", "docker"), 2, "for images", "leave them out")


def test_a_directory_is_a_run_only_with_its_documents(two: tuple[Path, Path]) -> None:
    """A directory can have the name of an image."""
    (two[0].parent / "app").mkdir()
    done = slimagent("compare", "a", "app", cwd=two[0].parent)
    assert_error(done, 2, "a is a run, and app is not")
