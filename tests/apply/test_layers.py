"""The tar export, read back by GNU tar and by Python from real files."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest
from apply_images import (
    ACCESS_LIST,
    IS_ROOT,
    LONG,
    ODD_NAMES,
    add_socket,
    as_ordinary_user,
    fill,
    open_folder,
    plan_for,
    root,
    small_disk,
    state,
    write,
)

from slimagent.apply import Tar, export
from slimagent.apply.source import Source
from slimagent.errors import RefusedError, UnavailableError
from slimagent.inventory.scan import scan

__all__ = ["open_folder", "root", "small_disk"]  # fixtures


@pytest.fixture
def target(tmp_path: Path) -> bytes:
    directory = tmp_path.resolve() / "out"
    directory.mkdir()
    return os.fsencode(directory / "rootfs.tar")


def left_over(target: bytes) -> list[bytes]:
    return os.listdir(os.path.dirname(target))


def unpack(tar: bytes, directory: Path, *options: str) -> bytes:
    """What GNU tar makes of an archive."""
    directory.mkdir()
    command = ["tar", "-xpf", tar, "-C", directory, "--numeric-owner", *options]
    if IS_ROOT and not options:
        command += ["--same-owner", "--xattrs", "--xattrs-include=*"]
    subprocess.run(command, check=True, capture_output=True)
    return os.fsencode(directory)


@pytest.mark.skipif(not IS_ROOT, reason="owners, devices and capabilities need root")
@pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not installed")
def test_gnu_tar_unpacks_the_same_tree(root: bytes, target: bytes, tmp_path: Path) -> None:
    """Names, kinds, modes, owners, times to the nanosecond, contents, hard links and attributes are the same."""
    fill(root)
    inventory = scan(root)
    export(plan_for(inventory), "digest", inventory, Tar(target))
    assert state(unpack(target, tmp_path / "unpacked")) == state(root)


@pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not installed")
def test_gnu_tar_reads_any_name_of_an_attribute(root: bytes, target: bytes, tmp_path: Path) -> None:
    """F1: also one with what GNU tar escapes, and one that looks like an escape."""
    names = [f"user.{name}".encode() for name in ("a%b", "a=b", "%", "=", "a%25b", "a%3Db", "%%3D=", "%2=5", "%253D")]
    write(root, b"/file")
    for name in names:
        set_attribute(root + b"/file", name, name)
    inventory = scan(root)
    export(plan_for(inventory), "digest", inventory, Tar(target))
    path = unpack(target, tmp_path / "unpacked", "--xattrs") + b"/file"
    assert {os.fsencode(name): os.getxattr(path, name) for name in os.listxattr(path)} == dict(
        zip(names, names, strict=True)
    )


@pytest.mark.parametrize("options", [("--acls",), ("--xattrs", "--xattrs-include=*"), ("--acls", "--xattrs")])
@pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not installed")
def test_gnu_tar_reads_access_lists_by_either_option(
    root: bytes, target: bytes, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """F: it takes a list from the record that its option names, and never from the other one."""
    write(root, b"/directory/file", mode=0o660)
    write(root, b"/directory/below/plain", mode=0o640)
    for path, name in ((b"/directory/file", b"access"), (b"/directory", b"access"), (b"/directory", b"default")):
        set_attribute(root + path, b"system.posix_acl_" + name, ACCESS_LIST)
    inventory = scan(root)
    export(plan_for(inventory), "digest", inventory, Tar(target))
    assert state(unpack(target, tmp_path / "unpacked", *options)) == state(root)


def set_attribute(path: bytes, name: bytes, value: bytes) -> None:
    try:
        os.setxattr(path, name, value)
    except OSError:
        pytest.skip("this file system has no extended attributes")


def test_python_reads_the_same_names_and_contents(root: bytes, target: bytes) -> None:
    """Every member is found by its name, byte for byte, with its contents; directories come before what they hold."""
    fill(root)
    inventory = scan(root)
    receipt = export(plan_for(inventory), "digest", inventory, Tar(target))
    with tarfile.open(os.fsdecode(target), encoding="utf-8", errors="surrogateescape") as tar:
        members = {os.fsencode(member.name): member for member in tar}
        assert [path[1:] or b"." for path in inventory] == list(members)
        for name in ODD_NAMES:
            file = tar.extractfile(members[b"odd/" + name])
            assert file is not None
            assert file.read() == name
        assert members[LONG].isdir()
        assert members[b"fifo"].isfifo()
        assert members[b"bin/b"].islnk()
        assert members[b"bin/b"].linkname == "bin/a"
        assert os.fsencode(members[b"odd/to-\xff"].linkname) == b"latin1-\xe9"
    assert receipt.kept == len(inventory)


def test_the_receipt_describes_the_file(root: bytes, target: bytes) -> None:
    """Sizes, counts and the SHA-256 are those of the file and the plan."""
    write(root, b"/kept", b"x" * 3_000_001)
    write(root, b"/dropped", b"y" * 7)
    inventory = scan(root)
    seen: list[int] = []
    receipt = export(plan_for(inventory, {b"/dropped"}), "digest", inventory, Tar(target), seen.append)
    data = Path(os.fsdecode(target)).read_bytes()
    assert receipt.sha256 == hashlib.sha256(data).hexdigest()
    assert receipt.written == len(data) == seen[-1]
    assert (receipt.kept, receipt.dropped, receipt.bytes_kept, receipt.bytes_dropped) == (2, 1, 3_000_001, 7)
    assert receipt.plan == "digest"
    assert receipt.target == "tar:" + os.fsdecode(target)
    with tarfile.open(os.fsdecode(target)) as tar:
        assert tar.getnames() == [".", "kept"]
    assert left_over(target) == [b"rootfs.tar"]


def test_the_same_inputs_give_the_same_bytes(root: bytes, target: bytes) -> None:
    """Made twice, and again after the run's own temporary files touched a directory, it is one file."""
    fill(root)
    plan = plan_for(scan(root))
    sums = []
    for _ in range(3):
        sums.append(export(plan, "digest", scan(root), Tar(target)).sha256)
        write(root, b"/sticky/temporary")
        os.unlink(root + b"/sticky/temporary")
    assert len(set(sums)) == 1


