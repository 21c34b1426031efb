"""The output directory of one run: whole or marked unfinished, and nothing of somebody else's is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from slimagent.errors import CheckFailedError, RefusedError, UnavailableError
from slimagent.image.output import Output
from slimagent.image.owner import new_key

NAMES = ("plan.json", "summary.*", "logs/*.log")


def output(path: Path) -> Output:
    """A run's directory."""
    return Output(str(path), key=new_key(), image="app:1", tag="app:slim", version="1.0", names=NAMES)


def record(path: Path) -> dict[str, object]:
    """What the directory says of its run."""
    found: dict[str, object] = json.loads((path / "run.json").read_bytes())
    return found


def tree(path: Path) -> dict[str, bytes]:
    """Each file below, but the record."""
    files = [each for each in path.rglob("*") if each.is_file() and each.name != "run.json"]
    return {str(each.relative_to(path)): each.read_bytes() for each in files}


def fill(path: Path) -> None:
    """A run that writes all that it may, and ends well."""
    with output(path) as run:
        run.write("plan.json", b"plan")
        run.write("summary.md", b"summary")
        run.write("logs/test.log", b"log")
        run.finish("complete")


def test_a_run_writes_and_says_that_it_is_complete(tmp_path: Path) -> None:
    """The directory is made; the record names the image, the tag and the files."""
    out = tmp_path / "a" / "out"
    fill(out)
    assert tree(out) == {"plan.json": b"plan", "summary.md": b"summary", "logs/test.log": b"log"}
    found = record(out)
    assert (found["state"], found["image"], found["tag"]) == ("complete", "app:1", "app:slim")
    assert found["files"].keys() == tree(out).keys()


def test_what_the_last_run_wrote_goes_at_once(tmp_path: Path) -> None:
    """A directory never holds documents of two runs; files of others in it stay."""
    fill(tmp_path)
    (tmp_path / "notes.txt").write_bytes(b"mine")
    (tmp_path / "logs" / "notes.txt").write_bytes(b"mine")
    with output(tmp_path) as run:
        assert tree(tmp_path) == {"notes.txt": b"mine", "logs/notes.txt": b"mine"}
        assert record(tmp_path)["state"] == "unfinished"
        run.write("plan.json", b"new")
        run.finish("failed", "a check failed")
    assert (record(tmp_path)["state"], record(tmp_path)["reason"]) == ("failed", "a check failed")
    assert tree(tmp_path)["plan.json"] == b"new"


@pytest.mark.parametrize("name", ["plan.json", "summary.html", "logs/mine.log", "run.json"])
def test_a_file_of_somebody_else_is_refused(tmp_path: Path, name: str) -> None:
    """Of a name that we may write. Nothing is changed, and no record appears."""
    (tmp_path / "logs").mkdir()
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(RefusedError, match=name) as caught, output(tmp_path):
        pytest.fail("entered")
    assert "--out DIR" in caught.value.hint
    assert [each.name for each in tmp_path.rglob("*") if each.is_file()] == [Path(name).name]
    assert (tmp_path / name).read_bytes() == b"{}"


def test_a_file_that_was_changed_since_is_refused(tmp_path: Path) -> None:
    """It is somebody's work now; and the rest is left, too."""
    fill(tmp_path)
    (tmp_path / "summary.md").write_bytes(b"my words")
    before = tree(tmp_path)
    with pytest.raises(RefusedError, match=r"changed since: \S*summary.md"), output(tmp_path):
        pytest.fail("entered")
    assert tree(tmp_path) == before
    assert record(tmp_path)["state"] == "complete"
    (tmp_path / "summary.md").unlink()
    fill(tmp_path)


def test_many_files_make_a_short_message(tmp_path: Path) -> None:
    """Three are named."""
    for number in range(5):
        (tmp_path / f"summary.{number}").touch()
    with pytest.raises(RefusedError, match=r"summary\.2 and 2 more$"), output(tmp_path):
        pytest.fail("entered")


@pytest.mark.parametrize("name", ["plan.json", "logs", "run.json"])
def test_a_link_is_not_followed(tmp_path: Path, name: str) -> None:
    """What it points to is somewhere else."""
    other = tmp_path / "other"
    other.mkdir()
    out = tmp_path / "out"
    out.mkdir()
    (out / name).symlink_to(other)
    with pytest.raises(RefusedError, match=name), output(out):
        pytest.fail("entered")
    assert list(other.iterdir()) == []


