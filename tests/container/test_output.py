"""The output directory is one run's, and says how that ended; what a run that was killed left is taken away."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.container import slimming
from tests.container.slimming import NO_AGENT, command, exists, record, said, slim, state

DOCUMENTS = {"image.json", "trace.json", "plan.json", "receipt.json", "removed.jsonl.gz", "verification.json"}
SUMMARIES = {"summary.json", "summary.md"}
# In the slim image there is less in /srv. So it can be told from the full one without a look at what is missing.
ONLY_IN_FULL = "cat /srv/needed > /dev/null; set -- /srv/*; test $# = 3"
ONLY_IN_SLIM = "cat /srv/needed > /dev/null; set -- /srv/*; test $# = 3 || { echo going on >&2; sleep 30; }"


def names(out: Path) -> set[str]:
    """Every file below a directory."""
    return {str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir()}


@pytest.mark.usefixtures("nothing_left")
def test_a_run_takes_the_place_of_the_one_before_and_of_nothing_else(small: str, tag: str, tmp_path: Path) -> None:
    """Complete, then failed in the slim image, then in the full one: each time what that run wrote, and others'."""
    out = tmp_path / "out"
    (out / "logs").mkdir(parents=True)
    (out / "mine.txt").write_text("mine\n")
    (out / "logs/mine.txt").write_text("mine\n")
    mine = {"mine.txt", "logs/mine.txt"}
    ended = slim(small, tag, out, "--no-start", "--", "cat", "/srv/needed")
    assert ended.returncode == 0, ended.stderr
    assert state(out) == "complete"
    full = {"run.json", *DOCUMENTS, *SUMMARIES, "logs/full-command.log", "logs/slim-command.log"}
    assert names(out) == full | mine
    assert {*record(out)["files"]} == full - {"run.json"}

    ended = slim(small, tag, out, "--no-start", "--search-runs", "0", "--", "/bin/sh", "-c", ONLY_IN_FULL)
    assert ended.returncode == 1, ended.stderr
    assert (state(out), record(out)["tag"]) == ("failed", tag)
    assert (
        record(out)["reason"]
        == f"the slim image does not do what {small} does, so {tag} was not made; {tag} is still the earlier image"
    )
    assert names(out) == full | mine | {"logs/again-command.log"}  # what it does in the full image explains nothing

    ended = slim(small, tag, out, "--no-start", "--", "cat", "/srv/nothing")
    assert ended.returncode == 1, ended.stderr
    assert state(out) == "failed"
    assert names(out) == {"run.json", "image.json", "trace.json", "logs/full-command.log", *SUMMARIES} | mine


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("name", ["plan.json", "summary.md", "logs/full-start.log", "run.json", "logs"])
def test_a_file_of_somebody_s_is_not_touched(small: str, tag: str, tmp_path: Path, name: str) -> None:
    """Refused with status 3 before anything runs, and all is as it was."""
    out = tmp_path / "out"
    path = out / name
    path.parent.mkdir(parents=True)
    path.write_text("mine\n")
    ended = slim(small, tag, out, "--", "true", agent=NO_AGENT)
    assert (ended.returncode, str(path) in said(ended), "--out DIR" in ended.stderr) == (3, True, True), ended.stderr
    assert names(out) == {name}
    assert path.read_text() == "mine\n"


@pytest.mark.usefixtures("nothing_left")
def test_a_document_that_somebody_changed_is_theirs(small: str, tag: str, tmp_path: Path) -> None:
    """As is a link at one of our names."""
    out = tmp_path / "out"
    ended = slim(small, tag, out, "--no-start", "--quiet", "--", "cat", "/srv/nothing")
    assert (ended.returncode, state(out)) == (1, "failed")
    before = names(out)
    (out / "trace.json").write_text("mine\n")
    (out / "summary.md").unlink()
    (out / "summary.md").symlink_to(tmp_path / "elsewhere")
    ended = slim(small, tag, out, "--", "true", agent=NO_AGENT)
    assert ended.returncode == 3
    assert f"{out}/summary.md, {out}/trace.json" in said(ended)
    assert names(out) == before
    assert (state(out), (out / "trace.json").read_text()) == ("failed", "mine\n")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.usefixtures("nothing_left")
def test_what_a_killed_run_left_is_taken_away_by_the_next(small: str, tag: str, tmp_path: Path) -> None:
    """SIGKILL while the slim image is exercised: its container, its pending image and its directory are there."""
    out = tmp_path / "out"
    words = command(small, "-t", tag, "--level", "file", "--out", str(out), "--no-start")
    words += ["--", "/bin/sh", "-c", ONLY_IN_SLIM]
    before = slimming.ours()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("going on" in line for line in process.stderr)
        assert state(out) == "unfinished"
        busy = slim(small, tag, out, "--", "true", agent=NO_AGENT)
        assert (busy.returncode, "another run of slimagent writes to" in said(busy)) == (3, True), busy.stderr
        process.kill()
    assert state(out) == "unfinished"
    left = slimming.ours() - before
    images = {each for each in left if each.startswith("slimagent-pending:")}  # one for each layer, and the whole
    assert images and len(left - images) == 1 and len(list(out.glob(".work-*"))) == 1

    ended = slim(small, tag, out, "--no-start", "--", "cat", "/srv/needed")
    assert ended.returncode == 0, ended.stderr
    told = [line for line in ended.stderr.splitlines() if line.startswith("removed what a killed run")]
    assert told and all(kind in told[0] for kind in ("container", "image", "1 directory")), ended.stderr
    assert not left & slimming.ours()
    assert state(out) == "complete"
    assert exists(tag)


@pytest.mark.usefixtures("nothing_left")
def test_a_living_run_keeps_what_it_has(small: str, tag: str, tmp_path: Path) -> None:
    """Another one beside it, with a directory of its own, removes nothing of it, and both end well."""
    first, second, other = tmp_path / "first", tmp_path / "second", f"{tag}-other"
    words = command(small, "-t", tag, "--level", "file", "--out", str(first), "--no-start")
    words += ["--", "/bin/sh", "-c", "cat /srv/needed > /dev/null; echo going on >&2; sleep 5"]
    try:
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert any("going on" in line for line in process.stderr)
            ended = slim(small, other, second, "--no-start", "--", "cat", "/srv/needed")
            process.stderr.read()
        assert (process.returncode, ended.returncode) == (0, 0), ended.stderr
        assert (state(first), state(second)) == ("complete", "complete")
    finally:
        slimming.remove(other)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user than the one who owns the directory")
@pytest.mark.usefixtures("nothing_left")
def test_documents_belong_to_whom_the_directory_does(small: str, tag: str, tmp_path: Path) -> None:
    """Also those that root wrote in a container."""
    out = slimming.directory(tmp_path / "out")
    os.chown(out, 1234, 1234)
    ended = slim(small, tag, out, "--no-start", "--", "cat", "/srv/needed")
    assert ended.returncode == 0, ended.stderr
    assert (out / "logs/full-command.log").exists()
    assert {(path.stat().st_uid, path.stat().st_gid) for path in out.rglob("*")} == {(1234, 1234)}
