"""The walk over an image: every path once, in order, with what its inode says."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimagent.errors import UsageError
from slimagent.inventory.fingerprint import fingerprint
from slimagent.inventory.scan import mount_points, scan
from slimagent.model.inventory import Inventory
from slimagent.paths.algebra import mounted, sort_key

ODD_NAMES = (b"latin1-\xe9", b"new\nline", b" ", b"-rf", b"\\x41", b"a b", "é".encode(), b".hidden", b"n" * 255, b"\1")
NOBODY = 65534


@pytest.fixture
def root() -> Iterator[bytes]:
    """An empty directory that every user can reach, without links on the way."""
    directory = os.path.realpath(os.fsencode(tempfile.mkdtemp(prefix="slimagent-image-")))
    os.chmod(directory, 0o755)
    yield directory
    shutil.rmtree(directory)


def make(root: bytes, *paths: bytes, data: bytes = b"") -> None:
    """Files at `paths`, relative to the root, with their directories; a path that ends in a slash is a directory."""
    for path in paths:
        whole = os.path.join(root, path)
        os.makedirs(os.path.dirname(whole), mode=0o755, exist_ok=True)
        if not path.endswith(b"/"):
            with open(whole, "wb") as file:
                file.write(data)


def as_nobody(work: Callable[[], object]) -> object:
    """What `work` returns (JSON) when it is run by a user who is not root."""
    if os.geteuid() != 0:
        return work()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        data = file.read()
    os.waitpid(child, 0)
    return json.loads(data)


def test_every_path_is_there_once_and_in_order(root: bytes) -> None:
    """A directory comes right before what it holds, and names are ordered as bytes within it."""
    make(root, b"a/x", b"a-b", b"a/x.d/y", b"a.d/z", b"b/", b"c")
    os.symlink(b"a/x", os.path.join(root, b"link"))
    inventory = scan(root)
    assert inventory.paths == sorted(inventory.paths, key=sort_key)
    expected = b"/ /a /a/x /a/x.d /a/x.d/y /a-b /a.d /a.d/z /b /c /link"
    assert inventory.paths == expected.split(b" ")
    assert [inventory.index[path] for path in inventory] == list(range(len(inventory)))
    assert inventory.unreadable == []


def test_the_columns_are_what_lstat_says(root: bytes) -> None:
    """Mode, owner, size, times, inode and links of each path are those of its own inode, not of a link's target."""
    make(root, b"file", data=b"12345")
    make(root, b"empty", b"directory/inner")
    os.chmod(os.path.join(root, b"file"), 0o4751)
    os.link(os.path.join(root, b"file"), os.path.join(root, b"directory/again"))
    os.symlink(b"nowhere/at all", os.path.join(root, b"dangling"))
    os.mkfifo(os.path.join(root, b"fifo"), 0o640)
    os.utime(os.path.join(root, b"empty"), ns=(1, -1_500_000_001))
    inventory = scan(root)
    for at, path in enumerate(inventory):
        status = os.lstat(root + path)
        assert inventory.modes[at] == status.st_mode
        assert (inventory.uids[at], inventory.gids[at]) == (status.st_uid, status.st_gid)
        assert inventory.sizes[at] == status.st_size
        assert inventory.mtimes[at] == status.st_mtime_ns
        assert inventory.ctimes[at] == status.st_ctime_ns
        assert (inventory.devices[at], inventory.inodes[at]) == (status.st_dev, status.st_ino)
        assert inventory.links[at] == status.st_nlink
    assert inventory.inodes[inventory.index[b"/file"]] == inventory.inodes[inventory.index[b"/directory/again"]]
    assert inventory.link(b"/dangling") == b"nowhere/at all"
    assert inventory.link(b"/file") is None
    assert inventory.link(b"/absent") is None


def test_times_after_2262_are_no_problem(root: bytes) -> None:
    """A modification time that 63 bits of nanoseconds cannot hold, which file systems can, is taken as it is."""
    make(root, b"late")
    os.utime(os.path.join(root, b"late"), ns=(0, 12 * 10**18))
    inventory = scan(root)
    assert inventory.mtimes[inventory.index[b"/late"]] == os.lstat(root + b"/late").st_mtime_ns


def test_any_name_is_a_name(root: bytes) -> None:
    """Names that are not UTF-8, hold line breaks or look like options are taken as they are."""
    make(root, *(b"odd/" + name for name in ODD_NAMES))
    inventory = scan(root)
    assert {path for path in inventory if path.startswith(b"/odd/")} == {b"/odd/" + name for name in ODD_NAMES}


