"""`slimagent audit` of what a directory holds, as a user starts it. tests/container/ has it with engines."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import assert_error, slimagent
from plan_images import access, trace_for, write
from schemas import problems

from slimagent.documents import decode_audit, encode_layers, encode_trace
from slimagent.inventory.scan import scan
from slimagent.model.audit import Layers


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image with a log, a header and a program that nobody owns."""
    folder = tmp_path / "root"
    write(folder, "/var/log/dpkg.log", b"x" * 5000)
    write(folder, "/usr/include/z.h", b"x" * 300)
    write(folder, "/usr/bin/tool", b"x" * 70, 0o755)
    return folder


@pytest.fixture
def trace(root: Path, tmp_path: Path) -> Path:
    """A trace of it, in which the program was opened."""
    path = tmp_path / "trace.json"
    path.write_bytes(encode_trace(trace_for(scan(str(root.resolve()).encode()), [access("/usr/bin/tool")])))
    return path


def test_it_prints_what_is_there(root: Path) -> None:
    """Owners, findings with their edits, and the answer last."""
    done = slimagent("audit", "--quiet", "--root", root)
    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout.splitlines()
    assert "nobody              5.4 kB" in shown
    low, medium = (at for at, line in enumerate(shown) if line.startswith("risk "))
    assert low < shown.index("   5.0 kB  logs: 1 file") < medium < shown.index("    300 B  headers: 1 file")
    assert shown[-1] == "this container: 5.4 kB in 3 files; 2 findings"


def test_it_is_a_document(root: Path, tmp_path: Path) -> None:
    """The same on standard output and in a file, as its schema says."""
    out = tmp_path / "audit.json"
    done = slimagent("audit", "--quiet", "--json", "--root", root, "-o", out)
    assert done.returncode == 0
    again = slimagent("audit", "--quiet", "--root", root, "--json")
    assert problems("audit", json.loads(again.stdout)) == []
    assert decode_audit(out.read_bytes()) == decode_audit(again.stdout.encode())


def test_a_trace_says_more(root: Path, trace: Path) -> None:
    """Compilers were not used in it, so headers are at less risk."""
    done = slimagent("audit", "--quiet", "--root", root, "--trace", trace)
    assert (done.returncode, done.stderr) == (0, "")
    assert "risk low" in done.stdout
    assert "risk medium" not in done.stdout
    assert "    300 B  headers: 1 file" in done.stdout.splitlines()


def test_a_trace_of_another_image_is_refused(root: Path, trace: Path) -> None:
    """What it says of use would be wrong."""
    write(root, "/usr/bin/other", b"x")
    done = slimagent("audit", "--quiet", "--root", root, "--trace", trace)
    assert_error(done, 3, "not the image", "`slimagent image IMAGE` leaves it in slimagent-out/trace.json")


def test_a_trace_is_compared_with_the_image_alone(root: Path, trace: Path) -> None:
    """From outside this comes before the layers, which take long to read. Nothing is audited."""
    words = ("audit", "--quiet", "--root", root, "--trace", trace, "--only-compare")
    done = slimagent(*words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    write(root, "/usr/bin/other", b"x")
    assert_error(slimagent(*words), 3, "not the image", "slimagent image IMAGE")


def test_it_says_what_it_wrote(root: Path, tmp_path: Path) -> None:
    """Unless it is quiet."""
    out = tmp_path / "audit.json"
    assert f"slimagent: wrote {out}" in slimagent("audit", "--root", root, "-o", out).stderr.splitlines()
    quiet = slimagent("audit", "--quiet", "--root", root, "-o", out)
    assert quiet.stderr == ""
    assert quiet.stdout == slimagent("audit", "--quiet", "--root", root).stdout  # the result is not progress
    assert quiet.stdout.splitlines()[-1] == "this container: 5.4 kB in 3 files; 2 findings"


def test_in_a_container_the_result_is_only_written(root: Path, tmp_path: Path) -> None:
    """`slimagent audit IMAGE` runs it there, passes on its lines as progress, and prints the result itself."""
    out, layers = tmp_path / "audit.json", tmp_path / "layers.json"
    layers.write_bytes(encode_layers(Layers()))
    done = slimagent("audit", "--quiet", "--root", root, "--layers", layers, "-o", out)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert decode_audit(out.read_bytes()).findings


def test_a_page_for_a_pull_request(root: Path) -> None:
    """The answer first."""
    done = slimagent("audit", "--quiet", "--root", root, "--format", "markdown")
    assert done.stdout.startswith("## this container: 5.4 kB in 3 files; 2 findings\n")


def test_a_foreign_file_is_not_replaced(root: Path, tmp_path: Path) -> None:
    """Before anything is looked at."""
    out = tmp_path / "mine.txt"
    out.write_text("mine")
    assert_error(slimagent("audit", "--quiet", "--root", root, "-o", out), 3, "mine.txt")
    assert out.read_text() == "mine"


def test_one_trace_is_enough_from_outside(trace: Path) -> None:
    """Several are merged first."""
    done = slimagent("audit", "app:latest", "--trace", trace, "--trace", trace)
    assert_error(done, 2, "one trace is enough", "slimagent merge")


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("--profile", "nope"), "no such profile: 'nope'", "known are auto"),
        (("--profile", "./nope.toml"), "nope.toml", ""),
        (("--accept-loss", "nope"), "no such kind of loss", "known are"),
        (("--root", "/srv"), "--root is only used without IMAGE", "leave --root out"),
    ],
)
def test_a_wrong_option_is_found_before_the_layers_are_read(words: tuple[str, ...], message: str, hint: str) -> None:
    """Not even an engine is needed for it."""
    assert_error(slimagent("audit", "no-such-image:x", *words), 2, message, hint)


def test_a_profile_of_the_trace_that_is_not_here_is_found_first(root: Path, tmp_path: Path) -> None:
    """With the option that names another one."""
    made = trace_for(scan(str(root.resolve()).encode()), [])
    made = replace(made, runs=(replace(made.runs[0], profiles=("/nowhere/own.toml",)),))
    path = tmp_path / "own.json"
    path.write_bytes(encode_trace(made))
    assert_error(slimagent("audit", "no-such-image:x", "--trace", path), 2, "/nowhere/own.toml", "--profile")


def test_an_option_for_an_image_needs_one() -> None:
    """Without IMAGE it would be ignored."""
    assert_error(slimagent("audit", "--engine", "docker"), 2, "--engine is only used with IMAGE", "leave --engine out")


def test_it_changes_nothing(root: Path) -> None:
    """Not even the times of directories."""
    before = {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in root.rglob("*")}
    assert slimagent("audit", "--quiet", "--root", root).returncode == 0
    assert {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in root.rglob("*")} == before
