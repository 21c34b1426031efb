"""`slimagent image`, whole, on a small image of busybox; and nothing is left behind, however it ends."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from schemas import problems, problems_in

from slimagent import __version__
from tests.container.slimming import Derive, command, docker, exists, identity, listed, slim, state

pytestmark = pytest.mark.usefixtures("nothing_left")

DOCUMENTS = {
    "run.json", "image.json", "trace.json", "plan.json", "receipt.json", "removed.jsonl.gz", "verification.json",
    "summary.json", "summary.md", "logs",
}  # fmt: skip
LOGS = {"full-command.log", "full-start.log", "slim-command.log", "slim-start.log", "start-from-outside.log"}


def test_a_slim_image_works_as_the_original(small: str, tag: str, tmp_path: Path) -> None:
    """It starts by its own ENTRYPOINT and CMD as its own user; configuration and volume are the original's."""
    out = tmp_path / "out"
    ended = slim(small, tag, out, "--", "cat", "/srv/needed")
    assert ended.returncode == 0, ended.stderr
    assert docker("run", "--rm", "--network=none", tag) == "seed\nhello world\n"
    assert docker("run", "--rm", "--network=none", tag, "id -u") == "1000\n"
    assert listed(tag, "/srv") == ["needed"]  # the health check's file, and what the test read
    first, second = (json.loads(docker("image", "inspect", each))[0] for each in (small, tag))
    assert second["Config"].pop("Labels") == {
        **first["Config"].pop("Labels"),
        "io.slimagent.version": __version__,
        "io.slimagent.source": small,
        "io.slimagent.source.id": identity(small),
        "io.slimagent.plan": hashlib.sha256((out / "plan.json").read_bytes()).hexdigest(),
        "io.slimagent.level": "file",
    }
    assert second["Config"] == first["Config"]
    assert {key: second[key] for key in ("Architecture", "Os", "Created")} == {
        key: first[key] for key in ("Architecture", "Os", "Created")
    }
    assert {path.name for path in out.iterdir()} == DOCUMENTS
    assert {path.name for path in (out / "logs").iterdir()} == LOGS
    assert (out / "logs/start-from-outside.log").read_text() == "seed\nhello world\n"
    assert state(out) == "complete"
    assert ended.stdout.splitlines()[-1].startswith(f"{tag}: ")
    assert (out / "summary.md").read_text().startswith(f"### {tag}: ")
    assert problems_in(out) == []
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["image"], summary["tag"], summary["status"], summary["error"]) == (small, tag, 0, None)
    assert (summary["verified"], summary["passed"], summary["worse"], summary["missed"]) == ("in-place", True, [], [])
    assert summary["bytes_before"] == sum(summary[f"bytes_{each}"] for each in ("after", "dropped", "stripped"))
    assert [(each["name"], each["before"], each["after"]) for each in summary["checks"]] == [
        ("command", "passed", "passed")
    ]
    starts = {each["name"]: (each["before"], each["after"]) for each in summary["start"]}
    assert starts["start"] == starts["start-from-outside"] == ("passed", "passed")
    assert "ADD file" in docker("history", "--no-trunc", tag)
    assert "in a container of" in ended.stderr