def test_a_link_to_a_directory_is_not_entered(root: bytes) -> None:
    """What lies behind a symbolic link is not listed under it, and a circle of links is no endless way."""
    make(root, b"directory/file")
    os.symlink(b"directory", os.path.join(root, b"link"))
    os.symlink(b"..", os.path.join(root, b"directory/up"))
    assert set(scan(root)) == {b"/", b"/directory", b"/directory/file", b"/directory/up", b"/link"}


def test_what_is_excluded_is_not_there(root: bytes) -> None:
    """An excluded file, and an excluded directory with all it holds, are left out; names that only start alike stay."""
    make(root, b"out/deep/x", b"output", b"agent", b"keep/agent")
    assert set(scan(root, excluded=[b"/out", b"/agent"])) == {b"/", b"/output", b"/keep", b"/keep/agent"}


def test_scopes_limit_the_walk(root: bytes) -> None:
    """Only what lies in a scope is listed; one inside another counts once, and the order is that of the whole."""
    make(root, b"a/x/y", b"a/z", b"a-b/c", b"b/d")
    inventory = scan(root, (b"/a-b", b"/a/x", b"/a", b"/a/x"))
    assert inventory.paths == [b"/a", b"/a/x", b"/a/x/y", b"/a/z", b"/a-b", b"/a-b/c"]
    inventory = scan(root, (b"/a-b", b"/a/x"))
    assert inventory.paths == [b"/a/x", b"/a/x/y", b"/a-b", b"/a-b/c"]
    assert inventory.paths == sorted(inventory.paths, key=sort_key)
    assert inventory.scopes == (b"/a-b", b"/a/x")


def test_a_scope_that_is_not_there_is_refused(root: bytes) -> None:
    """A scope has to be a directory of the image."""
    make(root, b"file")
    with pytest.raises(UsageError, match="cannot scan /none: No such file"):
        scan(root, (b"/none",))
    with pytest.raises(UsageError, match="not a directory"):
        scan(root, (b"/file",))


def vanishing(root: bytes, victims: dict[bytes, Callable[[bytes], None]]) -> Inventory:
    """A scan during which something happens to files, after their directory was listed and before it is their turn."""
    make(root, *(b"a/%04d" % number for number in range(4100)))

    def progress(done: int) -> None:
        if done == 4096:
            for victim, deed in victims.items():
                deed(os.path.join(root, victim))

    return scan(root, progress=progress)


def test_what_vanishes_during_the_scan_is_no_problem(root: bytes) -> None:
    """A link, a file or a directory that goes while the image is scanned costs nothing but itself."""

    def replace_by_file(path: bytes) -> None:
        os.unlink(path)
        with open(path, "wb"):
            pass

    make(root, b"z-file", b"z-directory/inner", b"z-other")
    os.symlink(b"a", os.path.join(root, b"z-link"))
    os.symlink(b"a", os.path.join(root, b"z-swapped"))
    inventory = vanishing(
        root,
        {
            b"z-file": os.unlink,
            b"z-directory": shutil.rmtree,
            b"z-link": os.unlink,
            b"z-swapped": replace_by_file,
        },
    )
    assert b"/z-other" in inventory
    assert b"/z-link" not in inventory
    assert b"/z-directory/inner" not in inventory
    assert inventory.unreadable == []
    assert inventory.targets == {}
    assert len({*map(len, (inventory.paths, inventory.modes, inventory.sizes, inventory.links, inventory.index))}) == 1


