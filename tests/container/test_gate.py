"""The gate of `slimagent image`: it is judged after the proof, and an image that is proved is tagged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from schemas import problems, problems_in

from slimagent.documents import decode_lines
from tests.container.slimming import docker, exists, identity, slim, state
from tests.container.test_output import ONLY_IN_FULL

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_an_image_that_fails_its_gate_is_tagged_and_the_status_is_1(small: str, tag: str, tmp_path: Path) -> None:
    """The proof says what the tag means. The history keeps what passes, until somebody accepts what does not."""
    path = tmp_path / "h.jsonl"
    options = ("--history", str(path), "--gate", "growth <= 0", "--gate", "missed = 0")
    ended = slim(small, tag, tmp_path / "one", *options, "--", "cat", "/srv/needed")
    assert ended.returncode == 0, ended.stderr
    (first,) = decode_lines(path.read_bytes())
    assert (first.image, first.tag, first.image_id) == (small, tag, identity(small))
    assert problems("history-line", json.loads(path.read_bytes())) == []
    before = identity(tag)
    ended = slim(small, tag, tmp_path / "two", *options, "--", "sh", "-c", "cat /srv/*")
    assert ended.returncode == 1
    assert f"{tag} was made and proved, but growth since {first.minute} is " in ended.stderr
    assert f"to accept it: slimagent history add {tmp_path / 'two'} --file {path}" in ended.stderr
    assert docker("run", "--rm", "--network=none", tag) == "seed\nhello world\n"
    assert identity(tag) != before and state(tmp_path / "two") == "complete"
    assert decode_lines(path.read_bytes()) == (first,)
    assert ended.stdout.splitlines()[-1].startswith(f"{tag}: ")
    assert (tmp_path / "two/summary.md").read_text().startswith(f"### {tag}: ")
    assert problems_in(tmp_path / "two") == []


def test_an_image_without_proof_is_not_judged(small: str, tag: str, tmp_path: Path) -> None:
    """Nothing is tagged and nothing is added; the summary has no rulings."""
    path = tmp_path / "h.jsonl"
    options = ("--history", str(path), "--gate", "size < 1 kB", "--no-repair")
    ended = slim(small, tag, tmp_path / "out", *options, "--no-start", "--", "/bin/sh", "-c", ONLY_IN_FULL)
    assert ended.returncode == 1
    assert not exists(tag) and not path.exists()
    assert json.loads((tmp_path / "out/summary.json").read_text())["gate"] == []
