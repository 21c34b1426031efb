"""Files and directories that are made beside their place: a kill leaves them, and the next run removes them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from apply_images import IS_ROOT, as_ordinary_user, open_folder

from slimagent.linux.temporary import new_directory, new_file, remove_left

__all__ = ["open_folder"]  # a fixture

MAKES = """
import os, signal, sys
from slimagent.linux.temporary import new_directory, new_file
descriptor, path = new_file(sys.argv[1].encode())
with new_directory(sys.argv[1].encode()) as directory:
    os.makedirs(directory + b"/a/b")
    os.chmod(directory + b"/a", 0o500)
    print("made", flush=True)
    signal.pause()
"""


def started(directory: Path) -> subprocess.Popen[str]:
    """A process that has made a file and a directory, and lives on."""
    child = subprocess.Popen([sys.executable, "-c", MAKES, str(directory)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "made\n"
    return child


def test_what_a_living_process_has_made_stays_and_that_of_a_killed_one_goes(tmp_path: Path) -> None:
    """K3: a lock tells them apart, not age and not a number of a process; what is in a directory goes with it."""
    killed, living = started(tmp_path), started(tmp_path)
    try:
        before = set(os.listdir(tmp_path))
        killed.kill()
        killed.communicate()
        remove_left(os.fsencode(tmp_path))
        assert len(before) == 4
        assert len(before & set(os.listdir(tmp_path))) == 2
        remove_left(os.fsencode(tmp_path))
        assert len(os.listdir(tmp_path)) == 2
        assert living.poll() is None
    finally:
        living.send_signal(signal.SIGINT)
        living.communicate()
    remove_left(os.fsencode(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_name_of_another_directory_is_not_ours(tmp_path: Path) -> None:
    """D1: what an image brings along cannot have a name of ours, for that says in which directory it was made."""
    made, other = tmp_path / "made", tmp_path / "other"
    made.mkdir()
    other.mkdir()
    descriptor, path = new_file(os.fsencode(made))
    os.close(descriptor)
    moved = other / os.path.basename(os.fsdecode(path))
    os.rename(path, moved)
    names = (".plan.json.1.partial", f".slimagent-{other.stat().st_ino}-short.partial", ".slimagent-strip")
    for name in names:
        (other / name).touch()
    remove_left(os.fsencode(other))
    assert sorted(os.listdir(other)) == sorted((moved.name, *names))


def test_what_is_neither_a_file_nor_a_directory_stays(tmp_path: Path) -> None:
    """A link, a FIFO of such a name: nobody follows it, waits for it or removes it."""
    (tmp_path / "precious").write_text("precious")
    name = f".slimagent-{tmp_path.stat().st_ino}-{'0' * 31}"
    (tmp_path / f"{name}1.partial").symlink_to("precious")
    os.mkfifo(tmp_path / f"{name}2.partial")
    remove_left(os.fsencode(tmp_path))
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.skipif(not IS_ROOT, reason="needs two users")
def test_what_somebody_else_has_made_stays(tmp_path: Path) -> None:
    """Also if it is root that looks, unless it belongs to whom the directory does: root writes there for them."""
    descriptor, path = new_file(os.fsencode(tmp_path))
    os.close(descriptor)
    os.chown(path, 1234, 1234)
    remove_left(os.fsencode(tmp_path))
    assert os.path.exists(path)
    os.chown(tmp_path, 1234, 1234)
    remove_left(os.fsencode(tmp_path))
    assert not os.path.exists(path)


def test_a_directory_is_gone_however_the_block_ends(tmp_path: Path) -> None:
    """And if the block moved it, it stays where it is now."""
    with pytest.raises(KeyboardInterrupt), new_directory(os.fsencode(tmp_path)) as path:
        os.makedirs(path + b"/a/b")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []
    with new_directory(os.fsencode(tmp_path)) as path:
        os.rename(path, os.fsencode(tmp_path) + b"/there")
    assert os.listdir(tmp_path) == ["there"]


def test_what_is_taken_away_before_it_is_locked_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may look between the making and the lock: then there is another file, and that is locked."""
    real, calls = fcntl.flock, [0]

    def late(descriptor: int, what: int) -> None:
        calls[0] += 1
        if calls[0] == 1:
            with contextlib.suppress(OSError):
                os.unlink(next(tmp_path.iterdir()))
        real(descriptor, what)

    monkeypatch.setattr(fcntl, "flock", late)
    descriptor, path = new_file(os.fsencode(tmp_path))
    assert os.path.samestat(os.fstat(descriptor), os.stat(path))
    assert calls == [2]
    os.close(descriptor)


def test_an_ordinary_user_may_look_anywhere(open_folder: bytes) -> None:
    """What may not be removed or read is left alone, and that is no error."""
    if not IS_ROOT:
        pytest.skip("needs two users")
    descriptor, path = new_file(open_folder)
    os.close(descriptor)
    assert as_ordinary_user(lambda: remove_left(open_folder))
    assert as_ordinary_user(lambda: remove_left(b"/root"))
    assert os.path.exists(path)
