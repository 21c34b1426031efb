"""A file that several processes change: no change is lost, and none is half there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slimagent.errors import UnavailableError
from slimagent.linux.amending import amend

ADDING = """
import sys
from slimagent.linux.amending import amend
for number in range(20):
    amend(sys.argv[1], lambda data: data + f"{sys.argv[2]} {number}\\n".encode())
"""


def test_no_change_of_several_processes_is_lost(tmp_path: Path) -> None:
    """Each one adds its lines, in order."""
    path = tmp_path / "file"
    running = [subprocess.Popen([sys.executable, "-c", ADDING, str(path), name]) for name in ("a", "b", "c")]
    assert [each.wait(60) for each in running] == [0, 0, 0]
    lines = path.read_text().splitlines()
    assert len(lines) == 60
    for name in ("a", "b", "c"):
        assert [line for line in lines if line.startswith(name)] == [f"{name} {number}" for number in range(20)]
    assert os.listdir(tmp_path) == ["file"]


def test_permissions_and_links_stay(tmp_path: Path) -> None:
    """A link is followed; the file behind it keeps its permissions."""
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"one\n")
    path.chmod(0o640)
    link.symlink_to("file")
    amend(str(link), lambda data: data + b"two\n")
    assert link.is_symlink() and path.read_bytes() == b"one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o640


def test_what_cannot_be_changed_stays(tmp_path: Path) -> None:
    """If the change raises, the file is as it was, and one that was not there is still not there."""
    path = tmp_path / "file"

    def refuse(data: bytes) -> bytes:
        raise ValueError("no")

    for content in (None, b"", b"one\n"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ValueError, match="no"):
            amend(str(path), refuse)
        assert (path.read_bytes() if path.exists() else None) == content


def test_the_same_bytes_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\n")
    before = path.stat()
    amend(str(path), lambda data: data)
    assert path.stat().st_ino == before.st_ino and path.stat().st_mtime_ns == before.st_mtime_ns


def test_a_full_disk_leaves_the_file(tmp_path: Path) -> None:
    """The new content is written beside it first: a limit on sizes stands for a disk that is full."""
    path = tmp_path / "file"
    path.write_bytes(b"one\n")
    limited = (
        "import resource, signal, sys\n"
        "from slimagent.errors import UnavailableError\n"
        "from slimagent.linux.amending import amend\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try: amend(sys.argv[1], lambda data: data + bytes(1000))\n"
        "except UnavailableError as error: print(error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", limited, path], capture_output=True, text=True, check=True)
    assert "File too large" in done.stdout
    assert path.read_bytes() == b"one\n" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["directory", "fifo"])
def test_only_a_regular_file_is_changed(tmp_path: Path, make: object) -> None:
    path = tmp_path / "file"
    assert callable(make)
    make(path)
    with pytest.raises(UnavailableError, match="cannot write"):
        amend(str(path), lambda data: data + b"x")
    assert os.path.lexists(path)