def test_what_cannot_be_read_is_named(root: bytes) -> None:
    """Directories that a user cannot list, and files that it cannot read, are named; to root nothing is closed."""
    make(root, b"open/file", b"closed/file", b"listed/file", b"secret", b"write-only")
    os.chmod(os.path.join(root, b"secret"), 0o600)
    os.chmod(os.path.join(root, b"write-only"), 0o222)
    os.chmod(os.path.join(root, b"closed"), 0o711)
    os.chmod(os.path.join(root, b"listed"), 0o744)
    if os.geteuid() == 0:
        assert scan(root).unreadable == []

    def work() -> object:
        inventory = scan(root)
        return [sorted(map(os.fsdecode, inventory.unreadable)), sorted(map(os.fsdecode, inventory.paths))]

    if os.geteuid() != 0:
        os.chmod(os.path.join(root, b"secret"), 0)
        os.chmod(os.path.join(root, b"closed"), 0o311)
        os.chmod(os.path.join(root, b"listed"), 0o444)
    unreadable, paths = as_nobody(work)  # type: ignore[misc]
    for directory in (b"secret", b"closed", b"listed"):
        os.chmod(os.path.join(root, directory), 0o755)
    assert unreadable == ["/closed", "/listed", "/secret", "/write-only"]
    assert set(paths) == {"/", "/open", "/open/file", "/closed", "/listed", "/secret", "/write-only"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be compared with another user")
def test_the_fingerprint_is_the_same_for_every_user(root: bytes) -> None:
    """A trace made as an ordinary user fits the plan made as root: what not everybody can list does not count."""
    make(root, b"usr/bin/x", b"root-only/deep/file", b"group/file", b"listed/file", b"passed/file", b"home/me/file")
    make(root, b"etc/shadow", data=b"root:*:1::::::")
    os.chmod(os.path.join(root, b"etc/shadow"), 0o600)
    for directory, mode in ((b"root-only", 0o700), (b"group", 0o750), (b"listed", 0o744), (b"passed", 0o711)):
        os.chmod(os.path.join(root, directory), mode)
    assert as_nobody(lambda: fingerprint(scan(root))) == fingerprint(scan(root))
    make(root, b"root-only/another")
    assert as_nobody(lambda: fingerprint(scan(root))) == fingerprint(scan(root))


def test_progress_is_told(root: bytes) -> None:
    """Whoever asks hears how many paths there are so far."""
    make(root, b"a", b"b")
    heard: list[int] = []
    scan(root, progress=heard.append)
    assert heard == [0]


# Mounts

MOUNTINFO = rb"""22 1 0:21 / / rw,relatime - overlay overlay rw
23 22 0:22 / /proc rw,nosuid shared:5 - proc proc rw
24 22 0:23 / /with\040space\011tab\012line\134back rw - tmpfs tmpfs rw
25 22 0:24 /x /latin1-%b rw - ext4 /dev/sda1 rw
26 22 0:25 / /carriage%breturn rw - tmpfs tmpfs rw

short line
""" % (b"\xe9", b"\r")


def test_mountinfo_is_read_with_its_escapes() -> None:
    """The mount points are the fifth fields, with blanks, line breaks and backslashes as what they stand for."""
    assert mounted(MOUNTINFO) == [
        b"/",
        b"/proc",
        b"/with space\ttab\nline\\back",
        b"/latin1-\xe9",
        b"/carriage\rreturn",
    ]


@given(st.binary(max_size=200))
def test_mountinfo_may_hold_anything(text: bytes) -> None:
    """No text makes the parser fail."""
    assert all(isinstance(point, bytes) for point in mounted(text))


def test_this_process_has_mounts() -> None:
    """The mount points below / are the kernel's, without / itself."""
    assert b"/proc" in mount_points(b"/")
    assert b"/" not in mount_points(b"/")
    assert mount_points(b"/proc") <= {point[len(b"/proc") :] for point in mount_points(b"/")}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_other_file_systems_are_left_out(root: bytes) -> None:
    """A directory on which another file system is mounted is listed without its content; such a file is not listed."""
    make(root, b"a file", b"mount point\\/hidden", b"source", b"z")
    directory, file = os.path.join(root, b"mount point\\"), os.path.join(root, b"a file")
    mounted = []
    try:
        for options in ([b"-t", b"tmpfs", b"tmpfs", directory], [b"--bind", os.path.join(root, b"source"), file]):
            result = subprocess.run([b"mount", *options], check=False, capture_output=True)
            if result.returncode:
                pytest.skip(f"cannot mount here: {result.stderr.decode().strip()}")
            mounted.append(options[-1])
        make(root, b"mount point\\/inside")
        inventory = scan(root)
        assert inventory.paths == [b"/", b"/mount point\\", b"/source", b"/z"]
        assert inventory.mount_points == {b"/mount point\\", b"/a file"}
        before = fingerprint(inventory)
        make(root, b"mount point\\/inside too")
        assert fingerprint(scan(root)) == before
        assert stat.S_ISDIR(inventory.modes[1])
        assert scan(root, (b"/mount point\\",)).paths[0] == b"/mount point\\"
    finally:
        for each in mounted:
            subprocess.run([b"umount", each], check=True)


def test_the_root_may_be_anywhere(tmp_path: Path) -> None:
    """Paths are those inside the image, wherever its root lies."""
    (tmp_path / "image" / "bin").mkdir(parents=True)
    (tmp_path / "image" / "bin" / "x").touch()
    assert scan(os.fsencode(os.path.realpath(tmp_path / "image"))).paths == [b"/", b"/bin", b"/bin/x"]


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="/dev/shm is no mount of its own here")
def test_a_volume_is_part_of_the_image_though_it_is_mounted(tmp_path: Path) -> None:
    """An engine mounts a copy of what the image has there; any other mount stays outside."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        path = os.fsencode(file.name)
        without, with_it = scan(b"/", (b"/dev",)), scan(b"/", (b"/dev",), volumes=(b"/dev/shm",))
    assert path not in without and b"/dev/shm" in without.mount_points
    assert path in with_it and with_it.mount_points == without.mount_points - {b"/dev/shm"}