def test_a_hard_link_whose_first_name_is_dropped_is_a_file(root: bytes, target: bytes, tmp_path: Path) -> None:
    """The first name that stays carries the contents."""
    fill(root)
    inventory = scan(root)
    export(plan_for(inventory, {b"/bin/a"}), "digest", inventory, Tar(target))
    with tarfile.open(os.fsdecode(target)) as tar:
        assert "bin/a" not in tar.getnames()
        assert tar.getmember("bin/b").isreg()
        assert tar.getmember("zlib").linkname == "bin/b"


def test_every_name_of_a_file_with_capabilities_carries_them(root: bytes, target: bytes) -> None:
    """An unpacker that sets the owner for each name would take them off otherwise."""
    fill(root)
    try:
        os.setxattr(root + b"/bin/suid", b"user.x", b"1")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    inventory = scan(root)
    export(plan_for(inventory), "digest", inventory, Tar(target))
    with tarfile.open(os.fsdecode(target)) as tar:
        assert tar.getmember("bin/suid").pax_headers["SCHILY.xattr.user.x"] == "1"
        assert tar.getmember("bin/suid-too").islnk()
        assert tar.getmember("bin/suid-too").pax_headers["SCHILY.xattr.user.x"] == "1"


def test_a_socket_is_left_out_and_said_so(root: bytes, target: bytes) -> None:
    """A tar cannot hold a socket."""
    add_socket(root)
    inventory = scan(root)
    receipt = export(plan_for(inventory), "digest", inventory, Tar(target))
    assert receipt.left_alone == ((b"/socket", "a tar cannot hold a socket"),)
    assert receipt.kept == 1


def test_a_tree_deeper_than_the_descriptors_allowed_is_exported(root: bytes, target: bytes) -> None:
    """Few directories are held open at once."""
    here = os.open(root, os.O_RDONLY)
    for _ in range(400):
        os.mkdir(b"d", dir_fd=here)
        below = os.open(b"d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    inventory = scan(root)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        receipt = export(plan_for(inventory), "digest", inventory, Tar(target))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert receipt.kept == 401


@pytest.mark.parametrize("change", ["shrinks", "grows", "vanishes", "becomes a link", "becomes a FIFO"])
def test_a_file_that_changes_before_it_is_read_refuses_the_export(root: bytes, target: bytes, change: str) -> None:
    """The file is named, and nothing is left of the export."""
    write(root, b"/a")
    write(root, b"/log", b"12345")
    inventory = scan(root)
    log = root + b"/log"
    if change == "shrinks":
        os.truncate(log, 2)
    elif change == "grows":
        with open(log, "ab") as file:
            file.write(b"6")
    else:
        os.unlink(log)
        if change == "becomes a link":
            os.symlink(b"/etc/passwd", log)
        elif change == "becomes a FIFO":
            os.mkfifo(log)
    with pytest.raises(RefusedError, match="/log"):
        export(plan_for(inventory), "digest", inventory, Tar(target))
    assert left_over(target) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "sha256"]