def test_a_link_that_comes_later_is_not_followed(tmp_path: Path) -> None:
    """It is left alone, as every file is that comes while the run goes on, and a directory is refused."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_bytes(b"theirs")
    out = tmp_path / "out"
    with output(out) as run:
        (out / "plan.json").symlink_to(other / "file")
        (out / "logs").symlink_to(other)
        with pytest.raises(RefusedError, match="no `slimagent image` wrote this"):
            run.write("plan.json", b"ours")
        with pytest.raises(RefusedError, match="logs is not a directory"):
            run.write("logs/x.log", b"ours")
        (out / "summary.md").write_bytes(b"theirs")
        with pytest.raises(RefusedError, match="no `slimagent image` wrote this"):
            run.write("summary.md", b"ours")
        with pytest.raises(RefusedError, match="this run may not write"):
            run.write("notes.txt", b"ours")
    assert (out / "plan.json").is_symlink()
    assert (out / "summary.md").read_bytes() == b"theirs"
    assert [each.name for each in other.iterdir()] == ["file"]
    assert (other / "file").read_bytes() == b"theirs"
    assert not [each for each in os.listdir(out) if each.endswith(".partial")]


def test_a_record_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    """It may have come from anywhere, with the digest of a file that is known."""
    fill(tmp_path / "out")
    victim = tmp_path / "victim"
    victim.write_bytes(b"plan")
    found = json.loads((tmp_path / "out" / "run.json").read_bytes())
    digest = found["files"]["plan.json"]
    found["files"] |= {"../victim": digest, str(victim): digest, "logs/../../victim": digest}
    (tmp_path / "out" / "run.json").write_text(json.dumps(found))
    with output(tmp_path / "out"):
        pass
    assert victim.read_bytes() == b"plan"


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    """The second one is told; the first one's record stays."""
    with output(tmp_path) as first:
        with pytest.raises(RefusedError, match="another run of slimagent writes to"), output(tmp_path):
            pytest.fail("entered")
        first.write("plan.json", b"first")
        first.finish("complete")
    assert record(tmp_path)["state"] == "complete"
    with output(tmp_path):
        pass


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CheckFailedError("it does not work", "hint"), "it does not work"),
        (KeyboardInterrupt(), "interrupted"),
        (OSError("odd"), "OSError: odd"),
    ],
)
def test_an_error_is_the_reason(tmp_path: Path, error: BaseException, reason: str) -> None:
    """However the run ends, the directory says so."""
    with pytest.raises(type(error)), output(tmp_path):
        raise error
    assert (record(tmp_path)["state"], record(tmp_path)["reason"]) == ("failed", reason)


def test_an_end_without_a_word_stays_unfinished(tmp_path: Path) -> None:
    """Nobody has said that it is complete."""
    with output(tmp_path) as run:
        run.write("plan.json", b"plan")
    assert record(tmp_path)["state"] == "unfinished"


KILLED = """
import os, signal, sys
from slimagent.image.output import Output
from slimagent.image.owner import new_key

count, name = int(sys.argv[2]), sys.argv[3]
real, calls = getattr(os, name), 0

def dying(*arguments, **options):
    global calls
    calls += 1
    if calls > count:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)

setattr(os, name, dying)
names = ("plan.json", "summary.*", "logs/*.log")
with Output(sys.argv[1], key=new_key(), image="a", tag="b", version="1", names=names) as run:
    run.write("plan.json", b"one")
    run.write("plan.json", b"two")
    run.write("logs/test.log", b"log")
    run.finish("complete")
"""


@pytest.mark.parametrize("name", ["rename", "write", "unlink"])
def test_after_a_kill_the_directory_tells_the_truth(tmp_path: Path, name: str) -> None:
    """Killed before each call that changes it, over the files of a run before: the next run knows them all as ours."""
    for count in range(100):
        out = tmp_path / f"{count}"
        fill(out)
        whole = tree(out)
        argv = [sys.executable, "-c", KILLED, str(out), str(count), name]
        status = subprocess.run(argv, check=False).returncode
        state = record(out)["state"]
        if status == 0:
            assert state == "complete"
            assert count > 1
            return
        assert status == -signal.SIGKILL
        if state == "complete":
            files = {name: data for name, data in tree(out).items() if ".partial" not in name}
            assert files in ({"plan.json": b"two", "logs/test.log": b"log"}, whole)
        fill(out)
    pytest.fail("it never ended")


def test_a_file_is_taken_over_as_it_is(tmp_path: Path) -> None:
    """From a directory that a container wrote; under its name or another one; what is not there is told."""
    work = tmp_path / "work"
    (work / "sub").mkdir(parents=True)
    (work / "plan.json").write_bytes(b"plan")
    (work / "sub" / "x.log").write_bytes(b"log")
    with output(tmp_path / "out") as run:
        assert run.adopt(str(work), "plan.json")
        assert run.adopt(str(work), "sub/x.log", "logs/x.log")
        assert not run.adopt(str(work), "summary.md")
    assert tree(tmp_path / "out") == {"plan.json": b"plan", "logs/x.log": b"log"}
    assert (work / "plan.json").exists()


def test_nothing_but_files_is_taken_over(tmp_path: Path) -> None:
    """No link, also above; no pipe, which would be waited for; no device; not more than the limit."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "a").symlink_to("/etc/passwd")
    (work / "b").symlink_to("/etc")
    os.mkfifo(work / "c")
    (work / "d").symlink_to("/dev/zero")
    (work / "e").mkdir()
    (work / "f").write_bytes(b"12345")
    with output(tmp_path / "out") as run:
        for source in ("a", "b/passwd", "c", "d", "e", "f"):
            with pytest.raises(RefusedError, match=source):
                run.adopt(str(work), source, "plan.json", limit=4)
    assert tree(tmp_path / "out") == {}


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A file is in the way."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(UnavailableError, match=r"cannot make the directory .*: a file is there"),
        output(tmp_path / "file"),
    ):
        pytest.fail("entered")
