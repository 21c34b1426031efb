"""However deep or long a chain an input has, it is read or refused in one line: nothing calls itself along it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import assert_error, slimagent
from document_values import KINDS, SAMPLES, Kind
from plan_images import write

from slimagent.apply.in_place.journal_format import Start, decode_outcomes, decode_start, encode_start
from slimagent.checks.notebooks.directories import notebooks
from slimagent.errors import DocumentError, SlimagentError, UsageError
from slimagent.image.agent import bundle
from slimagent.image.engine import Engine
from slimagent.image.history import with_history
from slimagent.image.labels import made_by_us, with_labels
from slimagent.image.run_record import read_record
from slimagent.inventory.loader import loader
from slimagent.inventory.scan import scan
from slimagent.model import started
from slimagent.model.agent import BUNDLE
from slimagent.model.image_config import read_image_config
from slimagent.plan.evidence import _words
from slimagent.profiles import read as profile
from slimagent.text.json_input import DEEPEST, parsed
from slimagent.workflows.session import user_named

CHAIN = 3000
DEPTHS = (100, 240, 260, 500, 990, 1000, 1020, 1024, 1030, 200_000)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def test_a_chain_of_loader_configurations(tmp_path: Path) -> None:
    """R2: 3,000 files, each of which includes the next, in the order in which they are included."""
    write(tmp_path, "/etc/ld.so.conf", "/first\ninclude ld.so.conf.d/0.conf\n/last\n")
    for number in range(CHAIN):
        text = f"/before/{number}\ninclude {number + 1}.conf\n/after/{number}\n"
        write(tmp_path, f"/etc/ld.so.conf.d/{number}.conf", text)
    folders = [os.fsdecode(each) for each in loader(scan(os.fsencode(tmp_path))).directories]
    before, after = [f"/before/{each}" for each in range(CHAIN)], [f"/after/{each}" for each in reversed(range(CHAIN))]
    assert folders[: 2 * CHAIN + 2] == ["/first", *before, *after, "/last"]


def test_loader_configurations_that_include_each_other(tmp_path: Path) -> None:
    """R2: 1,500 files that all include all of them, each read once."""
    write(tmp_path, "/etc/ld.so.conf", "include ld.so.conf.d/*.conf\n")
    for number in range(1500):
        write(tmp_path, f"/etc/ld.so.conf.d/{number:04}.conf", f"include *.conf ../ld.so.conf\n/folder/{number}\n")
    folders = loader(scan(os.fsencode(tmp_path))).directories
    assert [each for each in folders if each.startswith(b"/folder/")] == [
        b"/folder/%d" % number for number in reversed(range(1500))
    ]


def test_profiles_that_extend_each_other(tmp_path: Path) -> None:
    """R2: a chain is read, the first of them last; one without an end, and a circle, are refused in one line."""
    text = 'description = "x"\nextends = ["p{}"]\nuser = "u{}"\n'
    chain = {f"p{number}": text.format(number + 1, number) for number in range(90)} | {"p90": 'user = "last"'}
    assert profile.load("p0", chain.__getitem__).user == "u0"
    assert _refusal(lambda name: text.format(int(name[1:]) + 1, name)).startswith("profile p0: a chain of more than")
    assert _refusal(lambda name: text.format((int(name[1:]) + 1) % 50, name)).startswith("profile p0: extends itself")
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "a.toml").write_text('extends = ["../d/a.toml"]\n')
    assert_error(slimagent("check", "--profile", folder / "a.toml"), 2, "a chain of more than")


def _refusal(text_of: Callable[[str], str]) -> str:
    with pytest.raises(SlimagentError) as caught:
        profile.load("p0", text_of)
    assert len(caught.value.message) < 300
    return caught.value.message


def test_a_command_line_in_a_command_line() -> None:
    """R2: words that are command lines themselves, as deep as their quotes allow."""
    word = "a"
    for _ in range(12):
        word = f"x {json.dumps(word)}"
    assert list(_words([word]))[-1] == "a"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("depth", DEPTHS)
def test_a_document_with_a_deep_value(kind: Kind, depth: int) -> None:
    """R1: at each place of each document, a value as deep as a parser takes is refused in one line or left alone."""
    value = json.loads(kind.encode(SAMPLES[kind.name]))
    for key in value:
        text = json.dumps({**value, key: "@"}).replace('"@"', nested(depth))
        text_inside = json.dumps({**value, key: ["@"]}).replace('"@"', nested(depth))
        for each in (text, text_inside):
            try:
                kind.decode(each.encode())
            except DocumentError as error:
                assert error.message.isprintable() and len(error.message) < 1000


@pytest.mark.parametrize("wrong", ["null", "1", "[]", "{}", '"\\\\x"', nested(1000), nested(200_000), "NaN", "1e999"])
@pytest.mark.parametrize(
    "key", ["schema", "version", "plan", "root", "scopes", "paths", "modes", "targets", "mount_points", "contents"]
)
def test_a_journal_with_a_wrong_value(tmp_path: Path, key: str, wrong: str) -> None:
    """R1: at every place of a journal, in lists and in rows, what is not of its kind is refused in one line."""
    write(tmp_path, "/a", "x")
    (tmp_path / "b").symlink_to("a")
    line = encode_start(Start(plan="p", token="0" * 32, inventory=scan(os.fsencode(tmp_path)), contents={1: b"x"}))
    value = json.loads(line)
    for shape in ("@", ["@"], [["@"]], [["@", "@"]], [[0, "@"]], [["@", "/x"]]):
        text = json.dumps({**value, key: shape}).replace('"@"', wrong)
        try:
            decode_start(text.encode(), "journal")
        except DocumentError as error:
            assert error.message.isprintable() and len(error.message) < 1000
    try:
        decode_outcomes(b'["/a", %b, "", true]\n[%b]\n' % (wrong.encode(), wrong.encode()), "journal")
    except DocumentError as error:
        assert error.message.isprintable() and len(error.message) < 1000


@pytest.mark.parametrize("depth", DEPTHS)
def test_deep_answers_and_configurations(tmp_path: Path, depth: int) -> None:
    """R1: what engines, containers and images say, at every depth: understood, left out, or refused in one line."""
    deep = nested(depth)
    image = (
        f'[{{"Id": {deep}, "Architecture": "amd64", "Config": {{"Labels": {deep}, "X": {deep}}}, "History": [{deep}]}}]'
    )
    (tmp_path / BUNDLE).write_text(f'{{"version": {deep}}}')
    for read in (
        lambda: read_image_config(image.encode()),
        lambda: read_image_config(with_labels(image.encode(), "s", "v"), "x"),
        lambda: with_history(image.encode(), deep.encode()),
        lambda: made_by_us(image.encode(), deep.encode()),
        lambda: started.decode(f"[{deep}]\n[\"head\", {deep}, 1, 2, 3, 4, 5, 6]\n".encode(), "x"),
        lambda: read_record(deep.encode(), "x", "y"),
        lambda: bundle(str(tmp_path)),
        lambda: parsed(deep),
    ):  # fmt: skip
        try:
            read()
        except ValueError:
            assert depth > DEEPEST - 10
        except SlimagentError as error:
            assert error.message.isprintable() and len(error.message) < 1000


@pytest.mark.parametrize(
    "name", ["9" * 5000, "²", "a\0b", "4294967296", "\u0663", "x:9999999999999", "0:" + "9" * 5000, ""]
)
def test_a_user_that_cannot_be(name: str) -> None:
    """R1: a profile and an image name users: by any text, and by numbers of any length."""
    with pytest.raises(UsageError) as caught:
        user_named(name)
    assert caught.value.message.isprintable() and len(caught.value.message) < 400


@pytest.mark.parametrize("answer", ["", "x", "{}", "[]", "[1]", "[{}, {}]", "null", nested(1000), nested(200_000)])
def test_an_engine_whose_answer_is_not_understood(tmp_path: Path, answer: str) -> None:
    """R1: what is no description of a container is refused in one line."""
    (tmp_path / "answer").write_text(answer)
    program = tmp_path / "engine"
    program.write_text(f"#!/bin/sh\nexec cat {tmp_path}/answer\n")
    program.chmod(0o755)
    with pytest.raises(SlimagentError, match="its answer is not a description of one container"):
        Engine("docker", str(program)).inspect_container("x")


def test_directories_in_directories(tmp_path: Path) -> None:
    """R2: notebooks are looked for as deep as a path can be."""
    here = os.fsencode(tmp_path)
    at = os.open(here, os.O_RDONLY)
    depth = (4000 - len(here)) // 2
    for number in range(depth):
        if number % 500 == 0:
            os.close(os.open(b"x.ipynb", os.O_CREAT, dir_fd=at))
        os.mkdir(b"d", dir_fd=at)
        below = os.open(b"d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    try:
        assert depth > 1100
        assert len(list(notebooks(here))) == (depth + 499) // 500
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # pytest's own clean-up cannot


@pytest.mark.parametrize("depth", [1000, 1024, 200_000])
def test_a_deep_document_on_the_command_line(tmp_path: Path, depth: int) -> None:
    """R1: one line and a hint, and no traceback."""
    (tmp_path / "plan").write_text(f'{{"schema": "slimagent/plan", "version": {nested(depth)}}}')
    assert_error(slimagent("explain", "plan", "/x", cwd=tmp_path), 2, "plan: ")


def test_what_is_nested_deeper_than_any_document_is_refused() -> None:
    """R1: before it is written again: orjson's writer writes beyond its buffer for lists of some 200 levels."""
    for form in ("[{}]", '{{"a":{}}}'):
        text = "1"
        for depth in range(1, DEEPEST + 3):
            text = form.format(text)
            if depth <= DEEPEST:
                parsed(text)
            else:
                with pytest.raises(ValueError, match="nested too deep"):
                    parsed(text)