@pytest.mark.parametrize("length", [10, 6_000_000])
def test_a_file_that_changes_while_it_is_read_refuses_the_export(
    root: bytes, target: bytes, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """A file truncated, or appended to, after it was opened is noticed as well."""
    write(root, b"/log", b"x" * 5_000_000)
    inventory = scan(root)
    attributes = Source.attributes

    def change(source: Source, at: int, of: int | bytes) -> object:
        if inventory.paths[at] == b"/log":
            os.truncate(root + b"/log", length)
        return attributes(source, at, of)

    monkeypatch.setattr(Source, "attributes", change)
    with pytest.raises(RefusedError, match=r"/log (shrank|changed)"):
        export(plan_for(inventory), "digest", inventory, Tar(target))
    assert left_over(target) == []


def test_a_directory_that_became_a_link_does_not_lead_out_of_the_root(
    root: bytes, target: bytes, tmp_path: Path
) -> None:
    """A file reached through it would be read from elsewhere: refused."""
    write(root, b"/f/g/secret", b"same")
    inventory = scan(root)
    status = os.stat(root + b"/f/g/secret")
    outside = tmp_path / "outside" / "g"
    outside.mkdir(parents=True)
    (outside / "secret").write_bytes(b"same")
    os.utime(outside / "secret", ns=(0, status.st_mtime_ns))
    os.rename(root + b"/f", root + b"/moved")
    os.symlink(outside.parent, os.fsdecode(root + b"/f"))
    with pytest.raises(RefusedError, match=r"^/f changed its kind"):
        export(plan_for(inventory), "digest", inventory, Tar(target))
    assert left_over(target) == []


def test_a_file_that_cannot_be_read_is_named(open_folder: bytes) -> None:
    """Nothing is silently left out, whether the scan saw it or the reading does."""
    root, target = open_folder + b"/root", open_folder + b"/rootfs.tar"
    write(root, b"/secret", b"x", 0o000)

    def attempt() -> None:
        inventory = scan(root)
        assert inventory.unreadable == [b"/secret"]
        for unreadable in ([b"/secret"], []):
            inventory.unreadable = unreadable
            with pytest.raises(UnavailableError, match="cannot read /secret"):
                export(plan_for(inventory), "digest", inventory, Tar(target))

    assert as_ordinary_user(attempt)
    assert left_over(target) == [b"root"]


def test_what_the_scan_could_not_read_stops_the_export(root: bytes, target: bytes) -> None:
    """A dropped file need not be read; a directory that could not be listed may hold anything."""
    write(root, b"/f/secret")
    inventory = scan(root)
    inventory.unreadable = [b"/f/secret"]
    export(plan_for(inventory, {b"/f/secret"}), "digest", inventory, Tar(target))
    with pytest.raises(UnavailableError, match="cannot read /f/secret"):
        export(plan_for(inventory), "digest", inventory, Tar(target))
    inventory.unreadable = [b"/f", b"/f/secret"]
    with pytest.raises(UnavailableError, match=r"cannot read /f$"):
        export(plan_for(inventory, {b"/f", b"/f/secret"}), "digest", inventory, Tar(target))
    with pytest.raises(UnavailableError, match="cannot read /f and 1 more"):
        export(plan_for(inventory), "digest", inventory, Tar(target))


def test_a_full_disk_leaves_nothing_behind(root: bytes, target: bytes) -> None:
    """A limit on file size is hit as a full disk is: in the middle of a write."""
    write(root, b"/big", b"x" * 6_000_000)
    inventory = scan(root)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_500_000, hard))
    try:
        with pytest.raises(UnavailableError, match="cannot write"):
            export(plan_for(inventory), "digest", inventory, Tar(target))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left_over(target) == []


def test_a_really_full_disk_is_said_and_left_empty(root: bytes, small_disk: bytes) -> None:
    """ENOSPC becomes one line with a hint."""
    write(root, b"/big", b"x" * 6_000_000)
    inventory = scan(root)
    with pytest.raises(UnavailableError, match="No space left") as caught:
        export(plan_for(inventory), "digest", inventory, Tar(small_disk + b"/rootfs.tar"))
    assert "free some space" in caught.value.hint
    assert os.listdir(small_disk) == []