def test_what_was_missed_is_brought_back(small: str, tag: str, tmp_path: Path) -> None:
    """A test that asks for another file the second time: the first slim image lacks it, the second one does not."""
    state = tmp_path / "state"
    state.mkdir(mode=0o777)
    state.chmod(0o777)
    line = "if test -e /state/ran; then cat /srv/later; else touch /state/ran; fi"
    words = ("--json", "-v", f"{state}:/state", "--also", line, "--", "cat", "/srv/needed")
    ended = slim(small, tag, tmp_path / "out", *words)
    assert ended.returncode == 0, ended.stderr
    assert "repair, round 1: 1 removed file was needed; " in ended.stderr
    told = json.loads(ended.stdout)
    assert ended.stdout == (tmp_path / "out/summary.json").read_text()
    assert (told["tag"], told["repaired"], told["missed"], problems_in(tmp_path / "out")) == (tag, 1, [], [])
    (first,) = told["repairs"]
    assert (first["number"], first["used"], first["files"], first["steps"]) == (1, [], 1, [line])
    assert first["missed"] == [{"path": "/srv/later", "steps": [line]}]
    assert told["bytes_after"] < told["bytes_before"]
    assert "| files brought back after a first verification |  | 1 |" in (tmp_path / "out/summary.md").read_text()
    assert listed(tag, "/srv") == ["later", "needed"]
    explained = subprocess.run(
        [sys.executable, "-m", "slimagent", "explain", str(tmp_path / "out"), "/srv/later"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"{line} looked for it in vain, round 1" in explained.stdout
    steps = [each["name"] for each in json.loads((tmp_path / "out/verification.json").read_text())["steps"]]
    assert {line, "command", "start", "start-from-outside"} <= {*steps}  # of which one ran twice in a container


def test_a_step_that_ends_at_each_missing_file_takes_two_rounds(derive: Derive, tag: str, tmp_path: Path) -> None:
    """The second round sees in the full image what the step would have looked for next, and next, and next."""
    state = tmp_path / "state"
    state.mkdir(mode=0o777)
    state.chmod(0o777)
    needed = " && ".join(f"cat /srv/{name} > /dev/null" for name in ("later", "unneeded", "third", "fourth"))
    line = f"if test -e /state/ran; then {needed}; else touch /state/ran; fi"
    out = tmp_path / "out"
    words = ("--json", "-v", f"{state}:/state", "--also", line, "--", "cat", "/srv/needed")
    large = b"x" * 7_000_000  # more than an unread program may have, which all files of a derived image are
    image = derive("COPY third fourth /srv/", dict.fromkeys(("third", "fourth"), large))
    ended = slim(image, tag, out, *words)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    found = [
        ([each["path"] for each in one["missed"]], [each["path"] for each in one["used"]]) for one in told["repairs"]
    ]
    assert found == [(["/srv/later"], []), (["/srv/unneeded"], ["/srv/fourth", "/srv/third"])]
    assert (told["repaired"], told["missed"], told["worse"], told["status"]) == (4, [], [], 0)
    assert problems_in(out) == []
    assert {path.name for path in out.glob("repair-*")} == {"repair-1.json", "repair-2.json", "repair-2-full.json"}
    text = (out / "summary.md").read_text()
    assert "repair, round 2: 3 removed files were needed; 3 files came back" in text
    assert "/srv/fourth" in text


def test_a_step_that_lists_a_directory_is_explained_in_the_full_image(small: str, tag: str, tmp_path: Path) -> None:
    """It looks for nothing by name, as Python's import: the original image shows what it uses."""
    state = tmp_path / "state"
    state.mkdir(mode=0o777)
    state.chmod(0o777)
    listing = "case $(echo /srv/*) in *later*) cat /srv/later > /dev/null;; *) exit 1;; esac"
    line = f"if test -e /state/ran; then {listing}; else touch /state/ran; fi"
    ended = slim(small, tag, tmp_path / "out", "--json", "-v", f"{state}:/state", "--also", line)
    assert ended.returncode == 0, ended.stderr
    (only,) = json.loads(ended.stdout)["repairs"]
    assert (only["missed"], only["used"], only["steps"]) == ([], [{"path": "/srv/later", "steps": [line]}], [line])
    assert problems_in(tmp_path / "out") == []


def test_without_repair_a_slim_image_that_fails_is_no_image(small: str, tag: str, tmp_path: Path) -> None:
    """Status 1, no tag, and the documents that say why."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    line = "if test -e /state/ran; then cat /srv/later; else touch /state/ran; fi"
    out = tmp_path / "out"
    ended = slim(small, tag, out, "--json", "--no-repair", "-v", f"{state}:/state", "--also", line)
    assert ended.returncode == 1
    assert f"the slim image does not do what {small} does, so {tag} was not made" in ended.stderr
    assert not exists(tag)
    found = json.loads((out / "verification.json").read_text())
    assert [each["path"] for each in found["missed"]] == ["/srv/later"]
    assert problems_in(out) == []
    told = json.loads(ended.stdout)
    assert ended.stdout == (out / "summary.json").read_text()
    assert (told["status"], told["error"]["slug"], told["passed"]) == (1, "check-failed", False)
    assert (line, "passed", "failed") in [(each["name"], each["before"], each["after"]) for each in told["worse"]]
    assert told["missed"] == found["missed"]
    assert (out / "summary.md").read_text().startswith(f"### {tag} was not made\n")


def test_what_no_file_can_repair_is_no_image(small: str, tag: str, tmp_path: Path) -> None:
    """A check that only passes once."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    ended = slim(
        small, tag, tmp_path / "out", "-v", f"{state}:/state", "--also", "test ! -e /state/x && touch /state/x"
    )
    assert ended.returncode == 1
    assert not exists(tag)


def test_a_test_that_fails_in_the_original_ends_it(small: str, tag: str, tmp_path: Path) -> None:
    """Status 1, and which image it was."""
    ended = slim(small, tag, tmp_path / "out", "--json", "--", "cat", "/srv/nothing")
    assert ended.returncode == 1
    assert f"command failed in the unchanged image {small}, so no slim image was made" in ended.stderr
    told = json.loads(ended.stdout)
    assert problems("summary", told) == []
    assert told["error"]["message"] in ended.stderr
    assert (told["status"], told["passed"], told["plan"], told["bytes_after"]) == (1, None, None, None)
    assert [(each["name"], each["before"], each["after"]) for each in told["checks"]] == [("command", "failed", None)]
    assert not exists(tag)


def test_what_is_refused_before_anything_is_written_is_told_to_a_script(small: str, tag: str, tmp_path: Path) -> None:
    """The one document on standard output says why; the directory, which is not ours yet, stays as it is."""
    ended = slim("nosuch:image", tag, tmp_path / "out", "--json", "--", "true")
    told = json.loads(ended.stdout)
    assert problems("summary", told) == []
    assert told["status"] == ended.returncode != 0
    assert told["error"]["message"] in ended.stderr
    assert (told["image"], told["checks"]) == ("nosuch:image", [])
    assert not (tmp_path / "out").exists()


def test_a_profile_of_ones_own_is_taken_along(small: str, tag: str, tmp_path: Path) -> None:
    """With the file that it extends, which lies beside it."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more/base.toml").write_text('name = "b"\n[[keep]]\npath = "/srv/later"\nwhy = "asked for"\n')
    profile = tmp_path / "mine.toml"
    profile.write_text(
        'name = "mine"\nextends = ["./more/base.toml"]\n[[check]]\nkind = "command"\nargv = ["cat", "/srv/needed"]\n'
    )
    ended = slim(small, tag, tmp_path / "out", "--profile", str(profile))
    assert ended.returncode == 0, ended.stderr
    assert listed(tag, "/srv") == ["later", "needed"]


@pytest.mark.parametrize(
    ("number", "when"),
    [
        (signal.SIGINT, "look at the image"),
        (signal.SIGINT, "scan the image"),
        (signal.SIGINT, "going on"),
        (signal.SIGTERM, "going on"),
        (signal.SIGINT, "as configured"),
        (signal.SIGINT, "plan and export"),
        (signal.SIGHUP, "load"),
        (signal.SIGINT, "verify in a container"),
    ],
)
def test_an_interruption_leaves_nothing(
    small: str, tag: str, tmp_path: Path, number: signal.Signals, when: str
) -> None:
    """At any time: before the container runs, while it does, while the image is loaded, while it is proved."""
    out = tmp_path / "out"
    words = command(small, "-t", tag, "--out", str(out), "--", "sh", "-c", "echo going on >&2; sleep 3")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if when in line:
                process.send_signal(number)
                break
        rest = process.stderr.read()
        status = process.wait(timeout=120)
    if when == "verify in a container" and status == 0:
        return  # it was done by then
    assert status == 128 + number, rest
    assert not exists(tag)
    assert "Traceback" not in rest
    assert not (out / "run.json").exists() or state(out) in ("failed", "unfinished")
    assert not list(out.glob(".*"))


def test_interrupted_again_and_again(small: str, tag: str, tmp_path: Path) -> None:
    """Whoever presses Ctrl-C three times still finds nothing left."""
    words = command(small, "-t", tag, "--out", str(tmp_path / "out"), "--", "sh", "-c", "echo going on >&2; sleep 30")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "going on" in line)
        timers = [threading.Timer(delay, process.send_signal, [signal.SIGINT]) for delay in (0, 0.2, 0.4)]
        for timer in timers:
            timer.start()
        process.stderr.read()
        # the last one may come when all is done and Python has taken its handlers down: a shell sees no difference
        assert process.wait(timeout=120) in (128 + signal.SIGINT, -signal.SIGINT)
        for timer in timers:
            timer.join()


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (("IMAGE", "--profile", "no-such"), "no such profile: 'no-such'", 2),
        (("IMAGE", "--keep", "relative"), "not an absolute path", 2),
        (("IMAGE", "--agent", "/"), "is not an agent", 4),
    ],
)
def test_what_cannot_be_is_said_at_once(
    small: str, tag: str, tmp_path: Path, arguments: Sequence[str], message: str, status: int
) -> None:
    """One line of what, and the exit status that fits."""
    given = [small if each == "IMAGE" else each for each in arguments]
    ended = slim(given[0], tag, tmp_path / "out", *given[1:], "--", "cat", "/srv/needed")
    assert message in re.sub(r"\s+", " ", ended.stderr)
    assert ended.returncode == status
    assert not exists(tag)
