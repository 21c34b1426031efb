"""The door to disk: a file is there whole, or as it was before."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slimagent.errors import DocumentError, RefusedError, UnavailableError
from slimagent.linux import files
from slimagent.linux.temporary import remove_left

NAMES = st.binary(min_size=1, max_size=255).map(lambda name: name.replace(b"\0", b"_").replace(b"/", b"_"))


def is_usable(name: bytes) -> bool:
    return name not in (b".", b"..")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(NAMES.filter(is_usable), st.binary(max_size=2000))
def test_what_is_written_is_read(tmp_path: Path, name: bytes, data: bytes) -> None:
    """Any bytes under any name come back, and nothing else is left in the folder."""
    path = os.fsencode(tmp_path) + b"/" + name
    files.write(path, data)
    try:
        assert files.read(path) == data
        assert os.listdir(os.fsencode(tmp_path)) == [name]
    finally:
        os.unlink(path)


def test_a_new_file_replaces_the_old_one(tmp_path: Path) -> None:
    """Writing again leaves the new bytes alone, and who has the old file open goes on reading the old bytes."""
    path = tmp_path / "plan.json"
    files.write(str(path), b"old and longer")
    with path.open("rb") as reader:
        files.write(str(path), b"new")
        assert reader.read() == b"old and longer"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) & 0o600 == 0o600


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_a_block_that_fails_changes_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    """When an exception leaves the block, the old file is as it was, alone in its folder, and the exception goes on."""
    path = tmp_path / "tar"
    path.write_bytes(b"old")
    with pytest.raises(error), files.replacing(str(path)) as descriptor:
        os.write(descriptor, b"half of the n")
        assert path.read_bytes() == b"old"
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["tar"]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    """K3: a process that is killed while it writes leaves the old file whole, and what else it leaves is known as that.

    As long as it lives it is not.
    """
    path = tmp_path / "trace.json"
    path.write_bytes(b"old")
    program = textwrap.dedent(
        """
        import os, sys, time
        from slimagent.linux import files
        with files.replacing(sys.argv[1]) as descriptor:
            os.write(descriptor, b"half")
            print("half", flush=True)
            time.sleep(60)
        """
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "half\n"
    remove_left(os.fsencode(tmp_path))
    assert len(os.listdir(tmp_path)) == 2, "it was taken away while it was being written"
    child.kill()
    child.communicate()
    assert path.read_bytes() == b"old"
    remove_left(os.fsencode(tmp_path))
    assert os.listdir(tmp_path) == ["trace.json"]


def in_child(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments], capture_output=True, text=True, check=False
    )


def test_a_file_that_grows_too_large_is_not_left_in_halves(tmp_path: Path) -> None:
    """Where a limit on the size of files is met half-way, the old file stays, alone, and the hint names the limit."""
    path = tmp_path / "big"
    path.write_bytes(b"old")
    child = in_child(
        """
        import resource, sys
        from slimagent import errors
        from slimagent.linux import files
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))
        try:
            files.write(sys.argv[1], bytes(1 << 20))
        except errors.UnavailableError as error:
            print(error.message)
            print(error.hint)
        """,
        str(path),
    )
    message, hint = child.stdout.splitlines()
    assert "File too large" in message
    assert str(path) in message
    assert "ulimit -f" in hint
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["big"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_not_left_with_a_half(tmp_path: Path) -> None:
    """On a disk that fills up, the old file stays, alone, and the hint says to free some space."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.decode().strip()}")
    try:
        files.write(str(disk / "trace.json"), b"old")
        with pytest.raises(UnavailableError, match="No space left on device") as caught:
            files.write(str(disk / "trace.json"), bytes(1 << 20))
        assert "free some space" in caught.value.hint
        assert (disk / "trace.json").read_bytes() == b"old"
        assert os.listdir(disk) == ["trace.json"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_device_is_said_so() -> None:
    """What cannot be written to a device is an error with a hint, too."""
    with pytest.raises(UnavailableError, match="/dev/full: No space left on device") as caught:
        files.write("/dev/full", b"x" * 10)
    assert "free some space" in caught.value.hint
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    """A document can go to /dev/null, to a FIFO or through a link to one: no file takes their place."""
    files.write("/dev/null", b"nobody reads this")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    fifo, link = tmp_path / "fifo", tmp_path / "link"
    os.mkfifo(fifo)
    link.symlink_to(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write(str(link), b"through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(fifo.lstat().st_mode)
    assert link.is_symlink()


def test_an_export_does_not_take_the_place_of_a_device(tmp_path: Path) -> None:
    """A file that has to appear whole cannot go to a FIFO; that is refused before anything is written."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(UnavailableError, match="not a regular file"), files.replacing(str(fifo)):
        pytest.fail("the block was entered")
    assert stat.S_ISFIFO(fifo.lstat().st_mode)
    assert os.listdir(tmp_path) == ["fifo"]


def test_a_target_that_cannot_be_is_said_so(tmp_path: Path) -> None:
    """No such folder, a file in the place of a folder, a folder in the place of a file: each has its hint."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path, hint in (
        ("none/x", "create the directory"),
        ("file/x", "a directory is expected"),
        ("folder", "name a file"),
    ):
        with pytest.raises(UnavailableError, match="cannot write") as caught:
            files.write(str(tmp_path / path), b"")
        assert hint in caught.value.hint
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    with pytest.raises(UnavailableError, match="cannot write"):
        files.make_directory(str(tmp_path / "file" / "x"))
    files.make_directory(str(tmp_path / "a" / "b"))
    files.make_directory(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("path", ["absent", ".", "a\0b", b"latin1-\xe9\n", "n" * 300])
def test_a_document_that_cannot_be_read_is_one_line(tmp_path: Path, path: str | bytes) -> None:
    """What cannot be read is a DocumentError of one line with a hint, whatever its name is."""
    whole = os.path.join(os.fsencode(tmp_path), os.fsencode(path))
    with pytest.raises(DocumentError, match="cannot read") as caught:
        files.read(whole)
    assert caught.value.message.isprintable()
    assert caught.value.hint


def refused(path: str | Path) -> DocumentError:
    """What `read` says of a file that is no document: one line with its name, and a hint."""
    with pytest.raises(DocumentError) as caught:
        files.read(str(path))
    assert str(path) in caught.value.message and caught.value.message.isprintable() and caught.value.hint
    return caught.value


@pytest.mark.timeout(20)
def test_only_regular_files_are_documents(tmp_path: Path) -> None:
    """A FIFO that nobody writes to, a device without an end, a socket, a directory, also behind a link."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "input").symlink_to("/dev/stdin")
    (tmp_path / "plan.json").symlink_to("fifo")
    for name in ("fifo", "zero", "plan.json"):
        assert "not a regular file" in refused(tmp_path / name).message
    assert "/dev/stdin" in refused(tmp_path / "fifo").hint
    assert "not a regular file" in refused("/dev/zero").message
    assert "Is a directory" in refused(tmp_path).message
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        assert "cannot read" in refused(tmp_path / "socket").message
    script = f"from slimagent.linux import files; files.read({str(tmp_path / 'input')!r})"
    done = subprocess.run([sys.executable, "-c", script], stdin=subprocess.PIPE, capture_output=True, text=True)
    assert "not a regular file" in done.stderr


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
def test_a_pipe_that_the_user_passes_is_read(tmp_path: Path, name: str) -> None:
    """A shell's `<(COMMAND)` is such a name. What comes slowly and in parts is read to its end."""
    script = f"from slimagent.linux import files; print(files.digest(files.read({name!r})))"
    data = os.urandom(3 << 20)
    (tmp_path / "data").write_bytes(data)
    slowly = '{ head -c 100 data; sleep 0.2; tail -c +101 data; } | "$@"'
    done = subprocess.run(
        ["/bin/sh", "-c", slowly, "sh", sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(files.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == files.digest(data)


@pytest.mark.timeout(20)
def test_a_document_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told from its size, and of what has none by reading."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(files.MOST + 1)
    error = refused(tmp_path / "large")
    assert "larger than 1 GiB" in error.message
    monkeypatch.setattr(files, "MOST", 1 << 20)
    (tmp_path / "largest").write_bytes(b"a" * files.MOST)
    assert files.read(str(tmp_path / "largest")) == b"a" * files.MOST
    reading, writing = os.pipe()
    large = ["head", "-c", str(3 << 20), "/dev/zero"]
    with os.fdopen(reading, "rb"), subprocess.Popen(large, stdout=writing) as process:
        os.close(writing)
        assert "larger than 1 GiB" in refused(f"/dev/fd/{reading}").message
        process.kill()


def test_a_digest_is_sha256() -> None:
    """A document is named by the SHA-256 of its bytes, as sha256sum prints it."""
    assert files.digest(b"plan") == hashlib.sha256(b"plan").hexdigest()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_root_writes_in_somebodys_folder_is_theirs(tmp_path: Path) -> None:
    """Else who mounted a folder for a container could not remove what came of it; in root's own nothing changes."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir()
    os.chown(theirs, 1000, 1001)
    for folder in (theirs, ours):
        files.write(str(folder / "document"), b"x")
    found = [(folder / "document").stat() for folder in (theirs, ours)]
    assert [(each.st_uid, each.st_gid) for each in found] == [(1000, 1001), (0, os.getegid())]


def test_a_fifo_that_nobody_reads_is_an_error(tmp_path: Path) -> None:
    """I2: it is not waited for: who put it there may mean us to hang. One with a reader is written to."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(UnavailableError, match="No such device"):
        files.write(path, b"x")
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write(path, b"x")
        assert os.read(reader, 9) == b"x"
    finally:
        os.close(reader)


@pytest.mark.parametrize("has_links", [True, False])
def test_a_new_file_replaces_nothing_that_appears_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    """Also where the file system has no hard links."""
    if not has_links:
        monkeypatch.setattr(os, "link", _no_links)
    path = tmp_path / "file"
    with files.replacing(str(path), is_new=True) as descriptor:
        os.write(descriptor, b"ours")
    assert path.read_bytes() == b"ours"
    path.unlink()
    with pytest.raises(RefusedError, match="exists now"), files.replacing(str(path), is_new=True) as descriptor:
        os.write(descriptor, b"ours")
        path.write_bytes(b"mine")
    assert path.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["file"]


def _no_links(made: bytes, target: bytes) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted", made)


def test_a_file_in_the_place_of_a_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UnavailableError, match="a file is there") as error:
        files.make_directory(str(tmp_path / "out"))
    assert "name a directory" in error.value.hint
