"""Small images on a real disk for the tests of `apply`, with every corner that a tree can have."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import stat
import subprocess
import tarfile
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slimagent.inventory.scan import scan
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Entry, Plan
from slimagent.model.reason import Reason, ReasonKind, Verdict

IS_ROOT = os.geteuid() == 0

KEEP, DROP, CREATED = 0, 1, 2
REASONS = (
    Reason(verdict=Verdict.KEEP, kind=ReasonKind.OPENED),
    Reason(verdict=Verdict.DROP, kind=ReasonKind.UNUSED),
    Reason(verdict=Verdict.DROP, kind=ReasonKind.CREATED),
)

LONG = b"/".join([b"d" * 60] * 5)  # 304 bytes
ODD_NAMES = (b"sp ace", b"new\nline", b"latin1-\xe9", "é-日本".encode(), b"-dash", b"x" * 255, b"back\\slash")
# a capability as the kernel stores it: version 2, effective, CAP_NET_RAW (<linux/capability.h>)
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")[:20]
ACCESS_LIST = bytes.fromhex(
    "02000000 01000600ffffffff 02000400e8030000 04000400ffffffff 10000400ffffffff 20000000ffffffff"
)


def write(root: bytes, path: bytes, data: bytes = b"data", mode: int = 0o644) -> None:
    """A file below `root`, with its folders."""
    full = root + path
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as file:
        file.write(data)
    os.chmod(full, mode)


def fill(root: bytes) -> None:
    """Every corner that this user may make."""
    for name in ODD_NAMES:
        write(root, b"/odd/" + name, name)
    os.symlink(b"latin1-\xe9", root + b"/odd/to-\xff")
    write(root, b"/" + LONG + b"/file", b"deep")
    os.symlink(LONG + b"/file", root + b"/long-link")
    os.symlink(b"nowhere", root + b"/dangling")
    write(root, b"/bin/a", b"#!" + bytes(range(256)) * 9000)
    os.link(root + b"/bin/a", root + b"/bin/b")
    os.link(root + b"/bin/a", root + b"/zlib")
    write(root, b"/bin/suid", b"elf", 0o4755)
    os.link(root + b"/bin/suid", root + b"/bin/suid-too")
    write(root, b"/bin/secret", b"", 0o600)
    os.makedirs(root + b"/empty")
    os.makedirs(root + b"/sticky")
    os.chmod(root + b"/sticky", 0o1777)
    os.mkfifo(root + b"/fifo", 0o640)
    _extend(root)
    _date(root)


def _extend(root: bytes) -> None:
    """Attributes, owners and devices, as far as this user may and the file system can."""
    with contextlib.suppress(OSError):
        os.setxattr(root + b"/bin/a", b"user.binary", b"\x00\xff=\n")
        os.setxattr(root + b"/bin/a", b"user.a%b", b"x")
        os.setxattr(root + b"/empty", b"user.folder", b"y")
        os.setxattr(root + b"/bin/secret", b"system.posix_acl_access", ACCESS_LIST)
    if not IS_ROOT:
        return
    os.chown(root + b"/bin/secret", 1000, 5_000_000)
    os.chown(root + b"/dangling", 1, 2, follow_symlinks=False)
    write(root, b"/bin/ping", b"elf", 0o755)
    os.link(root + b"/bin/ping", root + b"/bin/ping-too")
    os.setxattr(root + b"/bin/ping", b"security.capability", CAPABILITY)
    os.mknod(root + b"/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chmod(root + b"/null", 0o666)
    os.mknod(root + b"/disk", stat.S_IFBLK | 0o600, os.makedev(259, 70000))


def _date(root: bytes) -> None:
    """Old times, most with fractions, folders last; one before 1970 and one after 2242 (eleven octal digits)."""
    for number, path in enumerate(reversed(scan(root).paths)):
        moment = 1_600_000_000_000_000_000 + number * 1_000_000_007
        os.utime(root + path, ns=(moment, moment), follow_symlinks=False)
    os.utime(root + b"/odd/sp ace", ns=(0, -1_500_000_000))
    os.utime(root + b"/odd/-dash", ns=(0, 1_500_000_000_000_000_000))


def add_socket(root: bytes) -> None:
    """A socket file, made by name and not by path: a socket's path is short."""
    here = os.open(".", os.O_RDONLY)
    os.chdir(root)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket")
    finally:
        os.fchdir(here)
        os.close(here)


def plan_for(
    inventory: Inventory, drop: Collection[bytes] = (), created: Collection[bytes] = (), **changes: Any
) -> Plan:
    """A plan that lists the whole inventory."""
    entries = tuple(
        Entry(
            path,
            DROP if path in drop else CREATED if path in created else KEEP,
            inventory.sizes[at] if stat.S_ISREG(inventory.modes[at]) else 0,
            inventory.mtimes[at],
        )
        for at, path in enumerate(inventory.paths)
    )
    values: dict[str, Any] = {
        "tool": "test",
        "level": "file",
        "root": inventory.root,
        "scopes": inventory.scopes,
        "excluded": (),
        "fingerprints": (),
        "traces": (),
        "accepted": (),
        "steps": (),
        "reasons": REASONS,
        "entries": entries,
        "changes": (),
    }
    return Plan(**(values | changes))


def state(root: bytes, without: Iterable[bytes] = ()) -> dict[bytes, tuple[object, ...]]:
    """All that must survive, path by path; names of one inode carry the same first name."""
    inventory, out, first = scan(root), {}, {}
    for path in inventory:
        if path in set(without):
            continue
        full = root + path
        status = os.lstat(full)
        contents: object = inventory.targets.get(inventory.index[path])
        if stat.S_ISREG(status.st_mode):
            with open(full, "rb") as file:
                contents = file.read()
        names = sorted(os.listxattr(full, follow_symlinks=False))
        attributes = tuple((name, os.getxattr(full, name, follow_symlinks=False)) for name in names)
        is_shared = status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode)
        known = first.setdefault((status.st_dev, status.st_ino), path) if is_shared else path
        out[path] = (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            status.st_rdev,
            contents,
            attributes,
            known,
        )
    return out


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[bytes]:
    """A file system of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if not IS_ROOT or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root and CAP_SYS_ADMIN")
    yield os.fsencode(folder)
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def open_folder() -> Iterator[bytes]:
    """A folder that every user can reach and write; pytest's own are private."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield os.fsencode(Path(folder).resolve())


def as_ordinary_user(deed: Callable[[], None]) -> bool:
    """Whether `deed` ends well in a child process without any right."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    status = 1
    try:
        if IS_ROOT:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        os.chdir("/")
        deed()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    """An empty folder for an image."""
    folder = tmp_path.resolve() / "root"
    folder.mkdir()
    return os.fsencode(folder)


def exported(image: str) -> dict[bytes, tarfile.TarInfo]:
    """Docker's own view of the files in a container of the image."""
    create = ["docker", "create", "--network=none", image, "/none"]
    container = subprocess.run(create, check=True, capture_output=True, text=True).stdout.strip()
    try:
        data = subprocess.run(["docker", "export", container], check=True, capture_output=True).stdout
    finally:
        subprocess.run(["docker", "rm", container], check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as tar:
        return {os.fsencode(member.name): member for member in tar}
