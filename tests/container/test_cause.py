"""What makes a step worse and is looked for by nobody: found by bisection, named, and undone where that can be."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from plan_images import build

from tests.container import slimming
from tests.container.slimming import Derive, exists, listed, slim

pytestmark = [pytest.mark.container, pytest.mark.usefixtures("nothing_left")]

FILES = 100
# A shell lists a directory and looks nothing up in it (ls would).
LISTS = 'set -- /srv/*; case "$*" in *file-42*) exit 0;; *) exit 1;; esac'
MANY = """
USER root
COPY many.tar /
RUN ["/bin/busybox", "tar", "-C", "/", "-xf", "/many.tar"]
RUN ["/bin/busybox", "rm", "/many.tar"]
USER somebody
"""


def searches(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / "summary.json").read_text())["searches"]
    return found


@pytest.fixture(scope="module")
def many(derive: Derive, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with a directory of many files that nobody opens."""
    archive = slimming.archive({f"srv/file-{at}": b"x" * 5000 for at in range(FILES)})
    return derive(MANY, {"many.tar": archive})


def test_what_is_only_listed_is_found_and_kept(many: str, tag: str, tmp_path: Path) -> None:
    """One of a hundred files; a new image has it."""
    ended = slim(many, tag, tmp_path, "--budget", "0", "--", "sh", "-c", LISTS)
    assert ended.returncode == 0, ended.stderr
    (found,) = searches(tmp_path)
    assert found["outcome"] == "found"
    assert [(each["path"], each["what"]) for each in found["causes"]] == [("/srv/file-42", "removed")]
    assert found["runs"] <= 14
    assert "file-42" in listed(tag, "/srv")
    assert "search: run 3 of about" in ended.stderr
    assert "/srv/file-42" in (tmp_path / "summary.md").read_text()


def test_an_emptied_file_is_named(many: str, tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that loses the bytes of a file: nobody misses the file, and no plan says that it differs."""
    slimming.faulty_engine(tmp_path / "bin", "/srv/needed")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    ended = slim(many, tag, tmp_path / "out", "--", "sh", "-c", 'test "$(cat /srv/needed)"')
    assert ended.returncode == 1
    (found,) = searches(tmp_path / "out")
    assert found["outcome"] == "found"
    assert [(each["path"], each["what"]) for each in found["causes"]] == [("/srv/needed", "differs")]
    assert "fault of slimagent or of the engine" in ended.stderr
    assert not exists(tag)


def test_without_a_search_it_says_only_that_nothing_was_missed(many: str, tag: str, tmp_path: Path) -> None:
    """And at the limit it says how far it came."""
    ended = slim(many, tag, tmp_path / "none", "--search-runs", "0", "--budget", "0", "--", "sh", "-c", LISTS)
    assert ended.returncode == 1
    assert searches(tmp_path / "none") == []
    ended = slim(many, tag, tmp_path / "few", "--search-runs", "5", "--budget", "0", "--", "sh", "-c", LISTS)
    assert ended.returncode == 1
    (found,) = searches(tmp_path / "few")
    assert (found["outcome"], found["runs"]) == ("stopped", 5)
    assert 1 < found["left"] < FILES
    assert "--search-runs" in ended.stderr


def test_a_test_that_fails_now_and_then_is_called_that(many: str, tag: str, tmp_path: Path) -> None:
    """It counts its runs in a mounted directory, and fails in the second one, which is that in the slim image."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    line = "echo >> /state/runs; test $(cat /state/runs | wc -l) -ne 2"
    ended = slim(many, tag, tmp_path / "out", "-v", f"{state}:/state", "--", "sh", "-c", line)
    assert ended.returncode == 1
    (found,) = searches(tmp_path / "out")
    assert (found["outcome"], found["causes"]) == ("unstable", [])
    assert "now and then" in ended.stderr


def test_a_stripped_file_is_left_as_it_is_the_next_time(derive: Derive, tag: str, tmp_path: Path) -> None:
    """A test that compares a library with its checksum: the new slim image has the library's own bytes."""
    library = build(tmp_path, "/libnamed.so", "-g").read_bytes()
    image = derive("COPY libnamed.so /srv/libnamed.so", {"libnamed.so": library})
    line = f'test "$(/bin/busybox md5sum < /srv/libnamed.so)" = "{hashlib.md5(library).hexdigest()}  -"'  # noqa: S324
    ended = slim(image, tag, tmp_path / "out", "--", "sh", "-c", line)
    assert ended.returncode == 0, ended.stderr
    (found,) = searches(tmp_path / "out")
    assert [(each["path"], each["what"]) for each in found["causes"]] == [("/srv/libnamed.so", "stripped")]
    assert slimming.started(tag, line).returncode == 0


def test_a_step_that_depends_on_another_runs_with_it(many: str, tag: str, tmp_path: Path) -> None:
    """Alone it fails without any change; so all steps run, and the cause is the same."""
    words = ("--budget", "0", "--also", "touch /tmp/made", "--", "sh", "-c", f"test -e /tmp/made || exit 1; {LISTS}")
    ended = slim(many, tag, tmp_path / "out", *words)
    assert ended.returncode == 0, ended.stderr
    (found,) = searches(tmp_path / "out")
    assert (found["outcome"], found["steps"]) == ("found", ["command"])
    assert [each["path"] for each in found["causes"]] == ["/srv/file-42"]
